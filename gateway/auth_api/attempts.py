"""A guess at a password: asked of the throttle first, told to it after, and never without an event."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from gateway.auth_api.services import ApiServices
from gateway.credentials.authenticator import LoginRefused
from gateway.credentials.names import attempt_key
from gateway.errors import InvalidCredentials, TooManyAttempts
from gateway.events import Event, Level, Name
from gateway.risk.facts import RequestContext
from gateway.risk.network import network_prefix

T = TypeVar("T")
_REVOKED: Final = "revoked"


def throttled_network(context: RequestContext) -> str:
    """What counts as one place to guess from: an address, or the /64 that every IPv6 host has to itself."""
    return network_prefix(context.facts.address, 32, 64)


async def guess(services: ApiServices, context: RequestContext, username: str, check: Callable[[], Awaitable[T]]) -> T:
    """Run `check`, a proof by password for `username`, unless there were too many failures."""
    key, network = attempt_key(username), throttled_network(context)
    delay = await services.throttle.check(key, network)
    if delay > 0:
        services.events.emit(login_event(Name.LOGIN_THROTTLED, context, {"retry_after_s": math.ceil(delay)}))
        raise TooManyAttempts(retry_after=math.ceil(delay))
    try:
        proved = await check()
    except InvalidCredentials as error:
        await services.throttle.failed(key, network)
        report_failure(services, context, error)
        raise
    except BaseException:
        await services.throttle.abandoned(key, network)
        raise
    await services.throttle.succeeded(key, network)
    return proved


def report_failure(services: ApiServices, context: RequestContext, error: InvalidCredentials) -> None:
    """Say in the log what the answer must not say. Never the name that was typed: it may be a password."""
    refused = error if isinstance(error, LoginRefused) else None
    reason = str(refused.reason) if refused is not None else _REVOKED
    user_id = refused.user_id if refused is not None else None
    services.events.emit(login_event(Name.LOGIN_FAILED, context, {"reason": reason}, user_id))


def login_event(name: Name, context: RequestContext, fields: dict[str, object], user_id: str | None = None) -> Event:
    """An event about an attempt to log in."""
    return Event(
        name,
        Level.WARNING,
        request_id=context.request_id,
        user_id=user_id,
        address=context.facts.address,
        user_agent=context.facts.user_agent,
        fields=fields,
    )
