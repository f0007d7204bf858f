"""The SQLite file behind all ports: one writer, one reader."""

from __future__ import annotations

from gateway.errors import StoreUnavailable
from gateway.stores.sqlite.lane import Reader, Transaction
from gateway.stores.sqlite.writer import Writer


class SqliteDatabase:
    """`Database` on one file."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def ping(self) -> None:
        """Raise `StoreUnavailable` when reads or writes would fail."""
        found = await self._reader.run(_read)
        if not found:
            raise StoreUnavailable(debug="the schema is gone")
        await self._writer.run(_touch)

    async def close(self) -> None:
        """Finish what was accepted, then release everything. Idempotent."""
        # The writer last: the last connection to close folds the log into the database.
        await self._reader.close()
        await self._writer.close()


def _read(transaction: Transaction) -> bool:
    return transaction.execute("SELECT 1 FROM schema_migrations LIMIT 1").fetchone() is not None


def _touch(transaction: Transaction) -> None:
    transaction.execute("UPDATE marks SET value = value WHERE name = 'incarnation'")
