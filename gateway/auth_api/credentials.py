"""What a request proves itself with: the refresh cookie, the bearer token."""

from __future__ import annotations

from aiohttp import web

from gateway.auth_api.services import SERVICES
from gateway.errors import InvalidRequest, InvalidToken, MissingToken
from gateway.sessions.session import Channel
from gateway.tokens.claims import AccessClaims
from gateway.web.bodies import Body
from gateway.web.context import CONTEXT, values_of
from gateway.web.cookies import read_cookie


def require_bearer(request: web.Request) -> AccessClaims:
    """The claims of the bearer token; raises `MissingToken`, `InvalidToken`, or `InvalidRequest` for two of them."""
    values = values_of(request, b"authorization")
    if values and "access_token" in request.query:
        raise InvalidRequest("The access token is in more than one place.")
    return request.app[SERVICES].bearer.require(values, request[CONTEXT])


def optional_bearer(request: web.Request) -> AccessClaims | None:
    """The claims of the bearer token, None when there is none that is good."""
    try:
        return require_bearer(request)
    except (MissingToken, InvalidToken):
        return None


def refresh_token_of(request: web.Request, body: Body) -> tuple[str, Channel] | None:
    """The refresh token and the way it came; None when there is none. Both ways at once are `InvalidRequest`."""
    services = request.app[SERVICES]
    cookie = read_cookie(values_of(request, b"cookie"), services.cookie.raw_name)
    token = body.optional_text("refresh_token")
    if cookie and token is not None:
        raise InvalidRequest("The refresh token is in the cookie and in the body.")
    if cookie:
        return cookie, Channel.COOKIE
    if token is None:
        return None
    if not services.limits.body_tokens:
        raise InvalidRequest("Refresh tokens are not taken in the body here.")
    return token, Channel.BODY
