"""What tokens ask of a store: sealed signing keys and the marks that say which store this is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A signing key at rest. Times are epoch seconds.

    `sealed` is the private key (PKCS 8 DER) under the master key `master_kid`. It signs from `active_from` until the
    next key does, is published from `created_at` on, and verifies until `retired_at` plus the longest token life.
    """

    kid: str
    algorithm: str
    sealed: bytes
    master_kid: int
    public_jwk: str
    created_at: float
    active_from: float
    retired_at: float | None


class KeyStore(Protocol):
    """Signing keys and store-wide marks. Errors as in `SessionStore`."""

    async def list_keys(self) -> tuple[StoredKey, ...]:
        """All keys, oldest first."""
        ...

    async def put_key(self, key: StoredKey, *, retire: str | None, at: float) -> bool:
        """Insert `key` and mark `retire` as retired at `at`, atomically.

        False, with nothing done, when `retire` is no longer the newest unretired key of the store (or, for None, when
        there is one already): two processes rotating at once make one new key.
        """
        ...

    async def delete_key(self, kid: str) -> None:
        """Forget a key: tokens it signed are refused from then on."""
        ...

    async def get_mark(self, name: str) -> bytes | None:
        """A store-wide mark ("incarnation", "canary", ...)."""
        ...

    async def put_mark(self, name: str, value: bytes, *, replace: bool = False) -> bytes:
        """Set a mark if it is not set (or `replace`); returns the value in force, so racing writers agree."""
        ...
