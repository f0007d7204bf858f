"""The life of signing keys: made, published, signing, retired, forgotten, in one store for all processes."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from enum import StrEnum

from gateway.clock import Clock
from gateway.errors import StoreBusy
from gateway.events import Event, EventSink, Level, Name
from gateway.tokens import keys
from gateway.tokens.errors import SealBroken
from gateway.tokens.jwks import MAX_AGE
from gateway.tokens.keyring import KeyRing, RingKey
from gateway.tokens.keys import Algorithm, KeyPair
from gateway.tokens.master import MasterKeys
from gateway.tokens.ports import KeyStore, StoredKey

PUBLISH_AHEAD = MAX_AGE + 60.0
"""Seconds a key is published before it signs: caches of the JWKS expire, and every process has seen the key."""
PROPAGATION = 10.0
"""Seconds until every process of the deployment has seen a key, when a rotation cannot wait for JWKS caches."""
LINGER = 300.0
"""Seconds a key verifies beyond the life of the last token it signed: clocks differ, and processes notice late."""


class Cause(StrEnum):
    """Why a key was made: the `reason` of `keys.rotated`."""

    FIRST = "first"
    SCHEDULE = "schedule"
    COMMAND = "command"
    ALGORITHM = "algorithm"
    MASTER_KEY = "master_key"
    UNREADABLE = "unreadable"


class KeyState(StrEnum):
    """What a stored key does at the moment. UNREADABLE: its master key is gone, or the row was altered."""

    PUBLISHED = "published"
    SIGNING = "signing"
    RETIRED = "retired"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class KeyReport:
    """A stored key as the operator sees it."""

    row: StoredKey
    state: KeyState


class KeyService:
    """Keeps `ring` in step with the store and makes keys when they are due. Store errors pass; the ring stays as it is.

    A private key is believed only when it opens under the master key, under its own name: a key that somebody wrote
    into the store neither signs nor verifies.
    """

    def __init__(
        self,
        store: KeyStore,
        master: MasterKeys,
        clock: Clock,
        algorithm: str,
        rotation_period: float | None,
        access_ttl: float,
        events: EventSink | None = None,
    ) -> None:
        self.ring = KeyRing()
        self._store = store
        self._master = master
        self._clock = clock
        self._algorithm = Algorithm(algorithm)
        self._period = rotation_period or math.inf
        self._linger = access_ttl + LINGER
        self._events = events
        self._opened: dict[_Sealed, KeyPair | None] = {}
        self._rows: tuple[StoredKey, ...] = ()
        # What was read last is also what is put in force last.
        self._one_at_a_time = asyncio.Lock()

    async def load(self) -> None:
        """Fill the ring at start; makes the first key, or the next one when algorithm or master key have changed."""
        await self._sync()
        newest = self._newest()
        if not self._can_sign():
            await self._make_first()
        elif newest is not None and newest.algorithm != self._algorithm:
            await self._make(Cause.ALGORITHM, overlap=self._overlap())
        elif newest is not None and newest.master_kid != self._master.current:
            await self._make(Cause.MASTER_KEY, overlap=self._overlap())
        await self.refresh_if_due()

    async def refresh_if_due(self) -> None:
        """Notice what other processes did, make the scheduled key, forget what has no live token. Call it often."""
        async with self._one_at_a_time:
            await self._refresh_if_due()

    async def _refresh_if_due(self) -> None:
        await self._sync()
        newest = self._newest()
        if not self._can_sign():
            await self._make_first()
        elif newest is not None and self._clock.now() >= newest.active_from + self._period - self._overlap():
            await self._make(Cause.SCHEDULE, overlap=self._overlap())
        await self._forget_expired()

    async def rotate(self, *, soon: bool = False, withdraw: bool = False) -> StoredKey:
        """Make a key by command and return it.

        It signs after JWKS caches have expired; `soon`: once all processes have seen it. `withdraw` deletes every other
        key: all access tokens of the deployment die, and clients refresh.
        """
        async with self._one_at_a_time:
            return await self._rotate(soon=soon, withdraw=withdraw)

    async def _rotate(self, *, soon: bool, withdraw: bool) -> StoredKey:
        await self._sync()
        if not self._rows:
            await self._make(Cause.COMMAND, overlap=0.0)
        elif soon or withdraw:
            await self._make(Cause.COMMAND, overlap=self._haste())
        else:
            await self._make(Cause.COMMAND, overlap=self._overlap())
        newest = self._newest()
        if newest is None:
            raise StoreBusy(debug="the new signing key was deleted at once by another process")
        if withdraw:
            for row in self._rows:
                if row.kid != newest.kid:
                    await self._store.delete_key(row.kid)
            await self._sync()
        return newest

    async def report(self) -> tuple[KeyReport, ...]:
        """Every stored key, oldest first. Makes and deletes nothing."""
        async with self._one_at_a_time:
            await self._sync()
        now = self._clock.now()
        signing = self.ring.due(now)
        return tuple(KeyReport(row, self._state(row, signing, now)) for row in self._rows)

    def _state(self, row: StoredKey, signing: KeyPair | None, now: float) -> KeyState:
        if self._opened[_sealed(row)] is None:
            return KeyState.UNREADABLE
        if signing is not None and row.kid == signing.kid:
            return KeyState.SIGNING
        overtaken = row.retired_at is not None and row.retired_at <= row.active_from
        return KeyState.RETIRED if overtaken or row.active_from <= now else KeyState.PUBLISHED

    async def _sync(self) -> None:
        rows = await self._store.list_keys()
        opened = {key: self._opened[key] if key in self._opened else self._open(row) for row, key in _named(rows)}
        self._rows, self._opened = rows, opened
        now = self._clock.now()
        self.ring.install(
            [
                RingKey(pair, row.active_from, row.retired_at)
                for row, key in _named(rows)
                if (pair := opened[key]) is not None and not self._expired(row, now)
            ]
        )

    def _open(self, row: StoredKey) -> KeyPair | None:
        if row.master_kid not in self._master.kids:
            self._emit(Name.STORE_FAILED, Level.WARNING, kid=row.kid, reason="master_key_missing")
            return None
        try:
            der = self._master.open(row.master_kid, row.sealed, _purpose(row.kid))
            return keys.from_private_der(Algorithm(row.algorithm), der)
        except (SealBroken, ValueError):
            self._emit(Name.STORE_FAILED, Level.ERROR, kid=row.kid, reason="signing_key_altered")
            return None

    async def _make_first(self) -> None:
        if self._rows:
            await self._make(Cause.UNREADABLE, overlap=self._haste())
        else:
            await self._make(Cause.FIRST, overlap=0.0)

    async def _make(self, cause: Cause, *, overlap: float) -> None:
        pair = await asyncio.to_thread(keys.generate, self._algorithm)
        master_kid, sealed = self._master.seal(pair.private_der(), _purpose(pair.kid))
        newest, now = self._newest(), self._clock.now()
        row = StoredKey(
            kid=pair.kid,
            algorithm=self._algorithm,
            sealed=sealed,
            master_kid=master_kid,
            public_jwk=keys.public_text(pair),
            created_at=now,
            active_from=now + overlap,
            retired_at=None,
        )
        made = await self._store.put_key(row, retire=newest.kid if newest else None, at=row.active_from)
        if made:
            self._emit(
                Name.KEYS_ROTATED, Level.INFO, kid=row.kid, algorithm=row.algorithm, reason=cause, signs_in_s=overlap
            )
        await self._sync()

    async def _forget_expired(self) -> None:
        now = self._clock.now()
        for row in self._rows:
            if self._expired(row, now):
                await self._store.delete_key(row.kid)

    def _newest(self) -> StoredKey | None:
        return next((row for row in reversed(self._rows) if row.retired_at is None), None)

    def _can_sign(self) -> bool:
        now = self._clock.now()
        return any(not key.never_signs and not key.retired(now) for key in self.ring.keys)

    def _overlap(self) -> float:
        return min(PUBLISH_AHEAD, self._period / 2)

    def _haste(self) -> float:
        return min(PROPAGATION, self._overlap())

    def _expired(self, row: StoredKey, now: float) -> bool:
        return row.retired_at is not None and row.retired_at + self._linger <= now

    def _emit(self, name: Name, level: Level, **fields: object) -> None:
        if self._events is not None:
            self._events.emit(Event(name, level, fields=fields))


_Sealed = tuple[str, str, int, bytes]


def _sealed(row: StoredKey) -> _Sealed:
    """What decides whether and as what a row opens; its times may change."""
    return row.kid, row.algorithm, row.master_kid, row.sealed


def _named(rows: tuple[StoredKey, ...]) -> list[tuple[StoredKey, _Sealed]]:
    return [(row, _sealed(row)) for row in rows]


def _purpose(kid: str) -> bytes:
    return b"signing-key:" + kid.encode("utf-8", "surrogatepass")
