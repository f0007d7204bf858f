"""POST /refresh: the next tokens for a refresh token. The rule is docs/rotation.md; here is its HTTP side."""

from __future__ import annotations

import math

from aiohttp import web

from gateway.auth_api.answers import issued_response
from gateway.auth_api.attempts import throttled_network
from gateway.auth_api.credentials import refresh_token_of
from gateway.auth_api.services import SERVICES, ApiServices
from gateway.errors import InvalidGrant, TooManyAttempts
from gateway.sessions.issued import Issued
from gateway.sessions.session import Channel
from gateway.tokens.errors import ForgedToken, WithdrawnKey
from gateway.web.bodies import read_body
from gateway.web.context import CONTEXT


async def refresh(request: web.Request) -> web.Response:
    """Exchange the refresh token of the cookie or the body. No answer clears the cookie: a late one would delete
    that of the next log-in."""
    services, context = request.app[SERVICES], request[CONTEXT]
    body = await read_body(request, services.limits, optional=True)
    presented = refresh_token_of(request, body)
    if presented is None:
        raise InvalidGrant("There is no refresh token in the request.")
    token, channel = presented
    try:
        issued = await services.sessions.refresh(token, channel, context)
    except WithdrawnKey:
        raise
    except ForgedToken:
        await _count_forgery(services, throttled_network(context))
        raise
    if _is_late(services, issued):
        issued = services.sessions.too_late(issued)
    return issued_response(services, issued)


def _is_late(services: ApiServices, issued: Issued) -> bool:
    """Whether a cookie sent now could overwrite a newer one: it would leave later than W/2 after the rotation.

    Without a window (W = 0) nothing newer can be out. A client that keeps its token in the body keeps the newest.
    """
    if issued.session.channel is Channel.BODY or issued.refresh_token is None:
        return False
    window = services.limits.in_flight_window
    return window > 0 and services.clock.now() - issued.rotated_at > window / 2


async def _count_forgery(services: ApiServices, network: str) -> None:
    """Guessing is hopeless, but it must not fill the log either. A good MAC never gets here."""
    delay = await services.refresh_throttle.check(network)
    await services.refresh_throttle.forged(network)
    if delay > 0:
        raise TooManyAttempts(retry_after=math.ceil(delay)) from None
