"""What the log is told of backends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.events import Event, EventSink, Level, Name

if TYPE_CHECKING:
    from gateway.proxy.endpoint import Endpoint


class UpstreamEvents:
    """Outlives every configuration, as the endpoints may that call it."""

    __slots__ = ("_events",)

    def __init__(self, events: EventSink) -> None:
        self._events = events

    def changed(self, endpoint: Endpoint, reason: str | None) -> None:
        """A backend went down, `reason` saying why, or came up again."""
        fields: dict[str, object] = {"route": endpoint.route, "upstream": endpoint.url}
        if reason is None:
            self._events.emit(Event(Name.UPSTREAM_UP, fields=fields))
        else:
            fields["error"] = reason
            self._events.emit(Event(Name.UPSTREAM_DOWN, Level.WARNING, fields=fields))

    def tls_failed(self, problem: str) -> None:
        """Files of `upstream_tls` changed and cannot be used."""
        fields: dict[str, object] = {"trigger": "upstream_tls", "problems": [problem]}
        self._events.emit(Event(Name.CONFIG_RELOAD_FAILED, Level.ERROR, fields=fields))
