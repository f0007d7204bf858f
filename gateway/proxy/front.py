"""The low-level HTTP server in front of everything: reserved paths go to the own API, the rest to the proxy."""

from __future__ import annotations

import asyncio
from typing import Final, cast

from aiohttp import web

from gateway.proxy.aiohttp_private import ClientConnection
from gateway.proxy.forward import Proxy

_LOOK: Final = 0.02


class Front(web.Server):
    """A factory of client connections, as `loop.create_server` and aiohttp's runners take it.

    The application must be set up (`web.AppRunner(app).setup()` or `app.startup()`) by whoever made it.
    """

    def __init__(self, proxy: Proxy, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        super().__init__(_unused, loop=loop)
        self._proxy = proxy
        self._leaving = False

    def __call__(self) -> ClientConnection:
        """The protocol of a new connection."""
        connection = ClientConnection(self, self._proxy, loop=self._loop)
        if self._leaving:
            connection.leave()
        return connection

    def change_over(self, proxy: Proxy) -> None:
        """Let `proxy` answer from the next request on, on connections that stand too."""
        before, self._proxy = self._proxy, proxy
        proxy.succeed(before)
        for connection in self.connections:
            cast("ClientConnection", connection).redirect(proxy)

    async def leave(self, seconds: float) -> None:
        """Answer the next request of each connection with `Connection: close`, for at most `seconds` or until all are
        gone: no client loses a request that was on its way.
        """
        self._leaving = True
        for connection in self.connections:
            cast("ClientConnection", connection).leave()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while self.connections and loop.time() < deadline:  # noqa: ASYNC110 - aiohttp tells nobody when one is gone
            await asyncio.sleep(_LOOK)

    def drain(self) -> None:
        """Answer 503 from now on and close connections as they fall idle."""
        self._proxy.draining = True
        self.pre_shutdown()


async def _unused(request: web.BaseRequest) -> web.StreamResponse:
    """aiohttp asks for a handler; requests are dispatched before it would be called."""
    raise web.HTTPInternalServerError
