"""What the handlers work with: services, never stores, and the numbers an operator sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from gateway.clock import Clock
from gateway.credentials.authenticator import Authenticator
from gateway.credentials.users import UserService
from gateway.events import EventSink
from gateway.sessions.service import SessionService
from gateway.throttle.ports import LoginLimiter, RefreshLimiter
from gateway.web.bearer import BearerAuthenticator
from gateway.web.context import RequestContexts
from gateway.web.cookies import CookiePolicy
from gateway.web.csrf import CrossSitePolicy
from gateway.web.tracing import ApiTracing


@dataclass(frozen=True, slots=True)
class ApiLimits:
    """Bounds and switches. `body_size` in bytes, times in seconds; `in_flight_window` is W of docs/rotation.md.

    `body_tokens`: whether clients without cookies may have and send the refresh token in the body.
    """

    body_size: int = 16 * 1024
    body_timeout: float = 10.0
    body_tokens: bool = True
    in_flight_window: float = 20.0


@dataclass(frozen=True, slots=True)
class ApiServices:
    """Everything `build_api` needs. `jwks` gives the current public keys as a JSON document.

    `prefix` is the path the API lives under, `public_url` the gateway as clients see it.
    """

    sessions: SessionService
    users: UserService
    authenticator: Authenticator
    throttle: LoginLimiter
    refresh_throttle: RefreshLimiter
    bearer: BearerAuthenticator
    jwks: Callable[[], bytes]
    contexts: RequestContexts
    origins: CrossSitePolicy
    cookie: CookiePolicy
    clock: Clock
    events: EventSink
    tracing: ApiTracing | None = None
    limits: ApiLimits = ApiLimits()
    prefix: str = "/auth"
    public_url: str = "http://127.0.0.1:8080"


SERVICES: Final = web.AppKey("services", ApiServices)
