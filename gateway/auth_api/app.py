"""The gateway's own API as an ordinary aiohttp application."""

from __future__ import annotations

from aiohttp import web

from gateway.auth_api import account, login, logout, refresh, sessions, well_known
from gateway.auth_api.cross_site import cors, guard
from gateway.auth_api.services import SERVICES, ApiServices
from gateway.web.middleware import answers


def build_api(services: ApiServices) -> web.Application:
    """The application, its paths under `services.prefix`."""
    around = [cors, answers(services.contexts, services.events), guard]
    if services.tracing is not None:
        around.insert(0, services.tracing.middleware(services.contexts))
    app = web.Application(middlewares=around)
    app[SERVICES] = services
    prefix = services.prefix
    app.add_routes(
        [
            web.post(f"{prefix}/login", login.login),
            web.post(f"{prefix}/refresh", refresh.refresh),
            web.post(f"{prefix}/logout", logout.logout),
            web.post(f"{prefix}/logout-all", logout.logout_all),
            web.post(f"{prefix}/revoke", logout.revoke),
            web.get(f"{prefix}/sessions", sessions.list_sessions),
            web.delete(f"{prefix}/sessions/{{id}}", sessions.end_session),
            web.get(f"{prefix}/me", account.me),
            web.post(f"{prefix}/password", account.change_password),
            web.get(f"{prefix}/openapi.json", well_known.openapi(services)),
            web.get(well_known.JWKS_PATH, well_known.jwks),
        ]
    )
    return app
