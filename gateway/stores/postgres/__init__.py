"""All ports on PostgreSQL, for any number of gateways. The only package that imports asyncpg."""

from __future__ import annotations

from gateway.clock import Clock
from gateway.stores.bundle import Stores
from gateway.stores.postgres.connections import Connections
from gateway.stores.postgres.database import PostgresDatabase
from gateway.stores.postgres.events import PostgresEvents
from gateway.stores.postgres.feed import HEAD, FeedWatch
from gateway.stores.postgres.keys import PostgresKeys
from gateway.stores.postgres.migrate import Schema
from gateway.stores.postgres.opening import examine, open_first
from gateway.stores.postgres.sessions import PostgresSessions
from gateway.stores.postgres.target import target_of
from gateway.stores.postgres.users import PostgresUsers
from gateway.stores.postgres.work import Work

POOL = 10


async def open_postgres(
    url: str, *, clock: Clock, busy_timeout: float, pool: int = POOL, wall: Clock | None = None
) -> Stores:
    """Connect, migrate, and begin to listen to the feed.

    `clock` measures waits; time is the server's unless `wall` is given, which is for tests. At most `pool` connections
    and one that listens; a call waits at most `busy_timeout` seconds for a connection and its locks.
    """
    target = target_of(url, busy_timeout=busy_timeout)
    first = await open_first(target)
    connections = Connections(target.connect, size=pool, patience=target.lock_wait, first=first)
    feed = FeedWatch(None if target.pooled else target.connect)
    work = Work(connections, target, feed.committed)

    async def head() -> int:
        row = await work.row(HEAD)
        return int(row[0]) if row is not None else 0

    feed.start(head)
    return Stores(
        sessions=PostgresSessions(work, feed, clock, wall),
        users=PostgresUsers(work, wall),
        keys=PostgresKeys(work),
        events=PostgresEvents(work),
        database=PostgresDatabase(work, connections, feed),
        load=connections.load,
        watch=feed,
    )


async def examine_postgres(url: str) -> tuple[str, Schema]:
    """How to call the database, and what a start would find there; nothing is changed. Raises `CannotStart`."""
    target = target_of(url, busy_timeout=1.0)
    return target.label, await examine(target)


__all__ = ["POOL", "Schema", "examine_postgres", "open_postgres"]
