"""/admin/sessions: every log-in there is, and its end."""

from __future__ import annotations

from aiohttp import web

from gateway.admin_api.queries import path_id, read_query, user_id_of
from gateway.admin_api.services import SERVICES
from gateway.errors import InvalidRequest, NotFound
from gateway.sessions.session import RevokeReason, Session
from gateway.web.answers import json_response, no_content, timestamp
from gateway.web.context import CONTEXT
from gateway.web.ids import is_uuid


async def list_sessions(request: web.Request) -> web.Response:
    """Live sessions by id, of all users or of `user`."""
    services, query = request[SERVICES], read_query(request, "user", "limit", "after")
    limit, after = query.limit(), query.text("after") or ""
    if after and not is_uuid(after):
        raise InvalidRequest("The parameter 'after' must be a session id.")
    user_id = await user_id_of(services, query.text("user"))
    found = await services.sessions.page(user_id, limit=limit + 1, after=after)
    shown = found[:limit]
    following = shown[-1].sid if len(found) > limit else None
    return json_response({"sessions": [_members(session, live=True) for session in shown], "next": following})


async def show_session(request: web.Request) -> web.Response:
    """One session, also for a while after its end."""
    read_query(request)
    found = await request[SERVICES].sessions.look_up(_session_id(request))
    if found is None:
        raise NotFound("There is no such session.")
    session, live = found
    return json_response(_members(session, live=live))


async def end_session(request: web.Request) -> web.Response:
    """End a session."""
    read_query(request)
    sid = _session_id(request)
    if not await request[SERVICES].sessions.end(sid, RevokeReason.ADMIN, request[CONTEXT]):
        raise NotFound("There is no such session, or it has ended.")
    return no_content()


def _session_id(request: web.Request) -> str:
    sid = path_id(request, "sid")
    if not is_uuid(sid):
        raise NotFound("There is no such session.")
    return sid


def _members(session: Session, *, live: bool) -> dict[str, object]:
    ended = session.revoked_at
    return {
        "id": session.sid,
        "user_id": session.user_id,
        "live": live,
        "created_at": timestamp(session.created_at),
        "last_used_at": timestamp(session.last_seen_at),
        "expires_at": timestamp(session.ends_at),
        "ended_at": None if ended is None else timestamp(ended),
        "end_reason": session.revoke_reason,
        "generation": session.generation,
        "amr": session.amr,
        "ip": session.seen.address,
        "device": session.seen.device,
    }
