"""GET /sessions and DELETE /sessions/{id}: where the user is logged in."""

from __future__ import annotations

from aiohttp import web

from gateway.auth_api.credentials import require_bearer
from gateway.auth_api.services import SERVICES
from gateway.errors import NotFound
from gateway.sessions.session import RevokeReason, Session
from gateway.web.answers import json_response, no_content, timestamp
from gateway.web.context import CONTEXT
from gateway.web.ids import is_uuid


async def list_sessions(request: web.Request) -> web.Response:
    """The user's live sessions, the one in use marked."""
    claims = require_bearer(request)
    found = await request.app[SERVICES].sessions.list_sessions(claims.subject)
    return json_response({"sessions": [_members(session, claims.session_id) for session in found]})


async def end_session(request: web.Request) -> web.Response:
    """End one of the user's sessions. Another user's is as unknown as one that never was."""
    services, context = request.app[SERVICES], request[CONTEXT]
    claims = require_bearer(request)
    sid = request.match_info["id"]
    if not is_uuid(sid):
        raise NotFound
    ended = await services.sessions.end(sid, RevokeReason.USER_REVOKED, context, user_id=claims.subject)
    if not ended:
        raise NotFound
    return no_content()


def _members(session: Session, current: str) -> dict[str, object]:
    return {
        "id": session.sid,
        "current": session.sid == current,
        "created_at": timestamp(session.created_at),
        "last_used_at": timestamp(session.last_seen_at),
        "expires_at": timestamp(session.ends_at),
        "ip": session.seen.address,
        "device": session.seen.device,
        "location": None,
    }
