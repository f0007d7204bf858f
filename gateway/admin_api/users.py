"""/admin/users: who can log in."""

from __future__ import annotations

from aiohttp import web

from gateway.admin_api.queries import path_id, read_query
from gateway.admin_api.services import SERVICES
from gateway.credentials.user import User
from gateway.errors import InvalidRequest
from gateway.events import Event, Name
from gateway.sessions.session import RevokeReason
from gateway.web.answers import json_response, no_content, timestamp
from gateway.web.bodies import read_body
from gateway.web.context import CONTEXT


async def list_users(request: web.Request) -> web.Response:
    """Users by folded name; all of them, or the one with the name `username`."""
    services, query = request[SERVICES], read_query(request, "username", "limit", "after")
    limit, name = query.limit(), query.text("username")
    if name is not None:
        user = await services.users.lookup(name)
        return json_response({"users": [] if user is None else [_members(user)], "next": None})
    found = await services.users.page(limit=limit + 1, after=query.text("after") or "")
    shown = found[:limit]
    following = shown[-1].username_key if len(found) > limit else None
    return json_response({"users": [_members(user) for user in shown], "next": following})


async def add_user(request: web.Request) -> web.Response:
    """Add a user, who cannot log in by password when none is given."""
    read_query(request)
    services = request[SERVICES]
    body = await read_body(request, services)
    user = await services.users.add(
        body.text("username"),
        body.optional_text("password"),
        email=body.optional_text("email"),
        roles=body.optional_texts("roles") or (),
    )
    response = json_response(_members(user), status=201)
    response.headers["Location"] = f"/admin/users/{user.user_id}"
    return response


async def show_user(request: web.Request) -> web.Response:
    """One user."""
    read_query(request)
    return json_response(_members(await request[SERVICES].users.get(path_id(request))))


async def change_user(request: web.Request) -> web.Response:
    """Change what the body has. All of it is checked first; a call that failed half-way may be made again."""
    read_query(request)
    services, context = request[SERVICES], request[CONTEXT]
    users, announce = services.users, services.sessions.announce
    user_id = path_id(request)
    body = await read_body(request, services)
    active, roles = body.optional_flag("active"), body.optional_texts("roles")
    email = (body.optional_text("email") or "") if "email" in body else None
    if active is None and roles is None and email is None:
        raise InvalidRequest("There is nothing to change: 'active', 'roles' and 'email' can be.")
    users.check_profile(email=email, roles=roles or ())
    await users.get(user_id)
    # What takes rights away comes first, what gives them last.
    if active is False:
        announce(await users.disable(user_id), context)
    if roles is not None:
        announce(await users.set_roles(user_id, roles), context)
    if email is not None:
        announce(await users.set_email(user_id, email), context)
    if active is True:
        await users.enable(user_id)
    return json_response(_members(await users.get(user_id)))


async def remove_user(request: web.Request) -> web.Response:
    """Delete a user and end all of the user's sessions."""
    read_query(request)
    services = request[SERVICES]
    services.sessions.announce(await services.users.remove(path_id(request)), request[CONTEXT])
    return no_content()


async def set_password(request: web.Request) -> web.Response:
    """Set a password and end all of the user's sessions."""
    read_query(request)
    services, context = request[SERVICES], request[CONTEXT]
    user_id = path_id(request)
    password = (await read_body(request, services)).text("password")
    await services.users.get(user_id)  # before the work of hashing
    ended = await services.users.set_password(user_id, password)
    services.events.emit(
        Event(
            Name.PASSWORD_CHANGED,
            request_id=context.request_id,
            user_id=user_id,
            address=context.facts.address,
            user_agent=context.facts.user_agent,
        )
    )
    services.sessions.announce(ended, context)
    return no_content()


async def end_sessions(request: web.Request) -> web.Response:
    """End all sessions of a user; every access token is refused from then on."""
    read_query(request)
    services = request[SERVICES]
    user = await services.users.get(path_id(request))
    count = await services.sessions.end_user(user.user_id, RevokeReason.ADMIN, request[CONTEXT])
    return json_response({"revoked": count})


def _members(user: User) -> dict[str, object]:
    return {
        "id": user.user_id,
        "username": user.username,
        "email": user.email,
        "roles": user.roles,
        "active": user.active,
        "has_password": user.password_hash is not None,
        "created_at": timestamp(user.created_at),
        "password_changed_at": timestamp(user.password_changed_at),
    }
