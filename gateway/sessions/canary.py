"""The canary: a revocation of a session that never was, sent now and then to see how soon one is in force.

It is written in the same transaction and reaches every process by the same feed as any other. A process that sees it
denied asks the store for the time: revoke → refused, by one clock. The figure is too large by one way to the store and
by the commit itself, never too small. The process that sent it learns of it from the feed as well, although what it
ends for a user is in force there at once.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final

from gateway import tasks
from gateway.clock import Clock
from gateway.errors import GatewayError
from gateway.events import Event, EventSink, Level, Name
from gateway.sessions.denial import Denial, RevocationIndex
from gateway.sessions.ports import SessionStore
from gateway.tokens.claims import AccessClaims

LATE: Final = 1.0
"""Seconds from revoke to refused that are worth an event."""
GRACE: Final = 5.0
"""Seconds past the interval after which a canary is missed."""
_PREFIX: Final = "canary:"
# Longer than the follower looks back, and than the next canary takes: an entry it starts from must not have expired, or
# it would read the whole feed.
_LIFE: Final = 120.0
_FIRST_PAUSE: Final = 1.0
_REMEMBERED: Final = 4096


def canary_key(name: str, now: float) -> str:
    """The session id of a canary sent at `now` by the store's clock. No session has such an id: theirs are UUIDs."""
    return f"{_PREFIX}{name}:{round(now * 1e6)}"


def sent_at(key: str) -> float | None:
    """When the canary of this id was sent; None for any other session."""
    return int(key.rpartition(":")[2]) / 1e6 if key.startswith(_PREFIX) else None


class Canary:
    """Sends canaries, in one process of a node, and measures those of all nodes, in every process.

    `observe` is told the seconds from revoke to refused. `interval` in seconds; 0: nothing is sent or missed.
    """

    def __init__(
        self,
        store: SessionStore,
        index: RevocationIndex,
        clock: Clock,
        events: EventSink,
        observe: Callable[[float], None],
        *,
        interval: float,
        sends: bool,
    ) -> None:
        self._store = store
        self._index = index
        self._clock = clock
        self._events = events
        self._observe = observe
        self._interval = interval
        self._sends = sends
        self._name = os.urandom(4).hex()
        self._sent = 0
        # (monotonic time, sent at), of those that were seen and not measured yet.
        self._seen: list[tuple[float, float]] = []
        # An entry may be told again, when the index forgot it by our clock and the store still has it by its own.
        self._known: dict[str, None] = {}
        self._seen_at = clock.monotonic()
        self._missed = False
        self._came = asyncio.Event()
        self._changed = asyncio.Event()
        self._unsubscribe: Callable[[], None] = lambda: None
        self._tasks: list[asyncio.Task[object]] = []

    def start(self) -> None:
        """Begin, once everything that was in the feed before is in the index: that is not measured."""
        self._seen_at = self._clock.monotonic()
        self._unsubscribe = self._index.subscribe(self._denied)
        self._tasks.append(tasks.spawn(self._watch(), name="canary watch"))
        if self._sends:
            self._tasks.append(tasks.spawn(self._send_always(), name="canary"))

    async def stop(self) -> None:
        """End."""
        self._unsubscribe()
        for task in self._tasks:
            await tasks.cancel(task)
        self._tasks.clear()

    def change(self, interval: float) -> None:
        """Send this often from now on."""
        if interval == self._interval:
            return
        self._interval = interval
        self._seen_at, self._missed = self._clock.monotonic(), False
        self._changed.set()
        self._came.set()

    def age(self) -> float | None:
        """Seconds since a canary was last seen here, or since the start when none was; None when none is sent."""
        return self._clock.monotonic() - self._seen_at if self._interval > 0 else None

    async def send(self) -> None:
        """Send one. Raises what the store raises."""
        self._sent += 1
        await self._store.canary(f"{self._name}.{self._sent}", life=_LIFE + 2 * self._interval)

    async def measure(self) -> None:
        """Find out how long those took that were seen since the last time. Raises what the store raises."""
        seen, self._seen = self._seen, []
        if not seen:
            return
        asked = self._clock.monotonic()
        now = await self._store.now()
        for at, sent in seen:
            latency = max(0.0, now - (asked - at) - sent)
            self._observe(latency)
            if latency > LATE:
                self._events.emit(Event(Name.CANARY_LATE, Level.WARNING, fields={"latency_s": round(latency, 3)}))

    def miss(self) -> None:
        """Tell, once, when one should have been seen by now."""
        silent = self.age()
        if silent is not None and not self._missed and silent > self._interval + GRACE:
            self._missed = True
            fields = {"silent_s": round(silent, 1), "interval_s": self._interval}
            self._events.emit(Event(Name.CANARY_MISSED, Level.ERROR, fields=fields))

    def _denied(self, sid: str | None, _: str | None) -> None:
        sent = sent_at(sid) if sid is not None else None
        if sid is None or sent is None or sid in self._known:
            return
        if self._index.denial(_claims(sid)) is not Denial.SESSION:
            return  # not refused, so not in force: it will be missed
        if len(self._known) >= _REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[sid] = None
        self._seen_at, self._missed = self._clock.monotonic(), False
        self._seen.append((self._seen_at, sent))
        self._came.set()

    async def _watch(self) -> None:
        failing = False
        while True:
            age = self.age()
            due = self._interval + GRACE - age if age is not None and not self._missed else None
            try:
                async with asyncio.timeout(max(due, 0.1) if due is not None else None):
                    await self._came.wait()
            except TimeoutError:
                self.miss()
                continue
            self._came.clear()
            try:
                await self.measure()
                failing = False
            except Exception as error:  # noqa: BLE001 - those were seen, and the next ones are to be measured
                if not failing:
                    self._report(error)
                failing = True

    async def _send_always(self) -> None:
        failing = False
        while True:
            self._changed.clear()
            pause = self._interval
            if self._interval > 0:
                try:
                    await self.send()
                    failing = False
                except Exception as error:  # noqa: BLE001 - this must outlive any failure of the store
                    if not failing:
                        self._report(error)
                    failing, pause = True, min(_FIRST_PAUSE, self._interval)
            try:
                async with asyncio.timeout(pause or None):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _report(self, error: Exception) -> None:
        reason = error.debug if isinstance(error, GatewayError) else None
        fields = {"work": "canary", "error": reason or f"{type(error).__name__}: {error}"}
        self._events.emit(Event(Name.STORE_FAILED, Level.ERROR, fields=fields))


def _claims(sid: str) -> AccessClaims:
    """What a token of the canary's session would say, if there were one."""
    return AccessClaims("", sid, 1, 1, 0, 0, 0, 0, 0, (), "", None, (), "")
