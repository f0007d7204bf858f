"""Events become log lines, and security events rows in the store as well."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from gateway.clock import Clock
from gateway.events import Event, Level, Name
from gateway.telemetry.activity import Activity
from gateway.telemetry.lines import Render, Timestamps, json_line
from gateway.telemetry.ports import StoredEvent
from gateway.telemetry.redact import scrub
from gateway.telemetry.trace_context import Trace

SECURITY: Final = frozenset(
    {
        Name.LOGIN_SUCCEEDED,
        Name.LOGIN_FAILED,
        Name.LOGIN_THROTTLED,
        Name.SESSION_REFRESHED,
        Name.SESSION_REFRESH_REUSED,
        Name.SESSION_REFRESH_REJECTED,
        Name.SESSION_SUSPICIOUS,
        Name.SESSION_REVOKED,
        Name.PASSWORD_CHANGED,
        Name.KEYS_ROTATED,
    }
)
_ROUTINE_OUTCOMES: Final = frozenset({"rotated", "race"})
_SEVERITY: Final = {Level.INFO: 20, Level.WARNING: 30, Level.ERROR: 40}
_LONGEST_AGENT: Final = 512
_scrubbed = lru_cache(maxsize=4096)(scrub)  # the same few user agents and words, over and over


class EventLog:
    """The `EventSink` of a running gateway. Never waits, never raises.

    `write` takes rendered lines (None: no log, as for commands); `least` is the least severity that is written. Rows go
    to `activity` whatever that is, and `count` sees everything. Routine refreshes are logged but not stored: they would
    push out what matters. `traces` are the sampled requests under way, by request id.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        write: Callable[[bytes], None] | None = None,
        render: Render = json_line,
        least: int = 20,
        activity: Activity | None = None,
        count: Callable[[Event], None] | None = None,
        traces: Mapping[str, Trace] | None = None,
    ) -> None:
        self._count = count
        self._clock = clock
        self._traces = traces
        self._write = write
        self._render = render
        self._least = least
        self._activity = activity
        self._timestamps = Timestamps()
        if activity is not None:
            activity.report = self.emit

    def change(self, least: int) -> None:
        """Write this severity and above from now on."""
        self._least = least

    def emit(self, event: Event) -> None:
        """Count it, write the line, queue the row."""
        if self._count is not None:
            self._count(event)
        stored = self._activity is not None and is_stored(event)
        written = self._write is not None and _SEVERITY[event.level] >= self._least
        if not stored and not written:
            return
        at = self._clock.now()
        document = self._document(event, at)
        if self._write is not None and written:
            self._write(self._render(document))
        if self._activity is not None and stored:
            name, level = event.name.value, event.level.value
            line = json_line(document).rstrip(b"\n")
            self._activity.add(StoredEvent(0, at, name, level, event.user_id, event.session_id, line))

    def _document(self, event: Event, at: float) -> dict[str, Any]:
        document: dict[str, Any] = {
            "timestamp": self._timestamps.text(at),
            "level": event.level.value,
            "event": event.name.value,
        }
        who = {
            "request_id": event.request_id,
            "user_id": event.user_id,
            "session_id": event.session_id,
            "client.address": event.address,
            "user_agent.original": _scrubbed(event.user_agent[:_LONGEST_AGENT]) if event.user_agent else None,
        }
        document |= {key: value for key, value in who.items() if value is not None}
        if self._traces and event.request_id and (trace := self._traces.get(event.request_id)) is not None:
            document |= {"trace_id": trace.trace_id, "span_id": trace.span_id}
        for key, value in event.fields.items():
            document.setdefault(
                key,
                (_scrubbed(value) if len(value) <= _LONGEST_AGENT else scrub(value))
                if isinstance(value, str)
                else value,
            )
        return document


def is_stored(event: Event) -> bool:
    """Whether an event belongs into the store's table of security events."""
    if event.name not in SECURITY:
        return False
    return event.name is not Name.SESSION_REFRESHED or event.fields.get("outcome") not in _ROUTINE_OUTCOMES
