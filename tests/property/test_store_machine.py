"""Any sequence of calls: every store answers like memory, and both like the pure model of rotation."""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.clock import FrozenClock
from support.rotation_model import CAFE, HOME, PHONE, THEFT_MEMORY, RotationModel
from support.stores import a_session, a_user, open_kind

from gateway.errors import GatewayError
from gateway.sessions.decision import Decision, Outcome
from gateway.sessions.policy import BindingMode, OnReuse, RotationPolicy
from gateway.sessions.ports import Receipt, Rotation, RotationAttempt
from gateway.sessions.session import Channel, RevokeReason, Session
from gateway.stores.bundle import Stores

POLICIES = (
    RotationPolicy(),
    RotationPolicy(on_reuse=OnReuse.REVOKE_SESSION, device_binding=BindingMode.ALERT),
    RotationPolicy(device_binding=BindingMode.OFF, ip_binding=BindingMode.ENFORCE, in_flight_window=5.0),
)
# Both sides of every window, and the lengths at which rows expire and are forgotten.
PAUSES = (0.0, 0.5, 4.999, 5.001, 19.999, 20.001, 59.0, 61.0, 179.999, 180.001, 241.0, 900.0, 3600.0, 86_400.0)
HOUR = 3600.0

indexes = st.integers(0, 30)
reasons = st.sampled_from([RevokeReason.LOGOUT, RevokeReason.ADMIN, RevokeReason.REUSE])


class Model(RotationModel):
    """The pure model, with the one thing the stores add: what outlived a limit ended by that limit."""

    def end(self, sid: str, reason: RevokeReason = RevokeReason.LOGOUT) -> None:
        session = self.sessions[sid]
        if self.now >= session.absolute_expires_at:
            reason = RevokeReason.ABSOLUTE
        elif self.now >= session.idle_expires_at:
            reason = RevokeReason.IDLE
        super().end(sid, reason)

    def live(self) -> list[Session]:
        return [
            session
            for session in self.sessions.values()
            if session.revoked_at is None and self.now < min(session.idle_expires_at, session.absolute_expires_at)
        ]


