"""GET /me and POST /password: what a logged-in user can see and change of the account."""

from __future__ import annotations

from aiohttp import web

from gateway.auth_api.attempts import guess
from gateway.auth_api.credentials import require_bearer
from gateway.auth_api.services import SERVICES
from gateway.events import Event, Name
from gateway.web.answers import json_response, no_content
from gateway.web.bodies import read_body
from gateway.web.context import CONTEXT


async def me(request: web.Request) -> web.Response:
    """The user as the token's claims have it: as backends see them, and without a read."""
    claims = require_bearer(request)
    return json_response(
        {"id": claims.subject, "username": claims.username, "email": claims.email, "roles": claims.roles}
    )


async def change_password(request: web.Request) -> web.Response:
    """Change the password and end the user's other sessions. A stolen access token is no way to guess it."""
    services, context = request.app[SERVICES], request[CONTEXT]
    claims = require_bearer(request)
    body = await read_body(request, services.limits)
    current, new = body.text("current_password"), body.text("new_password")
    ended = await guess(
        services,
        context,
        claims.username,
        lambda: services.users.change_password(
            services.authenticator, claims.subject, current, new, keep=claims.session_id
        ),
    )
    services.events.emit(
        Event(
            Name.PASSWORD_CHANGED,
            request_id=context.request_id,
            user_id=claims.subject,
            session_id=claims.session_id,
            address=context.facts.address,
            user_agent=context.facts.user_agent,
        )
    )
    services.sessions.announce(ended, context)
    return no_content()
