"""The process in front of several workers: it holds the listening sockets, starts workers and replaces them. It serves
no request itself.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Final

from gateway import tasks
from gateway.changes import How, compare
from gateway.clock import SystemClock
from gateway.errors import CannotStart
from gateway.events import Event, Level, Name
from gateway.runtime.channel import Message
from gateway.runtime.child import Child, Failure
from gateway.runtime.fleet_metrics import FleetMetrics
from gateway.runtime.listeners import Listeners, allow_many_connections
from gateway.runtime.loglock import LogLock, make_lock
from gateway.runtime.notify import Notifier
from gateway.runtime.reload import Reloader, RolledBack, Source
from gateway.runtime.started import started
from gateway.runtime.turns import Counts, make_counts
from gateway.runtime.workers import worker_count
from gateway.settings.model import Settings
from gateway.settings.problems import ConfigError, Problem
from gateway.telemetry.logging import Telemetry, configure

CANNOT_START, BAD_CONFIG = 3, 78
START_PATIENCE: Final = 60.0
"""Seconds a worker has to get ready."""
STOP_PATIENCE: Final = 20.0
"""Seconds a worker has to drain and end: more than the drain itself takes."""
_LONG_LIFE: Final = 10.0
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 10.0


def supervise(settings: Settings, source: Source) -> None:
    """Serve with several workers until SIGTERM or SIGINT. Raises `CannotStart` or `ConfigError` with one clear line."""
    allow_many_connections()  # workers inherit it
    if asyncio.run(_run(settings, source)):
        sys.exit(1)


async def _run(settings: Settings, source: Source) -> bool:
    lock = LogLock(make_lock())
    with closing(Listeners.bind(settings.server)) as listeners:
        logging = settings.logging
        telemetry = configure(
            SystemClock(),
            format=logging.format.value,
            level=logging.level.value,
            access_log=False,
            exclusive=lock,
        )
        try:
            supervisor = Supervisor(settings, listeners, lock.descriptor, telemetry, Notifier())
            return await supervisor.run(source)
        finally:
            await telemetry.close()


class Supervisor:
    """Keeps as many workers running as the settings ask for."""

    def __init__(
        self, settings: Settings, listeners: Listeners, lock: int, telemetry: Telemetry, notifier: Notifier
    ) -> None:
        self._settings = settings
        self._listeners = listeners
        self._lock = lock
        self._memory = make_counts(worker_count(settings))
        self._counts = Counts(self._memory)
        self._metrics = FleetMetrics()
        self._telemetry = telemetry
        self._events = telemetry.events
        self._notifier = notifier
        self._version = self._rolled = 0
        self._slots: dict[int, Child] = {}
        self._all: set[Child] = set()
        self._starting: set[int] = set()
        self._started = False
        self._stopping = False
        self._stop = asyncio.Event()
        self._signals = 0
        self._fatal: Failure | None = None

    async def run(self, source: Source) -> bool:
        """Serve until the signal; whether requests were cut short by a second one."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        loop.add_signal_handler(signal.SIGHUP, lambda: None)
        stop = tasks.spawn(self._stop.wait(), name="stop")
        alive = tasks.spawn(self._notifier.keep_alive(), name="watchdog")
        jobs = [stop, tasks.spawn(self._look_for_the_hung(), name="hung workers")]
        try:
            start = tasks.spawn(self._start_all(), name="start")
            await asyncio.wait([start, stop], return_when=asyncio.FIRST_COMPLETED)
            await tasks.cancel(start)
            if not start.cancelled():
                start.result()
            if not self._stop.is_set():
                reloader = Reloader(source, self._settings, self._events, self._notifier, self._apply, most=How.ROLL)
                loop.add_signal_handler(signal.SIGHUP, reloader.ask)
                jobs.append(tasks.spawn(reloader.follow(), name="reload"))
                self._notifier.ready()
            await self._stop.wait()
        finally:
            self._stopping = True
            for job in jobs:
                await tasks.cancel(job)
            self._notifier.stopping()
            self._listeners.close()  # what is not in a worker's hands by now is refused, not left waiting
            await self._stop_all()
            await tasks.cancel(alive)
        if self._fatal is not None:
            raise _error(self._fatal)
        self._events.emit(Event(Name.GATEWAY_STOPPED))
        return self._signals > 1

    # -- start and stop

    async def _start_all(self) -> None:
        """The first worker alone: what it makes (database, keys) is there for the others, and what stops it is said
        once."""
        count = worker_count(self._settings)
        for numbers in ([1], range(2, count + 1)):
            failures = await asyncio.gather(*(self._bring_up(number) for number in numbers))
            failed = next((failure for failure in failures if failure is not None), None)
            if failed is not None and not self._stop.is_set():
                self._fatal = failed
                self._stop.set()
            if self._stop.is_set():
                return
        self._started = True
        warnings = dict.fromkeys(warning for child in self._slots.values() for warning in child.warnings)
        self._events.emit(started(self._settings, tuple(warnings), count))

    async def _stop_all(self) -> None:
        for child in self._all:
            child.leave()
        deadline = time.monotonic() + STOP_PATIENCE
        while self._all and time.monotonic() < deadline:
            await asyncio.wait([child.exited for child in self._all], timeout=deadline - time.monotonic())
            await asyncio.sleep(0)
        for child in list(self._all):
            child.kill()
            await child.exited

    def _signalled(self) -> None:
        self._signals += 1
        self._stop.set()
        if self._signals == 2:
            for child in self._all:
                child.hurry()
        elif self._signals > 2:
            for child in self._all:
                child.kill()

    # -- one worker

    async def _bring_up(self, number: int) -> Failure | None:
        """Start a worker and put it in its slot once it is ready; whoever was there leaves then."""
        self._starting.add(number)
        try:
            child = Child(number, self._version, self._heard)
            first = {
                "settings": self._settings.model_dump(mode="json"),
                "descriptors": self._listeners.descriptors,
                "lock": self._lock,
                "counts": self._memory,
                "number": number,
            }
            inherited = [fd for fd in (*self._listeners.descriptors, self._lock, self._memory) if fd is not None]
            try:
                await child.start(first, inherited)
            except OSError as error:
                return Failure(1, f"a worker cannot be started: {error.strerror or error}")
            self._all.add(child)
            child.exited.add_done_callback(lambda _: self._ended(child))
            if self._stopping:
                child.leave()
            failure = await child.up(START_PATIENCE)
            if failure is None and child.version < self._rolled:
                child.leave()  # what changed meanwhile does not change in a running process
                return await self._bring_up(number)
            while failure is None and child.version != self._version:
                failure = await self._catch_up(child)
            if failure is not None:
                return failure
            self._events.emit(Event(Name.WORKER_STARTED, fields={"worker": number, "pid": child.pid}))
            before, self._slots[number] = self._slots.get(number), child
        finally:
            self._starting.discard(number)
        self._tell_fleet()
        if before is not None and not before.exited.done():
            before.leave()
            tasks.spawn(self._kill_later(before), name="leaving worker")
        return None

    async def _catch_up(self, child: Child) -> Failure | None:
        """The configuration changed while it started."""
        version = self._version
        problem = await child.prepare(self._settings.model_dump(mode="json"), START_PATIENCE)
        if problem is None:
            child.version = version
            child.send({"commit": True})
            return None
        child.leave()
        return Failure(1, problem)

    async def _kill_later(self, child: Child) -> None:
        await asyncio.wait([child.exited], timeout=STOP_PATIENCE)
        child.kill()

    def _ended(self, child: Child) -> None:
        self._all.discard(child)
        self._metrics.ended(child)
        code = child.exited.result()
        number = child.number
        expected = child.leaving or self._stopping
        fields = {"worker": number, "pid": child.pid, "exit_code": code, "expected": expected}
        level = Level.INFO if expected and code in (0, -signal.SIGTERM) else Level.ERROR
        if self._started:  # before, it is one line on stderr
            self._events.emit(Event(Name.WORKER_EXITED, level, fields=fields))
        if self._slots.get(number) is child:
            del self._slots[number]
            self._counts.vacant(number)
            self._tell_fleet()
            if not self._stopping and number not in self._starting and number <= worker_count(self._settings):
                lived = time.monotonic() - child.started_at
                tasks.spawn(self._revive(number, 0.0 if lived > _LONG_LIFE else _FIRST_PAUSE), name="replacement")

    async def _revive(self, number: int, pause: float) -> None:
        """Replace a dead worker, ever more slowly while that fails. With nobody left who serves, what stops a start
        stops the gateway.
        """
        self._starting.add(number)
        while number <= worker_count(self._settings):
            await asyncio.sleep(pause)
            if self._stop.is_set():
                break
            failure = await self._bring_up(number)
            if failure is None:
                return
            if failure.code in (CANNOT_START, BAD_CONFIG) and not self._slots:
                self._fatal = failure
                self._stop.set()
                return
            self._starting.add(number)
            pause = min(max(_FIRST_PAUSE, pause * 2), _LONGEST_PAUSE)
        self._starting.discard(number)

    async def _look_for_the_hung(self) -> None:
        before = time.monotonic()
        while True:
            limit = self._settings.server.worker_timeout
            interval = min(1.0, limit / 4)
            await asyncio.sleep(interval)
            now = time.monotonic()
            if now - before > 2 * interval + 1.0:  # it was this process that stood still
                for child in self._all:
                    child.seen_at = now
            before = now
            for child in list(self._all):
                if child.ready and now - child.seen_at > limit:
                    silent = round(now - child.seen_at, 1)
                    fields = {"worker": child.number, "pid": child.pid, "silent_s": silent}
                    self._events.emit(Event(Name.WORKER_HUNG, Level.ERROR, fields=fields))
                    child.ready = False
                    self._counts.vacant(child.number)
                    child.kill()

    # -- what workers say

    def _heard(self, child: Child, message: Message) -> None:
        if "counts" in message:
            self._metrics.told(child, message["counts"])
        if "beat" in message:
            if child.problem != message["beat"]:
                child.problem = message["beat"]
                self._tell_fleet()
        elif "scrape" in message:
            child.send({"counted": self._metrics.without(child, self._telemetry.metrics.snapshot())})
        elif "login" in message:
            for other in self._ready():
                if other is not child:
                    other.send(message)

    def _ready(self) -> Iterator[Child]:
        return (child for child in self._slots.values() if child.ready and not child.leaving)

    def _tell_fleet(self) -> None:
        """All workers answer /readyz for all of them."""
        ready, count = len(list(self._ready())), worker_count(self._settings)
        few = None if 2 * ready >= count else "less than half of them serve"
        fleet: dict[str, str | None] = {f"workers ({ready} of {count})": few}
        fleet |= {f"worker {child.number}": child.problem for child in self._ready() if child.problem is not None}
        for child in self._all:
            child.send({"fleet": fleet})

    # -- reload

    async def _apply(self, settings: Settings, how: How) -> None:
        changes = compare(self._settings, settings)
        rolls = how is How.ROLL and any(
            change.how is How.ROLL and change.path != "server.workers" for change in changes
        )
        try:
            await (self._roll(settings) if rolls else self._swap(settings))
        finally:
            self._resize()
        self._telemetry.change(settings.logging.level.value, access_log=False)

    async def _swap(self, settings: Settings) -> None:
        """Let every worker prepare, and only when all could, change over."""
        document = settings.model_dump(mode="json")
        children = list(self._ready())
        patience = max(self._settings.server.worker_timeout, 5.0)
        problems = await asyncio.gather(*(child.prepare(document, patience) for child in children))
        wrong = [
            problem for child, problem in zip(children, problems, strict=True) if problem is not None and child.ready
        ]
        if wrong:
            for child in children:
                child.send({"discard": True})
            raise RolledBack("; ".join(dict.fromkeys(wrong)))
        self._settings = settings
        self._version += 1
        for child in children:
            child.version = self._version
            child.send({"commit": True})

    async def _roll(self, settings: Settings) -> None:
        """Replace one worker after the other; when a new one does not start, the old configuration comes back."""
        before, self._settings = self._settings, settings
        self._rolled = self._version = self._version + 1
        rolled: list[int] = []
        for number in sorted(self._slots):
            if number > worker_count(settings) or self._stopping:
                continue
            failure = await self._bring_up(number)
            if failure is None:
                rolled.append(number)
                continue
            self._settings = before
            self._rolled = self._version = self._version + 1
            for back in rolled:
                await self._bring_up(back)
            raise RolledBack(failure.message)

    def _resize(self) -> None:
        """As many workers as there should be."""
        count = worker_count(self._settings)
        self._counts.workers(count)
        for number, child in list(self._slots.items()):
            if number > count:
                child.leave()
                tasks.spawn(self._kill_later(child), name="leaving worker")
        for number in range(1, count + 1):
            if number not in self._slots and number not in self._starting and not self._stopping:
                tasks.spawn(self._revive(number, 0.0), name="another worker")


def _error(failure: Failure) -> Exception:
    if failure.code == BAD_CONFIG:
        return ConfigError([Problem("", None, failure.message)])
    return CannotStart(failure.message)
