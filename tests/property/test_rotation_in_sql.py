"""What PostgreSQL does by itself in a refresh is what the rule decides, whatever row, history and policy."""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.clock import FrozenClock
from support.rotation_model import CAFE, HOME, PHONE
from support.stores import a_session, a_user, open_kind

from gateway.credentials.user import User
from gateway.sessions.decision import Outcome
from gateway.sessions.policy import BindingMode, RotationPolicy
from gateway.sessions.ports import RotationAttempt
from gateway.sessions.session import Channel, RetryMark, Session
from gateway.stores.bundle import Stores
from gateway.stores.memory.sessions import MemorySessions
from gateway.stores.postgres.sessions import PostgresSessions
from gateway.stores.transitions import HISTORY_LIMIT, HISTORY_MARGIN, History

NOW = FrozenClock().now() + 0.123457
EDGES = st.sampled_from([-3600.0, -181.0, -20.0, -0.000001, 0.0, 0.000001, 1.5, 899.0, 901.0, 86_400.0])
FACTS = st.sampled_from([HOME, HOME, HOME, CAFE, PHONE, replace(HOME, user_agent="odd \0 \x01 ☃")])


def seldom(odd: Any, plain: Any) -> st.SearchStrategy[Any]:
    """`plain` nine times out of ten."""
    return st.integers(0, 9).flatmap(lambda choice: odd if choice == 0 else st.just(plain))


policies = st.builds(
    RotationPolicy,
    idle_ttl=st.sampled_from([60.0, 3600.1, 86_400.0]),
    access_ttl=st.sampled_from([1.0, 59.9, 900.0]),
    in_flight_window=st.sampled_from([0.0, 20.0]),
    late_window=st.sampled_from([20.0, 180.3]),
    device_binding=st.sampled_from(BindingMode),
    ip_binding=st.sampled_from(BindingMode),
    reauth_after=seldom(st.sampled_from([10.0, 3600.0]), None),
)


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    """The moving part of a session: mostly plain, each value odd at times, times on both sides of now."""
    generation = draw(st.sampled_from([1, 2, 7, 300, 4_294_967_295]))
    return {
        "channel": draw(st.sampled_from(Channel)),
        "generation": generation,
        "delivery": draw(seldom(st.integers(2, 4), 1)),
        "confirmed_generation": max(0, generation - draw(st.integers(0, 2))),
        "presented_generation": generation - 1,
        "auth_time": NOW + draw(EDGES),
        "rotated_at": NOW + draw(EDGES),
        "last_seen_at": NOW + draw(EDGES),
        "last_passive_at": NOW + draw(EDGES),
        "max_access_exp": NOW + draw(EDGES),
        "idle_expires_at": NOW + draw(seldom(EDGES, 3000.7)),
        "absolute_expires_at": NOW + draw(seldom(EDGES, 90_000.9)),
        "bound": draw(seldom(FACTS, HOME)),
        "seen": draw(FACTS),
        "retries": draw(seldom(st.just((RetryMark(generation, True),)), ())),
        "proof_required": draw(seldom(st.just(True), False)),
    }


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Oldest first, around the age at which they are forgotten; sometimes as long as they get."""
    edge = NOW - 180.3 - HISTORY_MARGIN
    times = [NOW, NOW - 1.0, NOW - 180.3, edge, math.nextafter(edge, 0.0), math.nextafter(edge, math.inf), NOW - 500.0]
    generations = draw(st.permutations(range(1, 8)))
    short = tuple((generations[n], draw(st.sampled_from(times))) for n in range(draw(st.integers(0, 4))))
    full = tuple((n + 400, NOW - 1.0) for n in range(HISTORY_LIMIT - draw(st.integers(0, 1))))
    return draw(seldom(st.just(full), short))


@dataclass
class Twins:
    loop: asyncio.AbstractEventLoop
    clock: FrozenClock
    memory: Stores
    postgres: Stores
    outcomes: Counter[Outcome]

    def check(self, user: User, active: bool, session: Session, history: History, attempt: RotationAttempt) -> None:
        self.loop.run_until_complete(self._compare(user, active, session, history, attempt))

    async def _compare(
        self, user: User, active: bool, session: Session, history: History, attempt: RotationAttempt
    ) -> None:
        found = []
        for stores in (self.memory, self.postgres):
            await stores.users.add(user)
            await stores.sessions.create(session, user_epoch=0, max_per_user=9)
            await self.remember(stores, session.sid, history)
            if not active:
                await stores.users.set_active(user.user_id, False)
            rotation = await stores.sessions.rotate(attempt)
            after = await stores.sessions.get(session.sid)
            found.append((rotation, after, await self.remembered(stores, session.sid), await stores.sessions.feed(0)))
        assert found[0][:3] == found[1][:3]
        assert [replace(e, seq=0) for e in found[0][3]] == [replace(e, seq=0) for e in found[1][3]]
        self.outcomes[found[0][0].decision.outcome] += 1

    async def remember(self, stores: Stores, sid: str, history: History) -> None:
        if isinstance(stores.sessions, MemorySessions):
            stores.sessions._db.history[sid] = history
            return
        assert isinstance(stores.sessions, PostgresSessions)
        sql = "UPDATE sessions SET retired_generations = $2, retired_times = $3 WHERE sid = $1"
        await stores.sessions._work.row(sql, sid, [g for g, _ in history], [at for _, at in history])

    async def remembered(self, stores: Stores, sid: str) -> History:
        if isinstance(stores.sessions, MemorySessions):
            return stores.sessions._db.history[sid]
        assert isinstance(stores.sessions, PostgresSessions)
        sql = "SELECT retired_generations, retired_times FROM sessions WHERE sid = $1"
        row = await stores.sessions._work.row(sql, sid)
        assert row is not None
        return tuple(zip(row[0], row[1], strict=True))


@pytest.fixture
def twins() -> Iterator[Twins]:
    loop, clock = asyncio.new_event_loop(), FrozenClock(NOW)
    with tempfile.TemporaryDirectory() as folder:
        memory = loop.run_until_complete(open_kind("memory", Path(folder), clock))
        postgres = loop.run_until_complete(open_kind("postgres", Path(folder), clock))
        made = Twins(loop, clock, memory, postgres, Counter())
        yield made
        loop.run_until_complete(postgres.database.close())
    loop.close()
    assert set(made.outcomes) >= {Outcome.ROTATED, Outcome.DEAD}


@given(
    values=rows(),
    history=histories(),
    policy=policies,
    ahead=seldom(st.sampled_from([-2, -1, 1]), 0),
    facts=FACTS,
    swapped=seldom(st.just(True), False),
    active=seldom(st.just(False), True),
)
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_database_and_the_rule_agree(
    twins: Twins,
    values: dict[str, Any],
    history: History,
    policy: RotationPolicy,
    ahead: int,
    facts: Any,
    swapped: bool,
    active: bool,
) -> None:
    number = sum(twins.outcomes.values())
    user = a_user(f"user-{number}")
    session = replace(a_session(user.user_id, NOW), **values)
    channel = session.channel
    if swapped:
        channel = Channel.BODY if channel is Channel.COOKIE else Channel.COOKIE
    attempt = RotationAttempt(session.sid, max(1, session.generation + ahead), channel, facts, 0.0, policy)
    twins.check(user, active, session, history, attempt)
