"""Receipts: access tokens seen in use prove that the answer which carried them arrived (docs/rotation.md)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from gateway import tasks
from gateway.clock import Clock
from gateway.errors import GatewayError
from gateway.events import Event, EventSink, Level, Name
from gateway.sessions.ports import Receipt, SessionStore
from gateway.tokens.claims import AccessClaims

# Together with one write this stays within the promised 100 ms.
FLUSH_AFTER: Final = 0.05
_BATCH: Final = 500
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
_REMEMBERED: Final = 50_000

_ACTIVE: Final = 1
_PASSIVE: Final = 2
_CONFIRMED: Final = 4
_DELIVERY_BITS: Final = 20

_Key = tuple[str, bool]


class _Noted:
    """What was queued for a session since its latest rotation that this process knows of."""

    __slots__ = ("flags", "mark")

    def __init__(self, mark: int) -> None:
        self.mark = mark
        self.flags = 0


class ReceiptQueue:
    """Collects receipts and times of last use, and writes them in batches behind the requests.

    Per rotation a session costs at most one write of each kind (active use, passive use, confirmation). Nothing is
    dropped: what could not be written is kept and tried again.
    """

    def __init__(
        self,
        store: SessionStore,
        clock: Clock,
        events: EventSink,
        *,
        remembered: int = _REMEMBERED,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._clock = clock
        self._events = events
        self._pause = pause
        # Two halves instead of an ordered dict: a hit in the young one, the usual case, moves nothing.
        self._half = max(1, remembered // 2)
        self._young: dict[str, _Noted] = {}
        self._old: dict[str, _Noted] = {}
        self._waiting: dict[_Key, Receipt] = {}
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[object] | None = None

    def note(self, claims: AccessClaims, passive: bool) -> None:
        """A client used this verified token. Never waits, never raises; nothing is allocated when it is old news."""
        number = claims.delivery
        # Orders what a session's tokens can say about time: a race token was issued after the rotation it lost, and
        # counts for the generation before; a later delivery starts the rotation's clock anew.
        if number > 0:
            mark = (claims.generation << 1) << _DELIVERY_BITS | number
        else:
            mark = (claims.generation << 1 | 1) << _DELIVERY_BITS | -number
        noted = self._young.get(claims.session_id)
        if noted is None:
            noted = self._recall(claims.session_id, mark)
        if mark > noted.mark:
            noted.mark = mark
            noted.flags = 0
        flags = noted.flags
        if flags & _CONFIRMED or number <= 0 or mark < noted.mark:
            if flags & (_PASSIVE if passive else _ACTIVE):
                return
            self._queue(claims, noted, passive, confirm=False)
            return
        now = self._clock.now()
        if now >= claims.receipt_at:
            self._queue(claims, noted, passive, confirm=True)
        elif not flags & (_PASSIVE if passive else _ACTIVE):
            self._queue(claims, noted, passive, confirm=False)

    async def flush(self, sid: str) -> None:
        """Write what is queued for `sid`, before it is refreshed. Raises what the store raises; the queue keeps it."""
        keys = (sid, False), (sid, True)
        if keys[0] not in self._waiting and keys[1] not in self._waiting:
            return
        async with self._writing:  # a batch on its way may hold this session's, and be done with them then
            await self._write([key for key in keys if key in self._waiting])

    async def close(self) -> None:
        """Write everything that is queued and stop. Raises what the store raises."""
        await tasks.cancel(self._task)
        self._task = None
        async with self._writing:
            while self._waiting:
                await self._write(list(self._waiting)[:_BATCH])

    def __len__(self) -> int:
        return len(self._waiting)

    def _queue(self, claims: AccessClaims, noted: _Noted, passive: bool, *, confirm: bool) -> None:
        noted.flags |= (_PASSIVE if passive else _ACTIVE) | (_CONFIRMED if confirm else 0)
        receipt = Receipt(claims.session_id, claims.generation, self._clock.now(), confirm, passive)
        key = (receipt.sid, passive)
        self._waiting[key] = _merge(self._waiting.get(key), receipt)
        if self._task is None:
            self._task = tasks.spawn(self._drain(), name="receipts")

    def _recall(self, sid: str, mark: int) -> _Noted:
        noted = self._old.pop(sid, None) or _Noted(mark)
        if len(self._young) >= self._half:
            self._old = self._young
            self._young = {}
        self._young[sid] = noted
        return noted

    async def _drain(self) -> None:
        """Write until nothing waits. Ends then; the next receipt starts it again."""
        failures = 0
        delay = FLUSH_AFTER
        try:
            while self._waiting:
                await self._pause(delay)
                batch = list(self._waiting)[:_BATCH]
                try:
                    async with self._writing:
                        await self._write([key for key in batch if key in self._waiting])
                except Exception as error:  # noqa: BLE001 - a receipt is never dropped, whatever the store says
                    failures += 1
                    self._report(error, failures)
                    delay = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(failures - 1, 8))
                else:
                    failures = 0
                    delay = 0.0 if len(batch) == _BATCH else FLUSH_AFTER
        finally:
            self._task = None

    async def _write(self, keys: list[_Key]) -> None:
        """Write these and forget them once they are committed, unless something newer was queued meanwhile."""
        if not keys:
            return
        batch = [self._waiting[key] for key in keys]
        await self._store.confirm(batch)
        for key, receipt in zip(keys, batch, strict=True):
            if self._waiting[key] is receipt:
                del self._waiting[key]

    def _report(self, error: Exception, failures: int) -> None:
        if failures == 1:
            reason = error.debug if isinstance(error, GatewayError) else None
            fields = {"work": "receipts", "error": reason or f"{type(error).__name__}: {error}"}
            self._events.emit(Event(Name.STORE_FAILED, Level.ERROR, fields=fields))


def _merge(waiting: Receipt | None, new: Receipt) -> Receipt:
    """One receipt for two: of the newer generation, confirming if one of that generation does."""
    if waiting is None:
        return new
    newer = new if new.generation >= waiting.generation else waiting
    confirm = any(receipt.confirm for receipt in (waiting, new) if receipt.generation == newer.generation)
    return Receipt(new.sid, newer.generation, max(waiting.seen_at, new.seen_at), confirm, new.passive)
