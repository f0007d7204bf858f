"""A request to change the protocol under way: an exchange that may become a tunnel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import InvalidRequest
from gateway.proxy.aiohttp_private import ClientConnection
from gateway.proxy.exchange import Exchange
from gateway.proxy.headers import RawHeaders
from gateway.proxy.messages import Body, Message
from gateway.proxy.own_api import without_headers
from gateway.proxy.response_head import ResponseHead
from gateway.proxy.tunnel import GOING_AWAY, SESSION_REVOKED, Tunnel
from gateway.proxy.upgrade import Handshake

if TYPE_CHECKING:
    from gateway.proxy.forward import Proxy
    from gateway.proxy.upstream import UpstreamConnection


class Upgrading(Exchange):
    """With a `handshake` a 101 opens the tunnel; any other answer is an ordinary one, and the last on its connection.

    In the registry of streams it stands for the tunnel, and it is the tunnel's line in the access log.
    """

    __slots__ = ("_tunnel", "handshake")

    def __init__(self, proxy: Proxy, client: ClientConnection, message: Message, payload: Body, started: float) -> None:
        super().__init__(proxy, client, message, payload, started)
        self.handshake: Handshake | None = None
        self._tunnel: Tunnel | None = None

    def switched(self, connection: UpstreamConnection, head: ResponseHead, fields: RawHeaders, rest: bytes) -> None:
        """The upstream said 101: check it, and let go of everything that is HTTP."""
        if self.handshake is None or self.route is None:
            super().switched(connection, head, fields, rest)
            return
        client = self.client
        if client.gone:
            self.client_lost()
            return
        answer = self.handshake.answer(head, fields)
        if client.early:
            raise InvalidRequest("The client did not wait for the answer to its WebSocket handshake.")
        self.status = head.status
        self._responded = True
        if self._endpoint is not None and self._endpoint.strained:
            self._endpoint.answered(head.status, self._proxy.now())
        self._connection = None
        self._no_deadline()  # that of an exchange, which this is no longer
        congested = client.congested
        tunnel = self._tunnel = Tunnel(client.detach(), connection.detach(), self.route.idle_timeout)
        self._forget()
        self._proxy.tunnels.add(tunnel)
        request_id = b"X-Request-Id: %b\r\n\r\n" % self.request_id.encode("ascii")
        tunnel.open(answer + request_id, rest, self._tunnel_ended, congested=congested)
        if self._proxy.tunnels.draining:
            tunnel.close(GOING_AWAY, b"shutting down")
        if self.claims is not None:
            self.streaming = True
            self._proxy.streams.add(self, self.claims, strict=self.route.strict_revocation)

    def end_stream(self) -> None:
        """The session is gone: the client is told by a Close frame of its own code."""
        if self._tunnel is not None:
            if self.claims is not None:  # the Close takes a moment, which is nothing to look at again
                self._proxy.streams.remove(self, self.claims)
            self._tunnel.close(SESSION_REVOKED, b"session revoked")
        else:
            super().end_stream()

    def _forget(self) -> None:
        """Let go of what an open WebSocket need not hold for hours, the token among it."""
        self.message = without_headers(self.message)
        self.handshake = None
        self._head = self.body = b""

    def _tunnel_ended(self, tunnel: Tunnel) -> None:
        self._proxy.tunnels.remove(tunnel)
        self._tunnel = None
        self.request_size = tunnel.request_size
        self.response_size = tunnel.response_size
        self._end()
