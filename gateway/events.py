"""Events: what happened, named once. Telemetry writes them; the domain only emits them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Level(StrEnum):
    """Severity of an event, as in the log line."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Name(StrEnum):
    """Every event name there is. The catalogue with fields is docs/events.md."""

    LOGIN_SUCCEEDED = "login.succeeded"
    LOGIN_FAILED = "login.failed"
    LOGIN_THROTTLED = "login.throttled"
    SESSION_REFRESHED = "session.refreshed"
    SESSION_REFRESH_REUSED = "session.refresh_reused"
    SESSION_REFRESH_REJECTED = "session.refresh_rejected"
    SESSION_SUSPICIOUS = "session.suspicious"
    SESSION_REVOKED = "session.revoked"
    PASSWORD_CHANGED = "password.changed"
    PROXY_REQUEST = "proxy.request"
    CONFIG_RELOADED = "config.reloaded"
    CONFIG_RELOAD_FAILED = "config.reload_failed"
    WORKER_STARTED = "worker.started"
    WORKER_EXITED = "worker.exited"
    WORKER_HUNG = "worker.hung"
    KEYS_ROTATED = "keys.rotated"
    UPSTREAM_DOWN = "upstream.down"
    UPSTREAM_UP = "upstream.up"
    GATEWAY_STARTED = "gateway.started"
    GATEWAY_STOPPED = "gateway.stopped"
    CONNECTIONS_LIMITED = "connections.limited"
    TLS_RELOADED = "tls.reloaded"
    TLS_RELOAD_FAILED = "tls.reload_failed"
    STORE_FAILED = "store.failed"
    THROTTLE_LOCAL = "throttle.local"
    THROTTLE_SHARED = "throttle.shared"
    REQUEST_FAILED = "request.failed"
    CANARY_LATE = "canary.came_late"
    CANARY_MISSED = "canary.missed"
    EVENTS_DROPPED = "events.dropped"
    LOG_DROPPED = "log.dropped"
    TRACING_FAILED = "tracing.failed"
    LOG_LIBRARY = "log.library"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. Never carries a token, cookie, password or query string.

    `fields` use OpenTelemetry names where one exists (`client.address`, `user_agent.original`).
    """

    name: Name
    level: Level = Level.INFO
    request_id: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    address: str | None = None
    user_agent: str | None = None
    fields: Mapping[str, object] = field(default_factory=dict)


class EventSink(Protocol):
    """Takes events without waiting: bounded, never raises, never blocks the caller."""

    def emit(self, event: Event) -> None:
        """Record `event`."""
        ...
