"""The low-level HTTP server in front of everything: reserved paths go to the own API, the rest to the proxy."""

from __future__ import annotations

import asyncio

from aiohttp import web

from gateway.proxy.aiohttp_private import ClientConnection
from gateway.proxy.forward import Proxy


class Front(web.Server):
    """A factory of client connections, as `loop.create_server` and aiohttp's runners take it.

    The application must be set up (`web.AppRunner(app).setup()` or `app.startup()`) by whoever made it.
    """

    def __init__(self, proxy: Proxy, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        super().__init__(_unused, loop=loop)
        self._proxy = proxy

    def __call__(self) -> ClientConnection:
        """The protocol of a new connection."""
        return ClientConnection(self, self._proxy, loop=self._loop)

    def drain(self) -> None:
        """Answer 503 from now on, close connections as they fall idle and WebSockets with 1001."""
        self._proxy.draining = True
        self._proxy.tunnels.drain()
        self.pre_shutdown()

    async def shutdown(self, timeout: float | None = None) -> None:
        """Close what is open, giving requests under way and readers of a last Close frame `timeout` seconds."""
        await asyncio.gather(super().shutdown(timeout), self._proxy.tunnels.shutdown(timeout))


async def _unused(request: web.BaseRequest) -> web.StreamResponse:
    """aiohttp asks for a handler; requests are dispatched before it would be called."""
    raise web.HTTPInternalServerError
