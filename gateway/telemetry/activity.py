"""Security events on their way into the store: a bounded queue, written in batches by one task."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from gateway import tasks
from gateway.clock import Clock
from gateway.errors import GatewayError
from gateway.events import Event, Level, Name
from gateway.telemetry.ports import EventStore, StoredEvent

FLUSH_AFTER: Final = 0.2
BATCH: Final = 100
_CAPACITY: Final = 10_000
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0
_TRIM_EVERY: Final = 1000


class Activity:
    """Never waits and never grows without bound: when the store does not keep up, the oldest rows go, and are counted.

    `keep` is how many rows the store holds at most, about. `report` is told what went wrong here, as events.
    """

    def __init__(
        self,
        store: EventStore,
        clock: Clock,
        *,
        keep: int,
        capacity: int = _CAPACITY,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._clock = clock
        self._keep = keep
        self._pause = pause
        self._rows: deque[StoredEvent] = deque(maxlen=capacity)
        self._task: asyncio.Task[object] | None = None
        self._filled = asyncio.Event()
        self._writing = asyncio.Lock()
        self._since_trim = _TRIM_EVERY
        self._missing = 0
        self._failing = False
        self.report: Callable[[Event], None] = lambda _: None
        self.dropped = 0
        """Rows lost since the start."""

    def add(self, row: StoredEvent) -> None:
        """Queue a row; it is in the store within about 200 ms."""
        if self._keep == 0:
            return
        if len(self._rows) == self._rows.maxlen:
            self.dropped += 1
            self._missing += 1
        self._rows.append(row)
        if len(self._rows) >= BATCH:
            self._filled.set()
        if self._task is None:
            self._task = tasks.spawn(self._drain(), name="security events")

    async def flush(self) -> None:
        """Write what waits, now. Raises what the store raises."""
        while self._rows:
            await self._write()

    async def close(self, patience: float = 2.0) -> None:
        """Write what waits, for at most `patience` seconds, and stop."""
        try:
            async with asyncio.timeout(patience):
                await self.flush()
        except (GatewayError, TimeoutError) as error:
            self._failed(error)
            self.dropped += len(self._rows)
            self._missing += len(self._rows)
            self._rows.clear()
        self._report_missing()
        await tasks.cancel(self._task)
        self._task = None

    async def _drain(self) -> None:
        """Write until nothing waits. Ends then; the next row starts it again."""
        delay = _FIRST_PAUSE
        try:
            while self._rows:
                if self._failing:
                    await self._pause(delay)
                    delay = min(delay * 2, _LONGEST_PAUSE)
                else:
                    delay = _FIRST_PAUSE
                    await self._gather()
                try:
                    await self._write()
                except GatewayError as error:
                    self._failed(error)
        finally:
            self._task = None

    async def _gather(self) -> None:
        self._filled.clear()
        if len(self._rows) >= BATCH:
            return
        try:
            async with asyncio.timeout(FLUSH_AFTER):
                await self._filled.wait()
        except TimeoutError:
            return

    async def _write(self) -> None:
        """Write one batch; rows leave the queue only once they are committed."""
        async with self._writing:
            batch = [self._rows[index] for index in range(min(BATCH, len(self._rows)))]
            if not batch:
                return
            await self._store.append_events(batch)
            self._failing = False
            written = {id(row) for row in batch}
            while self._rows and id(self._rows[0]) in written:
                self._rows.popleft()
            self._since_trim += len(batch)
            if self._since_trim >= _TRIM_EVERY:
                self._since_trim = 0
                await self._store.trim_events(keep=self._keep)
        self._report_missing()

    def _report_missing(self) -> None:
        if self._missing:
            missing, self._missing = self._missing, 0
            self.report(Event(Name.EVENTS_DROPPED, Level.WARNING, fields={"count": missing}))

    def _failed(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            debug = error.debug if isinstance(error, GatewayError) else None
            fields = {"work": "events", "error": debug or f"{type(error).__name__}: {error}"}
            self.report(Event(Name.STORE_FAILED, Level.ERROR, fields=fields))
