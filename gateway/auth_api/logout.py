"""POST /logout, /logout-all and /revoke: the ways a user or a client ends sessions."""

from __future__ import annotations

from aiohttp import web

from gateway.auth_api.answers import clear_cookie
from gateway.auth_api.credentials import optional_bearer, refresh_token_of, require_bearer
from gateway.auth_api.services import SERVICES
from gateway.errors import InvalidToken
from gateway.risk.facts import RequestContext
from gateway.sessions.session import RevokeReason
from gateway.tokens.claims import AccessClaims
from gateway.tokens.refresh_token import PREFIX
from gateway.web.answers import json_response, no_content
from gateway.web.bearer import BearerAuthenticator
from gateway.web.bodies import read_body
from gateway.web.context import CONTEXT


async def logout(request: web.Request) -> web.Response:
    """End the session of the cookie, the body token or the bearer token. Idempotent; the cookie always goes."""
    services, context = request.app[SERVICES], request[CONTEXT]
    body = await read_body(request, services.limits, optional=True)
    token, channel = refresh_token_of(request, body) or (None, None)
    access = optional_bearer(request)
    await services.sessions.logout(refresh_token=token, channel=channel, access=access, ctx=context)
    return clear_cookie(services, no_content())


async def logout_all(request: web.Request) -> web.Response:
    """End every session of the user, this one included."""
    services, context = request.app[SERVICES], request[CONTEXT]
    claims = require_bearer(request)
    revoked = await services.sessions.end_user(claims.subject, RevokeReason.LOGOUT_ALL, context)
    return clear_cookie(services, json_response({"revoked": revoked}))


async def revoke(request: web.Request) -> web.Response:
    """RFC 7009: end the session of a token, whichever kind it is. 200 whatever it was; the hint is not needed."""
    services, context = request.app[SERVICES], request[CONTEXT]
    body = await read_body(request, services.limits, form=True)
    token = body.text("token")
    if token.startswith(PREFIX):
        await services.sessions.logout(refresh_token=token, channel=None, access=None, ctx=context)
    elif (access := _access_claims(services.bearer, token, context)) is not None:
        await services.sessions.logout(refresh_token=None, channel=None, access=access, ctx=context)
    return json_response({})


def _access_claims(bearer: BearerAuthenticator, token: str, context: RequestContext) -> AccessClaims | None:
    try:
        return bearer.verify(token.encode(), context)
    except InvalidToken:
        return None
