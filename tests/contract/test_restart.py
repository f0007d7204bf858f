"""What one process acknowledged, the next one knows."""

from __future__ import annotations

from pathlib import Path

from support.clock import FrozenClock
from support.stores import POLICY, a_user, log_in, open_kind

from gateway.sessions.decision import Outcome, Reason
from gateway.sessions.ports import FeedKind, Receipt
from gateway.sessions.session import RevokeReason

W, S = POLICY.in_flight_window, POLICY.late_window


async def test_a_restart_between_rotation_and_replay_changes_nothing(tmp_path: Path, clock: FrozenClock) -> None:
    expected = (
        (1.0, 1, Outcome.RACE),
        (W, 1, Outcome.RETRY),
        (W, 2, Outcome.ROTATED),
        (W, 1, Outcome.SUPERSEDED),
        (S, 1, Outcome.THEFT),
        (0.0, 3, Outcome.DEAD),
    )
    stores = await open_kind("sqlite", tmp_path, clock)
    user = a_user()
    await stores.users.add(user)
    client = await log_in(stores, user)
    await client.present(1)
    for pause, generation, outcome in expected:
        await stores.database.close()
        clock.advance(pause)
        client.stores = stores = await open_kind("sqlite", tmp_path, clock)
        assert (await client.present(generation)).decision.outcome is outcome
    feed = await stores.sessions.feed(0)
    assert [entry.kind for entry in feed] == [FeedKind.DELIVERY, FeedKind.DELIVERY, FeedKind.USER]
    await stores.database.close()


async def test_receipts_and_revocations_survive(tmp_path: Path, clock: FrozenClock) -> None:
    stores = await open_kind("sqlite", tmp_path, clock)
    user = a_user()
    await stores.users.add(user)
    first, second = await log_in(stores, user), await log_in(stores, user)
    await first.present(1)
    await stores.sessions.confirm([Receipt(first.sid, 2, clock.now(), True, False)])
    (entry,) = (await stores.sessions.end(second.sid, RevokeReason.LOGOUT)).feed
    await stores.database.close()
    clock.advance(W + 1)
    first.stores = second.stores = stores = await open_kind("sqlite", tmp_path, clock)
    assert (await first.present(1)).decision.outcome is Outcome.SUPERSEDED
    assert (await second.present(1)).decision.reason is Reason.REVOKED
    assert await stores.sessions.feed(0) == (entry,)
    (later,) = (await stores.users.set_roles(user.user_id, ())).feed
    assert later.seq > entry.seq
    await stores.database.close()
