"""POST /login: from a user name and a password to a session."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.auth_api.answers import issued_response
from gateway.auth_api.attempts import guess, report_failure
from gateway.auth_api.services import SERVICES, ApiServices
from gateway.errors import InvalidCredentials, InvalidRequest
from gateway.sessions.session import Channel
from gateway.web.bodies import Body, read_body
from gateway.web.context import CONTEXT

BY_PASSWORD: Final = ("pwd",)  # RFC 8176


async def login(request: web.Request) -> web.Response:
    """Log in. What is wrong with name or password is never said."""
    services, context = request.app[SERVICES], request[CONTEXT]
    body = await read_body(request, services.limits, form=True)
    username, password = body.text("username"), body.text("password")
    channel = _channel(services, body)
    user = await guess(services, context, username, lambda: services.authenticator.authenticate(username, password))
    try:
        issued = await services.sessions.start(user, channel, context, BY_PASSWORD)
    except InvalidCredentials as error:
        report_failure(services, context, error)
        raise
    return issued_response(services, issued)


def _channel(services: ApiServices, body: Body) -> Channel:
    """How the refresh token is to travel."""
    wanted = body.optional_text("token_delivery")
    if wanted is None or wanted == Channel.COOKIE:
        return Channel.COOKIE
    if wanted != Channel.BODY:
        raise InvalidRequest("The member 'token_delivery' must be 'cookie' or 'body'.")
    if not services.limits.body_tokens:
        raise InvalidRequest("Refresh tokens are not given in the body here.")
    return Channel.BODY
