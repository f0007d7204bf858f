"""The revocation feed on PostgreSQL: commits out of order, several nodes, and a lost LISTEN connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import asyncpg
import pytest
from support import postgres
from support.clock import FrozenClock
from support.relay import relay_to
from support.stores import a_user, log_in

from gateway.credentials.user import User
from gateway.errors import StoreBusy
from gateway.sessions.denial import RevocationIndex
from gateway.sessions.revocation import RevocationFollower
from gateway.sessions.session import RevokeReason
from gateway.stores.bundle import Stores
from gateway.stores.postgres import open_postgres
from gateway.stores.postgres.feed import FeedWatch
from gateway.stores.postgres.sessions import PostgresSessions

APPEND = "SELECT gateway_append_feed(ARRAY['session'], ARRAY[$1::text], ARRAY[0::bigint], ARRAY[1e12::float8])"
LISTENERS = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"


@dataclass
class Nodes:
    """Two gateways' stores and the superuser's connection."""

    here: Stores
    there: Stores
    admin: asyncpg.Connection
    clock: FrozenClock
    user: User


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    url, clock = await postgres.server().wipe(), FrozenClock()
    here, there = [await open_postgres(url, clock=clock, busy_timeout=5.0, wall=clock) for _ in range(2)]
    admin = await postgres.server().connect()
    user = a_user()
    await here.users.add(user)
    yield Nodes(here, there, admin, clock, user)
    await admin.close()
    await here.database.close()
    await there.database.close()


def watch(stores: Stores) -> FeedWatch:
    assert isinstance(stores.sessions, PostgresSessions)
    return stores.sessions._feed


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def hears(stores: Stores) -> None:
    await until(lambda: watch(stores).listening)
    await stores.sessions.feed_changed(0)
    await stores.sessions.feed(0)


async def within(seconds: float, work: Awaitable[None]) -> None:
    async with asyncio.timeout(seconds):
        await work


async def test_a_held_transaction_is_not_overtaken(nodes: Nodes) -> None:
    """Who appends next waits, so that a reader who has seen its number has seen every lower one."""
    client = await log_in(nodes.here, nodes.user)
    held = nodes.admin.transaction()
    await held.start()
    await nodes.admin.execute(APPEND, "held")
    later = asyncio.ensure_future(nodes.here.sessions.end(client.sid, RevokeReason.LOGOUT))
    done, _ = await asyncio.wait([later], timeout=0.1)
    assert not done
    assert await nodes.there.sessions.feed(0) == ()
    await held.commit()
    (entry,) = (await later).feed
    assert [(e.key, e.seq) for e in await nodes.there.sessions.feed(0)] == [
        ("held", entry.seq - 1),
        (client.sid, entry.seq),
    ]


async def test_a_held_transaction_that_fails_leaves_a_gap_and_no_more(nodes: Nodes) -> None:
    client = await log_in(nodes.here, nodes.user)
    held = nodes.admin.transaction()
    await held.start()
    await nodes.admin.execute(APPEND, "never")
    later = asyncio.ensure_future(nodes.here.sessions.end(client.sid, RevokeReason.LOGOUT))
    await asyncio.wait([later], timeout=0.05)
    await held.rollback()
    (entry,) = (await later).feed
    assert [e.key for e in await nodes.there.sessions.feed(0)] == [client.sid]
    assert (await nodes.there.sessions.feed(0))[0].seq == entry.seq


async def test_a_held_feed_makes_others_busy_and_revokes_nothing_by_halves(nodes: Nodes) -> None:
    url = postgres.server().url()
    hasty = await open_postgres(url, clock=nodes.clock, busy_timeout=0.3, wall=nodes.clock)
    client = await log_in(hasty, nodes.user)
    async with nodes.admin.transaction():
        await nodes.admin.execute(APPEND, "held")
        with pytest.raises(StoreBusy):
            await hasty.sessions.end(client.sid, RevokeReason.LOGOUT)
    assert (await client.stored()).revoked_at is None
    assert [s.sid for s in (await hasty.sessions.end(client.sid, RevokeReason.LOGOUT)).sessions] == [client.sid]
    await hasty.database.close()


async def test_a_follower_misses_nothing_of_many_writers(nodes: Nodes) -> None:
    index = RevocationIndex()
    follower = RevocationFollower(nodes.there.sessions, index, nodes.clock)
    await follower.start()
    clients = [await log_in(nodes.here, nodes.user) for _ in range(40)]
    stores = (nodes.here, nodes.there)
    ends = [stores[n % 2].sessions.end(client.sid, RevokeReason.LOGOUT) for n, client in enumerate(clients)]
    ended = await asyncio.gather(*ends)
    await until(lambda: len(index) == 40)
    numbers = [entry.seq for one in ended for entry in one.feed]
    assert len(set(numbers)) == 40
    await follower.stop()


async def test_another_nodes_commit_wakes_at_once(nodes: Nodes) -> None:
    await hears(nodes.there)
    loop = asyncio.get_running_loop()
    for _ in range(5):
        client = await log_in(nodes.here, nodes.user)
        waiting = asyncio.ensure_future(nodes.there.sessions.feed_changed(30))
        await asyncio.sleep(0)
        begun = loop.time()
        await nodes.here.sessions.end(client.sid, RevokeReason.LOGOUT)
        await within(5, waiting)
        assert loop.time() - begun < 5
        assert client.sid in {entry.key for entry in await nodes.there.sessions.feed(0)}


async def test_a_lost_listener_is_replaced_and_what_came_meanwhile_is_found(nodes: Nodes) -> None:
    await hears(nodes.there)
    await hears(nodes.here)
    client = await log_in(nodes.here, nodes.user)
    waiting = asyncio.ensure_future(nodes.there.sessions.feed_changed(30))
    await asyncio.sleep(0)
    for (pid,) in await nodes.admin.fetch(LISTENERS):
        await nodes.admin.execute("SELECT pg_terminate_backend($1, 5000)", pid)
    await nodes.here.sessions.end(client.sid, RevokeReason.LOGOUT)
    await within(5, waiting)
    assert [entry.key for entry in await nodes.there.sessions.feed(0)] == [client.sid]
    await hears(nodes.there)
    await test_another_nodes_commit_wakes_at_once(nodes)


async def test_a_listener_that_hears_nothing_any_more_is_noticed() -> None:
    """A network that swallows everything gives no sign; the connection is asked now and then."""
    url, clock = await postgres.server().wipe(), FrozenClock()
    here = await open_postgres(url, clock=clock, busy_timeout=5.0, wall=clock)
    async with relay_to(postgres.server().port) as relay:

        async def connect() -> asyncpg.Connection:
            return await asyncpg.connect(postgres.server().url(port=relay.port), timeout=0.2)

        async def head() -> int:
            return max((entry.seq for entry in await here.sessions.feed(0)), default=0)

        watching = FeedWatch(connect, keepalive=0.05)
        watching.start(head)
        await until(lambda: watching.listening)
        relay.running.clear()
        await until(lambda: not watching.listening)
        user = a_user()
        await here.users.add(user)
        client = await log_in(here, user)
        await watching.changed(0)
        watching.reading()
        await here.sessions.end(client.sid, RevokeReason.LOGOUT)
        await within(5, watching.changed(30))  # by asking
        relay.running.set()
        await until(lambda: watching.listening)
        assert [entry.key for entry in await here.sessions.feed(0)] == [client.sid]
        await watching.stop()
    await here.database.close()


async def test_behind_a_pooler_others_commits_are_found_by_asking() -> None:
    url, clock = await postgres.server().wipe(), FrozenClock()
    here = await open_postgres(url, clock=clock, busy_timeout=5.0, wall=clock)
    there = await open_postgres(f"{url}?pgbouncer=true", clock=clock, busy_timeout=5.0, wall=clock)
    user = a_user()
    await here.users.add(user)
    client = await log_in(here, user)
    await there.sessions.feed(0)
    waiting = asyncio.ensure_future(there.sessions.feed_changed(30))
    await asyncio.sleep(0.01)
    await here.sessions.end(client.sid, RevokeReason.LOGOUT)
    await within(5, waiting)
    assert [entry.key for entry in await there.sessions.feed(0)] == [client.sid]
    assert not watch(there).listening
    await here.database.close()
    await there.database.close()
