"""SessionStore: the append-only revocation feed and waiting for it."""

from __future__ import annotations

import asyncio

import pytest
from support.clock import FrozenClock
from support.sessions import Recorder
from support.stores import log_in

from gateway.credentials.user import User
from gateway.sessions.canary import Canary, sent_at
from gateway.sessions.denial import RevocationIndex
from gateway.sessions.ports import FeedKind
from gateway.sessions.revocation import RevocationFollower
from gateway.sessions.session import RevokeReason
from gateway.stores.bundle import Stores
from gateway.stores.transitions import DENIAL_LEEWAY


async def test_numbers_follow_the_order_of_commits(stores: Stores, user: User) -> None:
    clients = [await log_in(stores, user) for _ in range(4)]
    committed = []
    for client in clients:
        committed += (await stores.sessions.end(client.sid, RevokeReason.LOGOUT)).feed
    committed += (await stores.sessions.end_user(user.user_id, RevokeReason.ADMIN)).feed
    assert [entry.seq for entry in committed] == sorted({entry.seq for entry in committed})
    assert await stores.sessions.feed(0) == tuple(committed)
    assert await stores.sessions.feed(committed[1].seq) == tuple(committed[2:])
    assert await stores.sessions.feed(committed[-1].seq) == ()
    assert await stores.sessions.feed(10_000) == ()


async def test_reading_changes_nothing(stores: Stores, user: User) -> None:
    await stores.users.set_roles(user.user_id, ())
    assert await stores.sessions.feed(0) == await stores.sessions.feed(0)
    assert [entry.kind for entry in await stores.sessions.feed(0)] == [FeedKind.USER]


async def test_expired_entries_are_left_out(stores: Stores, user: User, clock: FrozenClock) -> None:
    client = await log_in(stores, user, max_access_exp=clock.now() + 10)
    (entry,) = (await stores.sessions.end(client.sid, RevokeReason.LOGOUT)).feed
    clock.advance(10 + DENIAL_LEEWAY - 0.001)
    assert await stores.sessions.feed(0) == (entry,)
    clock.advance(0.001)
    assert await stores.sessions.feed(0) == ()


async def test_a_purged_number_is_never_given_again(stores: Stores, user: User, clock: FrozenClock) -> None:
    (first,) = (await stores.users.set_roles(user.user_id, ())).feed
    clock.advance(10_000)
    await stores.sessions.purge(retention=0, limit=10)
    (second,) = (await stores.users.set_roles(user.user_id, ())).feed
    assert second.seq > first.seq
    assert await stores.sessions.feed(0) == (second,)


async def test_a_waiting_reader_is_woken(stores: Stores, user: User) -> None:
    await stores.sessions.feed(0)
    waiting = [asyncio.ensure_future(stores.sessions.feed_changed(30)) for _ in range(2)]
    await asyncio.sleep(0)
    await stores.users.set_roles(user.user_id, ())
    done, _ = await asyncio.wait(waiting, timeout=5)
    assert len(done) == 2
    assert len(await stores.sessions.feed(0)) == 1


async def test_what_came_between_reading_and_waiting_is_not_missed(stores: Stores, user: User) -> None:
    await stores.sessions.feed(0)
    await stores.users.set_roles(user.user_id, ())
    async with asyncio.timeout(5):
        await stores.sessions.feed_changed(30)
    assert len(await stores.sessions.feed(0)) == 1


async def test_waiting_ends_by_itself(stores: Stores, user: User) -> None:
    await stores.sessions.feed(0)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await stores.sessions.feed_changed(0.15)
    await stores.sessions.feed_changed(0)
    assert 0.1 < loop.time() - begun < 5


async def test_a_cancelled_wait_leaves_the_store_well(stores: Stores, user: User) -> None:
    await stores.sessions.feed(0)
    waiting = asyncio.ensure_future(stores.sessions.feed_changed(30))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    await stores.users.set_roles(user.user_id, ())
    await stores.sessions.feed_changed(0)
    assert len(await stores.sessions.feed(0)) == 1


async def test_a_canary_is_an_entry_like_any_other_and_denies_nobody(
    stores: Stores, user: User, clock: FrozenClock
) -> None:
    client = await log_in(stores, user)
    await stores.sessions.feed(0)
    waiting = asyncio.ensure_future(stores.sessions.feed_changed(30))
    await asyncio.sleep(0)
    first = await stores.sessions.canary("node.1", life=180)
    async with asyncio.timeout(5):
        await waiting
    (end,) = (await stores.sessions.end(client.sid, RevokeReason.LOGOUT)).feed
    second = await stores.sessions.canary("node.2", life=180)
    assert await stores.sessions.feed(0) == (first, end, second)
    assert first.seq < end.seq < second.seq
    assert (first.kind, first.key, first.value) == (FeedKind.SESSION, "canary:node.1:1790000000000000", 0)
    assert (sent_at(first.key), sent_at(end.key)) == (clock.now(), None)
    assert first.expires_at == clock.now() + 180
    assert await stores.sessions.get(first.key) is None
    assert await stores.sessions.list_live() == ()


async def test_canaries_do_not_make_the_feed_grow(stores: Stores, clock: FrozenClock) -> None:
    for number in range(10):
        await stores.sessions.canary(f"node.{number}", life=180)
        clock.advance(30)
        await stores.sessions.purge(retention=0, limit=100)
    left = await stores.sessions.feed(0)
    assert [entry.key.split(":")[1] for entry in left] == [f"node.{number}" for number in range(5, 10)]
    clock.advance(180)
    await stores.sessions.purge(retention=0, limit=100)
    clock.advance(-1000)
    assert await stores.sessions.feed(0) == ()


async def test_a_canary_is_measured_through_the_feed(stores: Stores, clock: FrozenClock) -> None:
    index, latencies = RevocationIndex(), list[float]()
    follower = RevocationFollower(stores.sessions, index, clock)
    await follower.load()
    canary = Canary(stores.sessions, index, clock, Recorder(), latencies.append, interval=30, sends=False)
    canary.start()
    await canary.send()
    clock.advance(0.25)
    await canary.measure()
    assert latencies == []
    await stores.sessions.feed_changed(5)
    await follower.poll()
    await canary.measure()
    await canary.stop()
    assert latencies == [pytest.approx(0.25, abs=1e-5)]
