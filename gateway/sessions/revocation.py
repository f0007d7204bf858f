"""Keeps the revocation index true to the store's feed, whoever wrote to it."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from gateway import tasks
from gateway.clock import Clock
from gateway.errors import GatewayError
from gateway.events import Event, EventSink, Level, Name
from gateway.sessions.denial import Denial, RevocationIndex
from gateway.sessions.ports import FeedEntry, SessionStore

__all__ = ["STALE_AFTER", "Denial", "RevocationFollower", "RevocationIndex"]

STALE_AFTER: Final = 5.0
"""Seconds without a look at the revocation feed after which `revocation: strict` routes answer 503."""

# A read happens at least this often, changes or not: it is the heartbeat that staleness is measured by.
HEARTBEAT: Final = 1.0
# A burst of revocations is read in one go; this process applied its own before they came back.
_SPACING: Final = 0.02
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
# Commit order and `seq` agree by contract; reading the last minute again now and then costs little.
_LOOK_BACK: Final = 60.0
_LOOK_BACK_EVERY: Final = 10.0
# An entry this near its end may be gone by the store's clock and not yet by ours.
_CLOCK_MARGIN: Final = 10.0


class RevocationFollower:
    """Loads every unexpired entry, then follows the feed. Nothing a store does ends it but `stop`.

    Each read starts at an entry that was read before. When that entry is missing although it has not expired, or is
    another one, the store went back (backup, fail-over): the index starts again from what the feed says now.
    """

    def __init__(
        self,
        store: SessionStore,
        index: RevocationIndex,
        clock: Clock,
        events: EventSink | None = None,
        *,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._index = index
        self._clock = clock
        self._events = events
        self._pause = pause
        # (monotonic time of the read, newest entry of it), from about a minute ago until now.
        self._trail: deque[tuple[float, FeedEntry]] = deque()
        self._looked_back_at = 0.0
        self._read_at = -math.inf
        self._task: asyncio.Task[object] | None = None

    async def start(self) -> None:
        """Load everything, then follow in the background. Raises what the store raises: not ready, not started."""
        await self.load()
        if self._task is None:
            self._task = tasks.spawn(self._follow(), name="revocation feed")

    async def stop(self) -> None:
        """Stop following; what the index knows stays in force."""
        await tasks.cancel(self._task)
        self._task = None

    @property
    def ready(self) -> bool:
        """Whether everything unexpired was loaded once."""
        return self._read_at > -math.inf

    def staleness(self) -> float:
        """Seconds since the feed was last read; infinite before the first time."""
        return self._clock.monotonic() - self._read_at

    async def load(self) -> None:
        """Read every unexpired entry."""
        entries = await self._store.feed(0)
        self._index.apply(entries)
        self._restart(entries)

    async def poll(self) -> None:
        """Read what is new, and notice when the feed is no longer the one that was followed."""
        start = self._start()
        if start is None:
            await self.load()
            return
        entries = await self._store.feed(start.seq - 1)
        if entries and entries[0] == start:
            self._index.apply(entries)
            self._advance(entries[-1])
            return
        if start.expires_at > self._clock.now() + _CLOCK_MARGIN:
            entries = await self._store.feed(0)
            self._index.replace(entries)
            self._restart(entries)
            return
        await self.load()

    async def _follow(self) -> None:
        failures = 0
        while True:
            try:
                await self._store.feed_changed(HEARTBEAT)
                await self.poll()
                self._index.prune(self._clock.now())
            except Exception as error:  # noqa: BLE001 - without this task nothing is revoked any more
                failures += 1
                self._report(error, failures)
                await self._pause(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(failures - 1, 8)))
            else:
                failures = 0
                await self._pause(_SPACING)

    def _start(self) -> FeedEntry | None:
        now = self._clock.monotonic()
        while len(self._trail) > 1 and self._trail[1][0] <= now - _LOOK_BACK:
            self._trail.popleft()
        if not self._trail:
            return None
        if now - self._looked_back_at < _LOOK_BACK_EVERY:
            return self._trail[-1][1]
        self._looked_back_at = now
        return self._trail[0][1]

    def _advance(self, newest: FeedEntry) -> None:
        self._read_at = self._clock.monotonic()
        if not self._trail or self._trail[-1][1] != newest:
            self._trail.append((self._read_at, newest))

    def _restart(self, entries: tuple[FeedEntry, ...]) -> None:
        self._trail.clear()
        self._read_at = self._looked_back_at = self._clock.monotonic()
        if entries:
            self._advance(entries[-1])

    def _report(self, error: Exception, failures: int) -> None:
        # Once per outage: staleness tells how it goes on.
        if self._events is not None and failures == 1:
            reason = error.debug if isinstance(error, GatewayError) else None
            fields = {"work": "revocation feed", "error": reason or f"{type(error).__name__}: {error}"}
            self._events.emit(Event(Name.STORE_FAILED, Level.ERROR, fields=fields))
