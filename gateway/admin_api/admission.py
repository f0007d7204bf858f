"""Who may use the admin API: whoever has the token, and no browser."""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.admin_api.services import SERVICES, Current
from gateway.errors import CrossSiteRequest, InvalidToken, MissingToken, NotFound
from gateway.web.bearer import bearer_token
from gateway.web.context import CONTEXT, values_of

_OFF: Final = "The admin API is off: the setting server.admin_token (or server.admin_token_file) turns it on."
_NO_BROWSERS: Final = "The admin API takes no calls from web pages."
_MISSING: Final = "This call needs the admin token in the Authorization header."
_WRONG: Final = "The admin token is wrong."


def under(current: Current) -> Middleware:
    """Outermost: the whole of a request is served under one configuration."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        services = request[SERVICES] = current()
        request[CONTEXT] = services.contexts.of(request)
        return await handler(request)

    return middleware


@web.middleware
async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Innermost, before anything else of the request is looked at, paths that are not there included."""
    expected = request[SERVICES].token
    if expected is None:
        raise NotFound(_OFF)
    if values_of(request, b"origin"):
        raise CrossSiteRequest(_NO_BROWSERS)
    if not same_token(_presented(request), expected.encode()):
        raise InvalidToken(_WRONG)
    return await handler(request)


def same_token(presented: bytes, expected: bytes) -> bool:
    """Compared in a time that tells nothing, not even the length."""
    return hmac.compare_digest(sha256(presented).digest(), sha256(expected).digest())


def _presented(request: web.Request) -> bytes:
    try:
        token = bearer_token(values_of(request, b"authorization"))
    except InvalidToken:
        raise InvalidToken(_WRONG) from None
    if token is None:
        raise MissingToken(_MISSING)
    return token
