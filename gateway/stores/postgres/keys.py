"""Signing keys and marks in PostgreSQL."""

from __future__ import annotations

from gateway.stores.postgres.work import Transaction, Work
from gateway.tokens.ports import StoredKey

_COLUMNS = "kid, algorithm, sealed, master_kid, public_jwk, created_at, active_from, retired_at"
_LIST = f"SELECT {_COLUMNS} FROM signing_keys ORDER BY position"  # noqa: S608
_INSERT = f"INSERT INTO signing_keys ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"  # noqa: S608
_NEWEST = "SELECT kid FROM signing_keys WHERE retired_at IS NULL ORDER BY position DESC LIMIT 1"
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(1735349369, 3)"
_MARK = "SELECT value FROM marks WHERE name = $1"
_PUT_MARK = (
    "INSERT INTO marks (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE"
    " SET value = CASE WHEN $3 THEN excluded.value ELSE marks.value END RETURNING value"
)


class PostgresKeys:
    """`KeyStore` on PostgreSQL."""

    def __init__(self, work: Work) -> None:
        self._work = work

    async def list_keys(self) -> tuple[StoredKey, ...]:
        """All keys, oldest first."""
        return tuple(StoredKey(*row) for row in await self._work.rows(_LIST))

    async def put_key(self, key: StoredKey, *, retire: str | None, at: float) -> bool:
        """Insert `key` and mark `retire` as retired at `at`, atomically; False when another process was first."""

        async def work(transaction: Transaction) -> bool:
            await transaction.execute(_ONE_AT_A_TIME)
            if retire != await transaction.fetchval(_NEWEST):
                return False
            await transaction.execute(
                _INSERT,
                key.kid,
                key.algorithm,
                key.sealed,
                key.master_kid,
                key.public_jwk,
                key.created_at,
                key.active_from,
                key.retired_at,
            )
            await transaction.execute("UPDATE signing_keys SET retired_at = $1 WHERE kid = $2", at, retire)
            return True

        return await self._work.run(work)

    async def delete_key(self, kid: str) -> None:
        """Forget a key: tokens it signed are refused from then on."""
        await self._work.row("DELETE FROM signing_keys WHERE kid = $1", kid)

    async def get_mark(self, name: str) -> bytes | None:
        """A store-wide mark ("incarnation", "canary", ...)."""
        row = await self._work.row(_MARK, name)
        return bytes(row[0]) if row is not None else None

    async def put_mark(self, name: str, value: bytes, *, replace: bool = False) -> bytes:
        """Set a mark if it is not set (or `replace`); returns the value in force, so racing writers agree."""
        row = await self._work.row(_PUT_MARK, name, value, replace)
        return bytes(row[0]) if row is not None else value
