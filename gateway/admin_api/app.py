"""The admin API as an aiohttp application of its own, under `/admin` of the admin listener."""

from __future__ import annotations

from importlib.resources import files
from typing import Any, Final

import orjson
from aiohttp import web

from gateway.admin_api import events, keys, sessions, users
from gateway.admin_api.admission import admit, under
from gateway.admin_api.services import Current
from gateway.web.middleware import answers

PREFIX: Final = "/admin"


def add_admin_api(app: web.Application, current: Current) -> web.Application:
    """Put the API under `/admin` of `app`; every path there answers in its manner. Returns the API's application."""
    services = current()
    api = web.Application(middlewares=[under(current), answers(services.contexts, services.events), admit])
    api.add_routes(
        [
            web.get("/sessions", sessions.list_sessions),
            web.get("/sessions/{sid}", sessions.show_session),
            web.delete("/sessions/{sid}", sessions.end_session),
            web.get("/users", users.list_users),
            web.post("/users", users.add_user),
            web.get("/users/{id}", users.show_user),
            web.patch("/users/{id}", users.change_user),
            web.delete("/users/{id}", users.remove_user),
            web.put("/users/{id}/password", users.set_password),
            web.delete("/users/{id}/sessions", users.end_sessions),
            web.get("/keys", keys.list_keys),
            web.post("/keys/rotate", keys.rotate),
            web.get("/events", events.list_events),
            web.get("/openapi.json", _openapi),
        ]
    )
    app.add_subapp(PREFIX, api)
    return api


def openapi_document() -> dict[str, Any]:
    """The API's record."""
    document: dict[str, Any] = orjson.loads(files("gateway.admin_api").joinpath("openapi.json").read_bytes())
    return document


async def _openapi(_: web.Request) -> web.Response:
    return web.Response(body=orjson.dumps(openapi_document()), content_type="application/json")
