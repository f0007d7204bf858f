"""What the calls answer with when they succeed: the user, the tokens, the refresh cookie."""

from __future__ import annotations

from aiohttp import hdrs, web

from gateway.auth_api.services import ApiServices
from gateway.credentials.user import User
from gateway.sessions.service import Issued
from gateway.sessions.session import Channel
from gateway.web.answers import json_response


def user_members(user: User) -> dict[str, object]:
    """A user as the API shows one."""
    return {"id": user.user_id, "username": user.username, "email": user.email, "roles": user.roles}


def issued_response(services: ApiServices, issued: Issued) -> web.Response:
    """The answer to a log-in and to a refresh: tokens go back the way the session was opened."""
    members: dict[str, object] = {
        "access_token": issued.access_token,
        "token_type": "Bearer",
        "expires_in": issued.expires_in,
        "session_id": issued.session.sid,
        "user": user_members(issued.user),
    }
    by_cookie = issued.session.channel is Channel.COOKIE
    if issued.refresh_token is not None and not by_cookie:
        members["refresh_token"] = issued.refresh_token
        members["refresh_expires_in"] = issued.refresh_expires_in
    response = json_response(members)
    if issued.refresh_token is not None and by_cookie:
        cookie = services.cookie.build(issued.refresh_token, issued.refresh_expires_in)
        response.headers.add(hdrs.SET_COOKIE, cookie)
    return response


def clear_cookie(services: ApiServices, response: web.Response) -> web.Response:
    """Have the browser drop the refresh cookie."""
    response.headers.add(hdrs.SET_COOKIE, services.cookie.clear())
    return response
