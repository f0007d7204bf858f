"""What the handlers of the admin API work with: services, never stores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from gateway.credentials.users import UserService
from gateway.events import EventSink
from gateway.sessions.service import SessionService
from gateway.telemetry.history import EventHistory
from gateway.tokens.key_service import KeyService
from gateway.web.context import RequestContexts


@dataclass(frozen=True, slots=True)
class AdminServices:
    """Everything behind the admin API. `token` admits to it, None: there is none. Bodies: bytes, and seconds."""

    token: str | None
    sessions: SessionService
    users: UserService
    keys: KeyService
    history: EventHistory
    contexts: RequestContexts
    events: EventSink
    body_size: int = 16 * 1024
    body_timeout: float = 10.0


Current = Callable[[], AdminServices]
"""The services in force: a reload changes them under the listener."""

SERVICES: Final = web.RequestKey("admin services", AdminServices)
