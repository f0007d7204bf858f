"""Makes and verifies password hashes. Every verification costs at least one hash, whatever is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from argon2.exceptions import HashingError

from gateway.credentials.passwords import secret_to_store, secrets_to_try
from gateway.credentials.pool import HashPool, default_permits
from gateway.credentials.schemes.argon2 import Argon2Hash, Argon2Parameters
from gateway.credentials.schemes.base import StoredHash
from gateway.credentials.schemes.registry import parse_hash
from gateway.errors import InvalidRequest, TemporarilyUnavailable

T = TypeVar("T")

DEFAULT_QUEUE = 32
_SALT_BYTES = 16
_DIGEST_BYTES = 32
_RETRY_AFTER = 2


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of one password and one stored hash.

    `outdated`: right, but the hash is foreign or made with other parameters, so a new one should replace it.
    `unusable`: why the stored text could not be verified at all, for the log.
    """

    ok: bool
    outdated: bool = False
    unusable: str | None = None


class PasswordHasher:
    """Argon2id with its own threads.

    An absent or unusable hash costs the same as a current one: it is replaced by one nobody made. A foreign or older
    hash costs what its own parameters say, so until its first log-in such an account can be told from an unknown one
    by the clock; padding cannot hide that without making every log-in as slow as the slowest import.
    """

    def __init__(
        self,
        parameters: Argon2Parameters | None = None,
        *,
        permits: int | None = None,
        queue: int = DEFAULT_QUEUE,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.parameters = parameters or Argon2Parameters()
        self._random_bytes = random_bytes
        self._pool = HashPool(permits or default_permits(), queue)
        self._dummy = Argon2Hash.unmatchable(random_bytes(_SALT_BYTES), random_bytes(_DIGEST_BYTES), self.parameters)

    async def hash(self, password: str) -> str:
        """A new hash of `password` as PHC text. Raises `TemporarilyUnavailable` when too many wait."""
        salt = self._random_bytes(_SALT_BYTES)
        return str(await self._run(lambda: Argon2Hash.create(secret_to_store(password), salt, self.parameters)))

    async def verify(self, password: str, stored: str | None) -> Verification:
        """Check `password` against `stored`; None (no such user, no password) fails after the same work.

        Raises `TemporarilyUnavailable` when too many wait.
        """
        found, unusable = self._parse(stored)
        secrets = secrets_to_try(password)
        target: StoredHash = found or self._dummy
        ok = await self._run(lambda: _verify(target, secrets))
        current = isinstance(found, Argon2Hash) and found.is_current(self.parameters)
        return Verification(ok=ok, outdated=ok and not current, unusable=unusable)

    @property
    def load(self) -> int:
        """How many passwords are being hashed or wait for it."""
        return self._pool.taken

    @property
    def refused(self) -> int:
        """How many found the queue full."""
        return self._pool.refused

    async def close(self) -> None:
        """Let running hashes finish and end the threads."""
        await self._pool.close()

    def _parse(self, stored: str | None) -> tuple[StoredHash | None, str | None]:
        if stored is None:
            return None, None
        try:
            return parse_hash(stored), None
        except InvalidRequest as problem:
            return None, problem.detail

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await self._pool.run(work)
        except (HashingError, MemoryError) as failure:
            raise TemporarilyUnavailable(debug=f"password hash: {failure}", retry_after=_RETRY_AFTER) from failure


def _verify(target: StoredHash, secrets: tuple[bytes, ...]) -> bool:
    if not secrets:
        # Too long or not text: wrong, but not a faster kind of wrong.
        target.verify(b"")
        return False
    return any(target.verify(secret) for secret in secrets)