class StoreMachine(RuleBasedStateMachine):
    KIND = "sqlite"

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FrozenClock()
        self.memory = self.open("memory")
        self.tested = self.open(self.KIND)
        self.models: list[Model] = []
        self.removed: list[Model] = []

    def open(self, kind: str) -> Stores:
        return self.wait(open_kind(kind, Path(self.folder.name), self.clock))

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def both(self, call: Callable[[Stores], Awaitable[Any]]) -> Any:
        """Make the same call on both stores; the answers, or the refusals, must be equal."""

        async def answer(stores: Stores) -> object:
            try:
                return await call(stores)
            except GatewayError as error:
                return type(error), error.detail

        first, second = self.wait(answer(self.memory)), self.wait(answer(self.tested))
        assert first == second
        return first

    def model(self, index: int) -> Model:
        return self.models[index % len(self.models)]

    def someone(self, index: int) -> tuple[Model, Session]:
        """A session, three times out of four one that lives."""
        every = [(model, session) for model in self.models for session in model.sessions.values()]
        live = [(model, session) for model, session in every if session in model.live()]
        chosen = live if live and index % 4 else every
        return chosen[index % len(chosen)]

    def has_sessions(self) -> bool:
        return any(model.sessions for model in self.models)

    @initialize()
    def two_users(self) -> None:
        for name in ("ada", "bob"):
            self.add(name)

    def add(self, name: str) -> None:
        user = a_user(name, now=self.clock.now())
        assert self.both(lambda stores: stores.users.add(user)) is None
        self.models.append(Model(now=self.clock.now(), user=user))

    @rule(who=indexes, channel=st.sampled_from(Channel), idle=st.sampled_from([30.0, HOUR]), limit=st.integers(1, 4))
    def log_in(self, who: int, channel: Channel, idle: float, limit: int) -> None:
        model, now = self.model(who), self.clock.now()
        session = a_session(model.user.user_id, now, channel=channel, bound=HOME, seen=HOME, idle_expires_at=now + idle)
        self.both(lambda stores: stores.sessions.create(session, user_epoch=model.user.epoch, max_per_user=limit))
        if not model.user.active:
            return
        oldest = sorted(model.live(), key=lambda s: (s.last_seen_at, s.created_at, s.sid))
        for evicted in oldest[: max(0, len(oldest) + 1 - limit)]:
            model.end(evicted.sid, RevokeReason.EVICTED)
        model.sessions[session.sid] = session

    @rule(who=indexes)
    def log_in_too_late(self, who: int) -> None:
        model = self.model(who)
        session = a_session(model.user.user_id, self.clock.now())
        self.both(lambda stores: stores.sessions.create(session, user_epoch=model.user.epoch - 1, max_per_user=9))

    @precondition(has_sessions)
    @rule(
        which=indexes,
        back=st.sampled_from([0, 0, 0, 1, 1, 1, 2, 3, -1, -2]),
        facts=st.sampled_from([HOME, HOME, HOME, CAFE, PHONE]),
        waited=st.sampled_from([0.0, 0.0, 3.0, 60.0]),
        policy=st.sampled_from(POLICIES),
        swapped=st.sampled_from([False] * 9 + [True]),
    )
    def present(self, which: int, back: int, facts: Any, waited: float, policy: RotationPolicy, swapped: bool) -> None:
        model, session = self.someone(which)
        channel = Channel.BODY if (session.channel is Channel.COOKIE) is swapped else Channel.COOKIE
        attempt = RotationAttempt(session.sid, max(1, session.generation - back), channel, facts, waited, policy)
        self.rotate(model, session, attempt)

    @precondition(has_sessions)
    @rule(which=indexes, times=st.integers(2, 4), policy=st.sampled_from(POLICIES), pause=st.sampled_from([0.0, 100.0]))
    def refresh_in_a_row(self, which: int, times: int, policy: RotationPolicy, pause: float) -> None:
        model, session = self.someone(which)
        for generation in range(session.generation, session.generation + times):
            self.rotate(
                model,
                model.sessions[session.sid],
                RotationAttempt(session.sid, generation, session.channel, HOME, 0.0, policy),
            )
            self.let_time_pass(pause)

    @precondition(has_sessions)
    @rule(which=indexes, policy=st.sampled_from(POLICIES))
    def replay_what_was_spent_long_ago(self, which: int, policy: RotationPolicy) -> None:
        model, session = self.someone(which)
        spent = session.generation
        self.refresh_in_a_row(which, 2, policy, 0.0)
        self.let_time_pass(181.0)
        attempt = RotationAttempt(session.sid, spent, session.channel, HOME, 0.0, policy)
        self.rotate(model, model.sessions[session.sid], attempt)

    def rotate(self, model: Model, session: Session, attempt: RotationAttempt) -> None:
        user = model.user
        rotation = self.both(lambda stores: stores.sessions.rotate(attempt))
        assert isinstance(rotation, Rotation)
        assert (rotation.before, rotation.user, rotation.now) == (session, user, self.clock.now())
        model.policy = attempt.policy
        expected = model.present(
            attempt.presented, sid=session.sid, facts=attempt.facts, channel=attempt.channel, waited=attempt.waited
        )
        assert comparable(rotation.decision) == comparable(expected)

    @precondition(has_sessions)
    @rule(which=indexes, back=st.integers(-1, 2), confirm=st.booleans(), passive=st.booleans(), ago=st.floats(0, 90))
    def receipt(self, which: int, back: int, confirm: bool, passive: bool, ago: float) -> None:
        model, session = self.someone(which)
        generation, seen_at = session.generation - back, self.clock.now() - ago
        receipts = [Receipt(session.sid, generation, seen_at, confirm, passive)] * 2
        self.both(lambda stores: stores.sessions.confirm(receipts))
        if session.revoked_at is not None:
            return
        confirmed = session.generation if confirm and back == 0 else session.confirmed_generation
        model.sessions[session.sid] = replace(
            session,
            confirmed_generation=confirmed,
            last_seen_at=session.last_seen_at if passive else max(session.last_seen_at, seen_at),
            last_passive_at=max(session.last_passive_at, seen_at) if passive else session.last_passive_at,
        )

    @precondition(has_sessions)
    @rule(which=indexes, reason=reasons, owner=st.sampled_from([None, True, False]))
    def end(self, which: int, reason: RevokeReason, owner: bool | None) -> None:
        model, session = self.someone(which)
        user_id = None if owner is None else session.user_id if owner else "someone else"
        self.both(lambda stores: stores.sessions.end(session.sid, reason, user_id=user_id))
        if owner is not False:
            model.end(session.sid, reason)

    @rule(
        who=indexes,
        how=st.sampled_from(["end_user", "change_password", "disable", "remove_and_add_again"]),
        reason=reasons,
        keep=st.booleans(),
    )
    def end_many(self, who: int, how: str, reason: RevokeReason, keep: bool) -> None:
        model = self.model(who)
        kept = next(iter(model.sessions), None) if keep else None
        if how == "end_user":
            self.both(lambda stores: stores.sessions.end_user(model.user.user_id, reason, keep=kept))
            self.end_all(model, reason, kept)
        elif how == "change_password":
            self.change_password(model, kept)
        elif how == "disable":
            self.set_active(model, False)
            assert self.both(lambda stores: stores.sessions.list_live(model.user.user_id)) == ()
            self.set_active(model, True)
        else:
            self.remove_and_add_again(model)

    def change_password(self, model: Model, kept: str | None) -> None:
        text = str(uuid.uuid4())
        self.both(lambda stores: stores.users.set_password(model.user.user_id, text, keep=kept))
        self.end_all(model, RevokeReason.PASSWORD_CHANGED, kept)
        model.user = replace(model.user, password_hash=text, password_changed_at=self.clock.now())

    def set_active(self, model: Model, active: bool) -> None:
        self.both(lambda stores: stores.users.set_active(model.user.user_id, active))
        if not active:
            self.end_all(model, RevokeReason.USER_DISABLED, None)
        model.user = replace(model.user, active=active)

    @rule(who=indexes, roles=st.sampled_from([(), ("admin",), ("a", "b")]))
    def set_roles(self, who: int, roles: tuple[str, ...]) -> None:
        model = self.model(who)
        self.both(lambda stores: stores.users.set_roles(model.user.user_id, roles))
        model.user = replace(model.user, roles=roles, epoch=model.user.epoch + 1)

    @rule(who=indexes, right=st.booleans())
    def upgrade_hash(self, who: int, right: bool) -> None:
        model = self.model(who)
        old = model.user.password_hash if right else "another"
        assert old is not None
        done = self.both(lambda stores: stores.users.upgrade_hash(model.user.user_id, old, "stronger"))
        assert done is right
        model.user = replace(model.user, password_hash="stronger" if right else model.user.password_hash)

    def remove_and_add_again(self, model: Model) -> None:
        self.both(lambda stores: stores.users.remove(model.user.user_id))
        self.end_all(model, RevokeReason.USER_REMOVED, None)
        self.both(lambda stores: stores.users.remove(model.user.user_id))
        self.models.remove(model)
        self.removed.append(model)
        self.add(model.user.username)

    @rule(seconds=st.sampled_from(PAUSES))
    def let_time_pass(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.tell_time()

    @rule(seconds=st.sampled_from([0.1, 5.0, 30.0]))
    def step_the_clock_back(self, seconds: float) -> None:
        self.clock.step(-seconds)
        self.tell_time()

    @rule(limit=st.sampled_from([1, 2, 100]))
    def expire(self, limit: int) -> None:
        ended = self.both(lambda stores: stores.sessions.expire(limit=limit))
        every = [(model, s) for model in (*self.models, *self.removed) for s in model.sessions.values()]
        over = [(model, s) for model, s in every if s.revoked_at is None and s not in model.live()]
        over.sort(key=lambda pair: (min(pair[1].idle_expires_at, pair[1].absolute_expires_at), pair[1].sid))
        assert [end.sid for end in ended.sessions] == [session.sid for _, session in over[:limit]]
        for model, session in over[:limit]:
            model.end(session.sid)

    @rule(retention=st.sampled_from([0.0, HOUR]), limit=st.sampled_from([1, 100]))
    def purge(self, retention: float, limit: int) -> None:
        now = self.clock.now()
        gone = []
        for model in (*self.models, *self.removed):
            for session in model.sessions.values():
                kept = max(retention, THEFT_MEMORY) if session.revoke_reason is RevokeReason.REUSE else retention
                if session.revoked_at is not None and session.revoked_at < now - kept:
                    gone.append((session.revoked_at, session.sid, model))
        gone.sort(key=lambda entry: entry[:2])
        assert self.both(lambda stores: stores.sessions.purge(retention=retention, limit=limit)) == len(gone[:limit])
        for _, sid, model in gone[:limit]:
            del model.sessions[sid]

    @rule()
    def restart(self) -> None:
        self.wait(self.tested.database.close())
        self.tested = self.open(self.KIND)

    @invariant()
    def the_same_sessions(self) -> None:
        for model in (*self.models, *self.removed):
            for sid, session in model.sessions.items():
                assert self.both(lambda stores, sid=sid: stores.sessions.get(sid)) == session  # type: ignore[misc]
            listed = self.both(lambda stores, m=model: stores.sessions.list_live(m.user.user_id))  # type: ignore[misc]
            assert {session.sid for session in listed} == {session.sid for session in model.live()}

    @invariant()
    def the_same_users_and_feed(self) -> None:
        users = self.both(lambda stores: stores.users.list_users())
        assert isinstance(users, tuple)
        assert set(users) == {model.user for model in self.models}
        self.both(lambda stores: stores.sessions.feed(0))
        self.both(lambda stores: stores.sessions.list_live())

    def end_all(self, model: Model, reason: RevokeReason, keep: str | None) -> None:
        if keep is None:
            model.end_all(reason)
            return
        for sid in model.sessions:
            if sid != keep:
                model.end(sid, reason)

    def tell_time(self) -> None:
        for model in (*self.models, *self.removed):
            model.now = self.clock.now()

    def teardown(self) -> None:
        self.wait(self.tested.database.close())
        self.loop.close()
        self.folder.cleanup()


def comparable(decision: Decision) -> Decision:
    """A store may forget when an old generation was retired: theft either way."""
    return replace(decision, age=None) if decision.outcome is Outcome.THEFT else decision


class PostgresMachine(StoreMachine):
    KIND = "postgres"


StoreMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
PostgresMachine.TestCase.settings = settings(StoreMachine.TestCase.settings, max_examples=20)
TestStores = StoreMachine.TestCase
TestPostgres = PostgresMachine.TestCase
