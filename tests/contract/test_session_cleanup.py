"""SessionStore: what the periodic job does, in small batches."""

from __future__ import annotations

from support.clock import FrozenClock
from support.stores import log_in

from gateway.credentials.user import User
from gateway.sessions.ports import Ended, FeedKind
from gateway.sessions.session import RevokeReason
from gateway.stores.bundle import Stores
from gateway.stores.transitions import DENIAL_LEEWAY, THEFT_MEMORY

HOUR = 3600.0


async def test_expire_marks_the_longest_over_first_in_batches(stores: Stores, user: User, clock: FrozenClock) -> None:
    start = clock.now()
    made = [await log_in(stores, user, idle_expires_at=start + 10 - number) for number in range(5)]
    kept = await log_in(stores, user)
    clock.advance(10)
    found = []
    for expected in (2, 2, 1, 0):
        ended = await stores.sessions.expire(limit=2)
        assert len(ended.sessions) == len(ended.feed) == expected
        found += [session.sid for session in ended.sessions]
    assert found == [client.sid for client in reversed(made)]
    assert [session.sid for session in await stores.sessions.list_live()] == [kept.sid]


async def test_expire_tells_idle_from_absolute(stores: Stores, user: User, clock: FrozenClock) -> None:
    idle = await log_in(stores, user, idle_expires_at=clock.now() + 1)
    over = await log_in(stores, user, absolute_expires_at=clock.now() + 2, idle_expires_at=clock.now() + 2)
    assert await stores.sessions.expire(limit=10) == Ended()
    clock.advance(2)
    ended = await stores.sessions.expire(limit=10)
    assert [(s.sid, s.user_id, s.reason) for s in ended.sessions] == [
        (idle.sid, user.user_id, RevokeReason.IDLE),
        (over.sid, user.user_id, RevokeReason.ABSOLUTE),
    ]
    assert {entry.kind for entry in ended.feed} == {FeedKind.SESSION}
    assert (await idle.stored()).revoked_at == clock.now()


async def test_a_session_without_a_good_access_token_ends_without_a_feed_entry(
    stores: Stores, user: User, clock: FrozenClock
) -> None:
    start = clock.now()
    edge = start + 100 - DENIAL_LEEWAY
    dead = await log_in(stores, user, idle_expires_at=start + 90, max_access_exp=edge)
    good = await log_in(stores, user, idle_expires_at=start + 95, max_access_exp=edge + 0.5)
    clock.advance(100)
    ended = await stores.sessions.expire(limit=10)
    assert [session.sid for session in ended.sessions] == [dead.sid, good.sid]
    assert [entry.key for entry in ended.feed] == [good.sid]
    assert [entry.key for entry in await stores.sessions.feed(0)] == [good.sid]


async def test_purge_keeps_what_ended_within_retention(stores: Stores, user: User, clock: FrozenClock) -> None:
    old = await log_in(stores, user)
    await stores.sessions.end(old.sid, RevokeReason.LOGOUT)
    clock.advance(1)
    young = await log_in(stores, user)
    await stores.sessions.end(young.sid, RevokeReason.LOGOUT)
    live = await log_in(stores, user)
    clock.advance(HOUR - 1)
    assert await stores.sessions.purge(retention=HOUR, limit=10) == 0
    clock.advance(0.5)
    assert await stores.sessions.purge(retention=HOUR, limit=10) == 1
    assert await stores.sessions.get(old.sid) is None
    assert await stores.sessions.get(young.sid) is not None
    assert await stores.sessions.get(live.sid) is not None


async def test_purge_works_in_batches(stores: Stores, user: User, clock: FrozenClock) -> None:
    for _ in range(5):
        client = await log_in(stores, user)
        await stores.sessions.end(client.sid, RevokeReason.LOGOUT)
    clock.advance(2 * HOUR)
    assert [await stores.sessions.purge(retention=HOUR, limit=2) for _ in range(4)] == [2, 2, 1, 0]


async def test_a_theft_is_remembered_for_a_day(stores: Stores, user: User, clock: FrozenClock) -> None:
    client = await log_in(stores, user)
    await stores.sessions.end(client.sid, RevokeReason.REUSE)
    clock.advance(THEFT_MEMORY)
    assert await stores.sessions.purge(retention=HOUR, limit=10) == 0
    clock.advance(1)
    assert await stores.sessions.purge(retention=2 * THEFT_MEMORY, limit=10) == 0
    assert await stores.sessions.purge(retention=HOUR, limit=10) == 1


async def test_purge_drops_expired_feed_rows_only(stores: Stores, user: User, clock: FrozenClock) -> None:
    short = await log_in(stores, user, max_access_exp=clock.now() + 10)
    long = await log_in(stores, user, max_access_exp=clock.now() + 20)
    await stores.sessions.end(short.sid, RevokeReason.LOGOUT)
    await stores.sessions.end(long.sid, RevokeReason.LOGOUT)
    clock.advance(10 + DENIAL_LEEWAY)
    assert await stores.sessions.purge(retention=2 * HOUR, limit=10) == 0
    # The clock goes back: what is gone stays gone, what was kept is there.
    clock.step(-10)
    assert [entry.key for entry in await stores.sessions.feed(0)] == [long.sid]
