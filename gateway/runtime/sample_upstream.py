"""The backend behind `gateway demo`: answers every request with what it was told about the caller."""

from __future__ import annotations

import socket

from aiohttp import web

_SHOWN = ("X-User-Id", "X-User-Name", "X-User-Email", "X-User-Roles", "X-Session-Id", "X-Request-Id", "Authorization")


async def _tell(request: web.Request) -> web.Response:
    told = {name: request.headers[name] for name in _SHOWN if name in request.headers}
    return web.json_response({"backend": "sample", "method": request.method, "path": request.path, "told": told})


async def start_sample_upstream(listener: socket.socket) -> web.AppRunner:
    """Serve on `listener` until the returned runner is cleaned up."""
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", _tell)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    return runner
