"""The low-level HTTP server in front of everything: reserved paths go to the own API, the rest to the proxy."""

from __future__ import annotations

import asyncio
from typing import Final, cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from gateway.proxy.admission import Admission
from gateway.proxy.aiohttp_private import ClientConnection
from gateway.proxy.forward import Proxy
from gateway.proxy.proxy_protocol import Source
from gateway.web.client_ip import UNIX_PEER

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
        return ClientConnection(self, self._proxy, loop=self._loop)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Called by a connection that stands now. What happened since it was made (a TLS handshake takes its time) did
        not reach it.
        """
        super().connection_made(handler, transport)
        connection = cast("ClientConnection", handler)
        connection.redirect(self._proxy)
        if self._leaving:
            connection.leave()

    def change_over(self, proxy: Proxy) -> None:
        """Let `proxy` answer from the next request on, on connections that stand too."""
        proxy.succeed(self._proxy)
        self._proxy = proxy
        for connection in self.connections:
            cast("ClientConnection", connection).redirect(proxy)

    async def leave(self, seconds: float) -> None:
        """Answer the next request of each connection with `Connection: close`, for at most `seconds` or until all are
        gone, those in a handshake too: no client loses a request that was on its way.
        """
        self._leaving = True
        for connection in self.connections:
            cast("ClientConnection", connection).leave()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while self.admission.count and loop.time() < deadline:  # noqa: ASYNC110 - aiohttp tells nobody when one is gone
            await asyncio.sleep(_LOOK)

    @property
    def load(self) -> int:
        """How many connections clients have, WebSockets among them."""
        return self._proxy.admission.count + len(self._proxy.tunnels)

    @property
    def admission(self) -> Admission:
        """Who may connect."""
        return self._proxy.admission

    def admit(self, peer: str | None, named: Source | None) -> ClientConnection | None:
        """The protocol of a connection that was accepted but is not served yet, already counted; None: too many.

        `peer` is its address, None for a unix socket; `named` who its PROXY header says it is.
        """
        name = peer if named is None else named.address
        slot = self.admission.enter(name or UNIX_PEER, shared=self._proxy.shared(name))
        if slot is None:
            return None
        client = self()
        client.slot, client.named = slot, named
        return client

    def give_up(self, client: ClientConnection) -> None:
        """An admitted connection came to nothing."""
        self._proxy.closed(client)

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
