"""Signing keys and marks in memory."""

from __future__ import annotations

from dataclasses import replace

from gateway.errors import Conflict
from gateway.stores.memory.database import MemoryDatabase
from gateway.tokens.ports import StoredKey


class MemoryKeys:
    """`KeyStore` in memory."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._db = database
        self._keys: list[StoredKey] = []
        self._marks: dict[str, bytes] = {}

    async def list_keys(self) -> tuple[StoredKey, ...]:
        """All keys, oldest first."""
        self._db.open_or_raise()
        return tuple(self._keys)

    async def put_key(self, key: StoredKey, *, retire: str | None, at: float) -> bool:
        """Insert `key` and mark `retire` as retired at `at`, atomically; False when another process was first."""
        self._db.open_or_raise()
        newest = next((known for known in reversed(self._keys) if known.retired_at is None), None)
        if retire != (newest.kid if newest is not None else None):
            return False
        if any(known.kid == key.kid for known in self._keys):
            raise Conflict("the key exists")
        self._keys = [replace(known, retired_at=at) if known is newest else known for known in self._keys]
        self._keys.append(key)
        return True

    async def delete_key(self, kid: str) -> None:
        """Forget a key: tokens it signed are refused from then on."""
        self._db.open_or_raise()
        self._keys = [key for key in self._keys if key.kid != kid]

    async def get_mark(self, name: str) -> bytes | None:
        """A store-wide mark ("incarnation", "canary", ...)."""
        self._db.open_or_raise()
        return self._marks.get(name)

    async def put_mark(self, name: str, value: bytes, *, replace: bool = False) -> bytes:
        """Set a mark if it is not set (or `replace`); returns the value in force, so racing writers agree."""
        self._db.open_or_raise()
        if replace:
            self._marks[name] = value
        return self._marks.setdefault(name, value)
