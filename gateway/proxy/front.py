"""The low-level HTTP server in front of everything: reserved paths go to the own API, the rest to the proxy."""

from __future__ import annotations

import asyncio

from aiohttp import web

from gateway.proxy.admission import Admission
from gateway.proxy.aiohttp_private import ClientConnection
from gateway.proxy.forward import Proxy
from gateway.proxy.proxy_protocol import Source
from gateway.web.client_ip import UNIX_PEER


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
