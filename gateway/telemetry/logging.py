"""Sets up what is written to stdout: format, level, the writer thread, and libraries that log by themselves."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from gateway.clock import Clock
from gateway.events import Event, EventSink, Level, Name
from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.activity import Activity
from gateway.telemetry.events import EventLog
from gateway.telemetry.lines import Render, Timestamps, console_renderer, json_line
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.ports import Exclusive
from gateway.telemetry.writer import LineWriter

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_LONGEST_TRACE: Final = 8000


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What writes and counts, of one process."""

    events: EventLog
    access: AccessLog
    metrics: Metrics
    activity: Activity | None
    writer: LineWriter

    def change(self, level: str, *, access_log: bool) -> None:
        """Go on under these settings."""
        least = _LEVELS[level]
        self.events.change(least)
        route_library_logs(self.events, least)
        self.access.change(_lines(self.writer, least, access_log=access_log))

    async def close(self) -> None:
        """Write what waits, to store and stdout, for a few seconds at most."""
        self.access.flush()
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
) -> Telemetry:
    """Open the log of this process on `descriptor` (stdout), and route the standard library's logging into it.

    `format`: json, console, or auto: readable on a terminal, JSON otherwise.
    """
    target = sys.stdout.fileno() if descriptor is None else descriptor
    render = _renderer(format, target)
    writer = LineWriter(target, dropped_line=_dropped(clock, render), exclusive=exclusive)
    least = _LEVELS[level]
    metrics = Metrics()
    events = EventLog(clock, write=writer.write, render=render, least=least, activity=activity, count=metrics.event)
    route_library_logs(events, least)
    access = AccessLog(_lines(writer, least, access_log=access_log), clock, render, metrics.requests)
    return Telemetry(events, access, metrics, activity, writer)


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
