"""Sets up what is written to stdout: format, level, the writer thread, and libraries that log by themselves."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.clock import Clock
from gateway.errors import CannotStart
from gateway.events import Event, EventSink, Level, Name
from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.activity import Activity
from gateway.telemetry.events import EventLog
from gateway.telemetry.lines import Render, Timestamps, console_renderer, json_line
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.ports import Exclusive, SpanPolicy
from gateway.telemetry.trace_context import CURRENT, Sampler, StoreCall
from gateway.telemetry.writer import LineWriter

if TYPE_CHECKING:
    from gateway.telemetry.tracing import Spans

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_LONGEST_TRACE: Final = 8000
_LAST_SPANS: Final = 2.0
"""Seconds that spans have to leave when the process does."""
_MOST_CALLS: Final = 32


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What writes and counts, of one process."""

    events: EventLog
    access: AccessLog
    metrics: Metrics
    activity: Activity | None
    writer: LineWriter
    clock: Clock
    sampler: Sampler | None = None
    spans: Spans | None = None

    def change(self, level: str, *, access_log: bool) -> None:
        """Go on under these settings."""
        least = _LEVELS[level]
        self.events.change(least)
        route_library_logs(self.events, least)
        self.access.change(_lines(self.writer, least, access_log=access_log))

    def store_call(self, operation: str, seconds: float, *, failed: bool) -> None:
        """A call to the store has ended: it counts, and belongs to the request it was made for if that is traced."""
        self.metrics.store_call(operation, seconds, failed=failed)
        if self.spans is not None:
            trace = CURRENT.get()
            if trace is not None and len(trace.calls) < _MOST_CALLS:
                now = self.clock.now()
                trace.calls.append(StoreCall(operation, now - seconds, now, failed))

    async def close(self) -> None:
        """Write what waits, to store and stdout, for a few seconds at most."""
        self.access.flush()
        if self.spans is not None:
            await asyncio.to_thread(self.spans.close, _LAST_SPANS)
        if self.activity is not None:
            await self.activity.close()
        self.writer.close()


def configure(
    clock: Clock,
    *,
    format: str = "auto",  # noqa: A002 - the name of the setting
    level: str = "info",
    access_log: bool = True,
    activity: Activity | None = None,
    descriptor: int | None = None,
    exclusive: Exclusive | None = None,
    tracing: SpanPolicy | None = None,
) -> Telemetry:
    """Open the log of this process on `descriptor` (stdout), and route the standard library's logging into it.

    `format`: json, console, or auto: readable on a terminal, JSON otherwise. `tracing`: make spans; raises
    `CannotStart` when what that needs is not installed.
    """
    target = sys.stdout.fileno() if descriptor is None else descriptor
    render = _renderer(format, target)
    writer = LineWriter(target, dropped_line=_dropped(clock, render), exclusive=exclusive)
    least = _LEVELS[level]
    metrics = Metrics()
    sampler = Sampler(tracing.sample_ratio) if tracing is not None else None
    traces = sampler.active if sampler is not None else None
    events = EventLog(
        clock, write=writer.write, render=render, least=least, activity=activity, count=metrics.event, traces=traces
    )
    spans = _spans(tracing, events) if tracing is not None else None
    route_library_logs(events, least)
    access = AccessLog(_lines(writer, least, access_log=access_log), clock, render, _observers(metrics, sampler, spans))
    return Telemetry(events, access, metrics, activity, writer, clock, sampler, spans)


def _spans(policy: SpanPolicy, events: EventSink) -> Spans:
    try:
        from gateway.telemetry.tracing import Spans
    except ModuleNotFoundError as error:
        raise CannotStart(
            "tracing needs a package that is not installed: pip install 'auth-gateway[tracing]'"
        ) from error
    loop = asyncio.get_running_loop()

    def failed(count: int, reason: str) -> None:
        fields = {"count": count, "error": reason}
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(events.emit, Event(Name.TRACING_FAILED, Level.WARNING, fields=fields))

    return Spans(policy, failed)


def _observers(metrics: Metrics, sampler: Sampler | None, spans: Spans | None) -> Callable[[list[Any]], None]:
    """What is done with the requests that the access log has written."""
    if sampler is None or spans is None:
        return metrics.requests

    def observe(entries: list[Any]) -> None:
        metrics.requests(entries)
        spans.requests(entries)
        for entry in entries:
            if entry[14] is not None:
                sampler.forget(entry[9])

    return observe


def _lines(writer: LineWriter, least: int, *, access_log: bool) -> Callable[[bytes], None] | None:
    """Where lines of the access log go; None: nowhere."""
    return writer.write if access_log and least <= _LEVELS["info"] else None


def route_library_logs(events: EventSink, least: int = 30) -> None:
    """Make what libraries log `log.library` events: warnings and errors only, unless the level is debug."""
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _LibraryHandler)]:
        root.removeHandler(handler)
    floor = logging.DEBUG if least <= logging.DEBUG else max(least, logging.WARNING)
    root.addHandler(_LibraryHandler(events, floor))
    root.setLevel(floor)
    logging.captureWarnings(capture=True)


class _LibraryHandler(logging.Handler):
    def __init__(self, events: EventSink, level: int) -> None:
        super().__init__(level)
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields: dict[str, Any] = {"logger": record.name, "message": record.getMessage()}
        except (TypeError, ValueError):
            fields = {"logger": record.name, "message": str(record.msg)}
        if record.exc_info and record.exc_info[1] is not None:
            trace = "".join(traceback.format_exception(record.exc_info[1]))
            fields["exception.stacktrace"] = trace[-_LONGEST_TRACE:]
        level = Level.INFO
        if record.levelno >= logging.WARNING:
            level = Level.ERROR if record.levelno >= logging.ERROR else Level.WARNING
        self._events.emit(Event(Name.LOG_LIBRARY, level, fields=fields))


def _renderer(format_: str, descriptor: int) -> Render:
    terminal = os.isatty(descriptor)
    if format_ == "json" or (format_ == "auto" and not terminal):
        return json_line
    return console_renderer(colors=terminal and "NO_COLOR" not in os.environ)


def _dropped(clock: Clock, render: Render) -> Any:
    timestamps = Timestamps()

    def line(count: int) -> bytes:
        return render(
            {
                "timestamp": timestamps.text(clock.now()),
                "level": Level.WARNING.value,
                "event": Name.LOG_DROPPED.value,
                "count": count,
            }
        )

    return line
