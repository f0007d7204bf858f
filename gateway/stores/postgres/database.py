"""The PostgreSQL database behind all ports: a bounded set of connections and one that listens."""

from __future__ import annotations

from gateway.errors import StoreUnavailable
from gateway.stores.postgres.connections import Connections
from gateway.stores.postgres.feed import FeedWatch
from gateway.stores.postgres.work import Work

# Writes, so that a standby is not taken for a database one can log in to.
_TOUCH = "UPDATE marks SET value = value WHERE name = 'incarnation'"


class PostgresDatabase:
    """`Database` on PostgreSQL."""

    def __init__(self, work: Work, connections: Connections, feed: FeedWatch) -> None:
        self._work = work
        self._connections = connections
        self._feed = feed

    async def ping(self) -> None:
        """Raise `StoreUnavailable` when reads or writes would fail."""
        if await self._work.row("SELECT 1 FROM schema_migrations LIMIT 1") is None:
            raise StoreUnavailable(debug="the schema is gone")
        await self._work.row(_TOUCH)

    async def close(self) -> None:
        """Finish what was accepted, then release everything. Idempotent."""
        await self._feed.stop()
        await self._connections.close()
