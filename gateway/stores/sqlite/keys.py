"""Signing keys and marks in SQLite."""

from __future__ import annotations

from gateway.stores.sqlite.lane import Reader, Transaction
from gateway.stores.sqlite.writer import Writer
from gateway.tokens.ports import StoredKey

_COLUMNS = "kid, algorithm, sealed, master_kid, public_jwk, created_at, active_from, retired_at"
_MARK = "SELECT value FROM marks WHERE name = ?"
_NEWEST = "SELECT kid FROM signing_keys WHERE retired_at IS NULL ORDER BY position DESC LIMIT 1"


class SqliteKeys:
    """`KeyStore` on one SQLite file."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def list_keys(self) -> tuple[StoredKey, ...]:
        """All keys, oldest first."""
        query = f"SELECT {_COLUMNS} FROM signing_keys ORDER BY position"  # noqa: S608
        return await self._reader.run(lambda transaction: tuple(StoredKey(*row) for row in transaction.execute(query)))

    async def put_key(self, key: StoredKey, *, retire: str | None, at: float) -> bool:
        """Insert `key` and mark `retire` as retired at `at`, atomically; False when another process was first."""
        values = (
            key.kid,
            key.algorithm,
            key.sealed,
            key.master_kid,
            key.public_jwk,
            key.created_at,
            key.active_from,
            key.retired_at,
        )

        def work(transaction: Transaction) -> bool:
            newest = transaction.execute(_NEWEST).fetchone()
            if retire != (newest[0] if newest is not None else None):
                return False
            transaction.execute(f"INSERT INTO signing_keys ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)  # noqa: S608
            transaction.execute("UPDATE signing_keys SET retired_at = ? WHERE kid = ?", (at, retire))
            return True

        return await self._writer.run(work)

    async def delete_key(self, kid: str) -> None:
        """Forget a key: tokens it signed are refused from then on."""
        await self._writer.run(
            lambda transaction: transaction.execute_all("DELETE FROM signing_keys WHERE kid = ?", [(kid,)])
        )

    async def get_mark(self, name: str) -> bytes | None:
        """A store-wide mark ("incarnation", "canary", ...)."""

        def work(transaction: Transaction) -> bytes | None:
            row = transaction.execute(_MARK, (name,)).fetchone()
            return bytes(row[0]) if row is not None else None

        return await self._reader.run(work)

    async def put_mark(self, name: str, value: bytes, *, replace: bool = False) -> bytes:
        """Set a mark if it is not set (or `replace`); returns the value in force, so racing writers agree."""

        def work(transaction: Transaction) -> bytes:
            row = transaction.execute(_MARK, (name,)).fetchone()
            if row is not None and not replace:
                return bytes(row[0])
            transaction.execute("INSERT OR REPLACE INTO marks (name, value) VALUES (?, ?)", (name, value))
            return value

        return await self._writer.run(work)
