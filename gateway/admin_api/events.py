"""/admin/events: recent security events, as they stand in the log."""

from __future__ import annotations

from typing import Final

import orjson
from aiohttp import web

from gateway.admin_api.queries import read_query, user_id_of
from gateway.admin_api.services import SERVICES
from gateway.errors import InvalidRequest
from gateway.events import Name
from gateway.web.answers import json_response

_NAMES: Final = frozenset(name.value for name in Name)


async def list_events(request: web.Request) -> web.Response:
    """Events in the order they were stored. Whoever polls goes on after the last `seq`."""
    services = request[SERVICES]
    query = read_query(request, "since", "user", "limit", "after", repeated="event")
    names, limit = query.texts("event"), query.limit()
    if not _NAMES.issuperset(names):
        raise InvalidRequest("There is no event of that name.")
    after, since = query.number("after", 0), query.time("since")
    user_id = await user_id_of(services, query.text("user"))
    found = await services.history.page(limit=limit + 1, after=after, since=since, names=names, user_id=user_id)
    shown = found[:limit]
    following = str(shown[-1].seq) if len(found) > limit else None
    events = [{"seq": event.seq, **orjson.loads(event.document)} for event in shown]
    return json_response({"events": events, "next": following})
