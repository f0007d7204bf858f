"""Two processes' worth of stores on one database, one held before its commit: whoever comes second sees the first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support import postgres
from support.clock import FrozenClock
from support.gate import AsyncGate, Gate
from support.stores import Client, a_user, log_in, open_kind

from gateway.credentials.user import User
from gateway.errors import InvalidCredentials
from gateway.sessions.decision import Outcome
from gateway.sessions.ports import Ended, FeedKind, Rotation
from gateway.sessions.session import RevokeReason
from gateway.stores.bundle import Stores
from gateway.stores.postgres import open_postgres
from gateway.stores.sqlite import Point


@dataclass
class Two:
    """`here` can be held by `gate`; `there` is free."""

    here: Stores
    there: Stores
    gate: Gate | AsyncGate
    clock: FrozenClock
    user: User

    async def race(
        self,
        held: Coroutine[Any, Any, Any],
        free: Coroutine[Any, Any, Any],
        meanwhile: Callable[[], None] = lambda: None,
        *,
        waits: bool = True,
    ) -> tuple[Any, Any]:
        """Let `held` (on `here`) do its writes, start `free` (on `there`), then commit the first."""
        self.gate.hold(Point.BEFORE_COMMIT)
        first = asyncio.ensure_future(held)
        await self.gate.reached()
        second = asyncio.ensure_future(free)
        done, _ = await asyncio.wait([second], timeout=0.05)
        assert bool(done) is not waits
        meanwhile()
        self.gate.open()
        return tuple(await asyncio.gather(first, second, return_exceptions=True))  # type: ignore[return-value]


async def opened(kind: str, folder: Path, clock: FrozenClock) -> tuple[Stores, Stores, Gate | AsyncGate]:
    if kind == "sqlite":
        gate = Gate()
        return await open_kind(kind, folder, clock, gate), await open_kind(kind, folder, clock), gate
    there = await open_kind(kind, folder, clock)
    # As behind a pooler, every statement is in a transaction that can be held before its commit.
    url = postgres.server().url(query="?pgbouncer=true")
    here = await open_postgres(url, clock=clock, busy_timeout=5.0, wall=clock)
    return here, there, AsyncGate(here)


@pytest.fixture(params=["sqlite", "postgres"])
async def two(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Two]:
    clock = FrozenClock()
    here, there, gate = await opened(request.param, tmp_path, clock)
    user = a_user()
    await here.users.add(user)
    yield Two(here, there, gate, clock, user)
    await here.database.close()
    await there.database.close()


def revocation(stores: Stores, by: str, client: Client, user: User) -> Coroutine[Any, Any, Ended]:
    if by == "logout":
        return stores.sessions.end(client.sid, RevokeReason.LOGOUT)
    if by == "revoke_all":
        return stores.sessions.end_user(user.user_id, RevokeReason.LOGOUT_ALL)
    return stores.users.set_active(user.user_id, False)


def denies(ended: Ended, rotation: Rotation, client: Client) -> bool:
    """Whether the feed refuses the access token that `rotation` issued, for as long as it is valid."""
    assert rotation.decision.grant is not None and rotation.user is not None
    (entry,) = ended.feed
    if entry.kind is FeedKind.SESSION:
        named = entry.key == client.sid
    else:
        named = entry.key == rotation.user.user_id and rotation.user.epoch < entry.value
    return named and entry.expires_at > rotation.decision.grant.expires_at


@pytest.mark.parametrize("by", ["logout", "revoke_all", "disable"])
async def test_a_revocation_that_waited_for_a_refresh_takes_its_tokens_too(two: Two, by: str) -> None:
    client = await log_in(two.here, two.user)
    two.clock.advance(500)
    rotation, ended = await two.race(client.present(1), revocation(two.there, by, client, two.user))
    assert rotation.decision.outcome is Outcome.ROTATED
    assert denies(ended, rotation, client)
    assert [(await client.present(generation)).decision.outcome for generation in (1, 2)] == [Outcome.DEAD] * 2
    assert await two.here.sessions.list_live() == ()


@pytest.mark.parametrize("by", ["logout", "revoke_all", "disable"])
async def test_a_refresh_that_waited_for_a_revocation_is_dead(two: Two, by: str) -> None:
    client = await log_in(two.there, two.user)
    ended, rotation = await two.race(revocation(two.here, by, client, two.user), client.present(1))
    assert [session.sid for session in ended.sessions] == [client.sid]
    assert (rotation.decision.outcome, rotation.decision.grant) == (Outcome.DEAD, None)
    assert await two.here.sessions.list_live() == ()


async def test_a_login_that_waited_for_a_revocation_fails(two: Two) -> None:
    ended, refused = await two.race(
        two.here.sessions.end_user(two.user.user_id, RevokeReason.LOGOUT_ALL), log_in(two.there, two.user)
    )
    assert isinstance(ended, Ended) and isinstance(refused, InvalidCredentials)
    assert await two.there.sessions.list_live() == ()


async def test_a_revocation_that_waited_for_a_login_ends_it(two: Two) -> None:
    client, ended = await two.race(
        log_in(two.here, two.user), two.there.sessions.end_user(two.user.user_id, RevokeReason.LOGOUT_ALL)
    )
    assert [session.sid for session in ended.sessions] == [client.sid]


async def test_two_refreshes_make_one_successor(two: Two) -> None:
    client = await log_in(two.here, two.user)
    twin = Client(two.there, client.sid)
    first, second = await two.race(client.present(1), twin.present(1))
    assert (first.decision.outcome, second.decision.outcome) == (Outcome.ROTATED, Outcome.RACE)
    assert (await client.stored()).generation == 2


async def test_cleanup_beside_a_refresh_spares_the_session(two: Two) -> None:
    client = await log_in(two.here, two.user)
    two.clock.advance(client.policy.idle_ttl - 1)
    rotation, ended = await two.race(
        client.present(1),
        two.there.sessions.expire(limit=10),
        meanwhile=lambda: two.clock.advance(5),
        waits=isinstance(two.gate, Gate),  # PostgreSQL passes over what is locked
    )
    assert rotation.decision.outcome is Outcome.ROTATED
    assert ended == Ended()
    assert (await client.present(2)).decision.outcome is Outcome.ROTATED


async def test_a_refresh_that_waited_for_cleanup_is_dead_and_revives_nothing(two: Two) -> None:
    client = await log_in(two.there, two.user)
    two.clock.advance(client.policy.idle_ttl)
    two.gate.skip = 0 if isinstance(two.gate, Gate) else 1  # what will end later is put off in a transaction before
    ended, rotation = await two.race(two.here.sessions.expire(limit=10), client.present(1))
    assert [(session.sid, session.reason) for session in ended.sessions] == [(client.sid, RevokeReason.IDLE)]
    assert rotation.decision.outcome is Outcome.DEAD
    two.clock.advance(1)
    purged, late = await two.race(two.here.sessions.purge(retention=0.0, limit=10), client.present(1))
    assert (purged, late.decision.outcome) == (1, Outcome.DEAD)
    assert await two.there.sessions.get(client.sid) is None
