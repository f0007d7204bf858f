"""Probes: /livez says the process turns, /readyz that requests would be served properly; and /metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from gateway.admin_api.exposition import Snapshot, metrics_handler

Checks = Callable[[], Awaitable[Mapping[str, str | None]]]


def build_admin(checks: Checks, snapshot: Snapshot) -> web.Application:
    """The admin application.

    `checks` answers, per check, None when it passes or one sentence that says what is wrong; `snapshot` what /metrics
    shows.
    """

    async def live(_: web.Request) -> web.Response:
        return web.Response(text="ok\n", headers={"Cache-Control": "no-store"})

    async def ready(request: web.Request) -> web.Response:
        found = await checks()
        failed = [name for name, problem in found.items() if problem is not None]
        lines = [f"{name}: {problem or 'ok'}" for name, problem in found.items()] if "verbose" in request.query else []
        lines.append(f"not ready: {', '.join(failed)}" if failed else "ready")
        return web.Response(
            status=503 if failed else 200, text="\n".join(lines) + "\n", headers={"Cache-Control": "no-store"}
        )

    app = web.Application()
    app.router.add_get("/livez", live)
    app.router.add_get("/readyz", ready)
    app.router.add_get("/metrics", metrics_handler(snapshot))
    return app
