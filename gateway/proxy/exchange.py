"""One proxied request under way: request out, response back, and every way in which that can end early."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from gateway import tasks
from gateway.errors import GatewayError, GatewayTimeout, InvalidRequest, PayloadTooLarge, RequestTimeout
from gateway.proxy.aiohttp_private import HTTP_11, NO_BODY, Body, ClientConnection, Message, take
from gateway.proxy.response_head import ResponseHead
from gateway.web.problem import render

if TYPE_CHECKING:
    from gateway.proxy.endpoint import Endpoint
    from gateway.proxy.forward import Proxy
    from gateway.proxy.route_table import RouteSpec
    from gateway.proxy.upstream import UpstreamConnection
    from gateway.tokens.claims import AccessClaims

_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
_EVENT_STREAM: Final = b"\r\ncontent-type: text/event-stream"
_LAST_CHUNK: Final = b"0\r\n\r\n"
CLIENT_GONE: Final = 499


class Exchange:
    """The state of one request between a client and an upstream. Everything happens in callbacks; only a body that
    does not arrive with its head, and a new connection, cost a task.
    """

    __slots__ = (
        "_attempts",
        "_bodyless",
        "_chunk_out",
        "_connection",
        "_endpoint",
        "_finished",
        "_head",
        "_keep_alive",
        "_proxy",
        "_responded",
        "_task",
        "_whole",
        "address",
        "body",
        "chunked",
        "claims",
        "client",
        "expects_continue",
        "message",
        "path",
        "payload",
        "request_id",
        "request_size",
        "response_size",
        "route",
        "started",
        "status",
        "user_agent",
    )

    def __init__(self, proxy: Proxy, client: ClientConnection, message: Message, payload: Body, started: float) -> None:
        self._proxy = proxy
        self.client = client
        self.message = message
        self.payload = payload
        self.started = started
        self.path = ""
        self.request_id = ""
        self.address = client.address
        self.user_agent = b""
        self.route: RouteSpec | None = None
        self.claims: AccessClaims | None = None
        self.body = b""
        self.chunked = False
        self.expects_continue = False
        self.request_size = 0
        self.response_size = 0
        self.status = 0
        self._head = b""
        self._whole = True
        self._endpoint: Endpoint | None = None
        self._connection: UpstreamConnection | None = None
        self._task: asyncio.Task[object] | None = None
        self._attempts = 0
        self._responded = False
        self._finished = False
        self._chunk_out = False
        self._bodyless = False
        self._keep_alive = False

    @property
    def upstream_url(self) -> str | None:
        """The endpoint's URL, for the log."""
        return self._endpoint.url if self._endpoint is not None else None

    # -- the request

    def forward(self, endpoint: Endpoint, route: RouteSpec, head: bytes) -> None:
        """Send the request whose head is `head` to `endpoint`."""
        self.client.exchange = self
        self._endpoint = endpoint
        self._head = head
        payload = self.payload
        whole = True
        if payload is not NO_BODY:
            whole = self._whole = payload.is_eof()
            self.body = take(payload)
            self.count_request(len(self.body), route.body_limit)
        connection = endpoint.take(self.started, repeatable=whole and self.message.method in _IDEMPOTENT)
        if connection is not None:
            self._send(connection, route)
        else:
            self._task = tasks.spawn(self._connect(endpoint, route), name="upstream connect")

    async def _connect(self, endpoint: Endpoint, route: RouteSpec) -> None:
        try:
            connection = await endpoint.connect(route.connect_timeout)
        except GatewayError as error:
            self._task = None
            if not endpoint.unreachable:
                endpoint.unreachable = True
                self._proxy.upstream_changed(endpoint, route, error)
            self.fail(error)
            return
        self._task = None
        if endpoint.unreachable:
            endpoint.unreachable = False
            self._proxy.upstream_changed(endpoint, route, None)
        self._send(connection, route)

    def _send(self, connection: UpstreamConnection, route: RouteSpec) -> None:
        self._connection = connection
        data = self._head
        if self.body:
            data += _chunk(self.body) if self.chunked else self.body
        if self.chunked and self._whole:
            data += _LAST_CHUNK
        timeout = route.response_timeout if self._whole else route.idle_timeout
        connection.send(self, data, head_only=self.message.method == "HEAD", whole=self._whole, timeout=timeout)
        if not self._whole:
            self.body = b""
            self._task = tasks.spawn(self._pump(connection, route), name="request body")

    async def _pump(self, connection: UpstreamConnection, route: RouteSpec) -> None:
        """Pass the request body on as it comes, no faster than the upstream reads."""
        try:
            while data := await self.payload.readany():
                self.count_request(len(data), route.body_limit)
                connection.write(_chunk(data) if self.chunked else data)
                connection.expire_in(route.idle_timeout)
                if connection.congested:
                    await connection.drain()
        except GatewayError as error:
            self._task = None
            self.fail(error)
            return
        except Exception as error:  # noqa: BLE001 - whatever the parser hands over, the body ended too early
            self._task = None
            self.fail(InvalidRequest("The request body is malformed.", debug=type(error).__name__))
            return
        self._task = None
        if self.chunked:
            connection.write(_LAST_CHUNK)
        connection.request_sent = True
        if not self._responded:
            connection.expire_in(route.response_timeout)

    def count_request(self, size: int, limit: int) -> None:
        """Count body bytes of the request; raises `PayloadTooLarge`."""
        self.request_size += size
        if self.request_size > limit:
            raise PayloadTooLarge

    # -- the response, called by the upstream connection

    def informed(self) -> None:
        """100 Continue goes to a client that waits for it."""
        if self.expects_continue:
            self.expects_continue = False
            self.client.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def responded(self, status: int, head: ResponseHead, body: bytes, *, done: bool, bodyless: bool) -> None:
        """The final head came: one write when the whole response came with it."""
        message = self.message
        client = self.client
        self.status = status
        self._responded = True
        modern = message.version is HTTP_11
        keep_alive = self._may_keep_alive()
        chunk_out = False
        framing = b""
        if head.length is not None:
            if status != 204:
                framing = b"Content-Length: %d\r\n" % head.length
        elif bodyless:
            pass
        elif modern:
            chunk_out = True
            framing = b"Transfer-Encoding: chunked\r\n"
        else:
            keep_alive = False
        if not keep_alive:
            framing += b"Connection: close\r\n"
        elif not modern:
            framing += b"Connection: keep-alive\r\n"
        data = b"%b%bX-Request-Id: %b\r\n\r\n" % (head.head, framing, self.request_id.encode("ascii"))
        self._keep_alive = keep_alive
        self._chunk_out = chunk_out
        if body:
            self.response_size = len(body)
            data += _chunk(body) if chunk_out else body
        if done:
            client.write(data + _LAST_CHUNK if chunk_out else data)
            self._finish(keep_alive=keep_alive)
            return
        client.write(data)
        self._head = self.body = b""  # a stream may last for hours
        if self.claims is not None and _EVENT_STREAM in head.head.lower():
            self._proxy.streams.add(self, self.claims)
        self._stay()

    def received(self, data: bytes, *, done: bool) -> None:
        """More of the body."""
        self.response_size += len(data)
        if self._chunk_out:
            if data:
                data = _chunk(data)
            if done:
                data += _LAST_CHUNK
        self.client.write(data)
        if done:
            self._finish(keep_alive=self._keep_alive)
        else:
            self._stay()

    def _stay(self) -> None:
        connection, route = self._connection, self.route
        if connection is not None and route is not None:
            connection.expire_in(route.idle_timeout)
            if self.client.congested:
                connection.pause()

    def failed(self, error: GatewayError, *, retry: bool) -> None:
        """The upstream connection is gone: try again where that is safe."""
        self._connection = None
        route = self.route
        repeatable = retry and self._whole and not self.client.gone and self.message.method in _IDEMPOTENT
        if repeatable and route is not None and self._endpoint is not None and self._attempts < route.retries:
            self._attempts += 1
            self._task = tasks.spawn(self._connect(self._endpoint, route), name="upstream connect")
        else:
            self.fail(error)

    def expired(self) -> None:
        """Nothing moved for too long: whose fault it is decides the answer."""
        connection = self._connection
        if connection is None or self._responded:
            self.fail(GatewayTimeout(debug="the response stopped"))
        elif self._whole or connection.request_sent or connection.congested or self._is_awaited():
            self.fail(GatewayTimeout(debug="no response in time"))
        else:
            self.fail(RequestTimeout())

    def _is_awaited(self) -> bool:
        """Whether the client waits for a 100 Continue that the upstream owes it."""
        return self.expects_continue and self.request_size == 0

    # -- the client's connection

    def client_paused(self) -> None:
        """Called by the client's connection."""
        if self._connection is not None and self._responded:
            self._connection.pause()

    def client_resumed(self) -> None:
        """Called by the client's connection."""
        if self._connection is not None:
            self._connection.resume()
            if self.route is not None and self._responded:
                self._connection.expire_in(self.route.idle_timeout)

    def client_lost(self) -> None:
        """Called by the client's connection: nobody waits for the answer, so the upstream need not make it."""
        if not self._finished:
            self.status = self.status or CLIENT_GONE
            self._end()

    # -- the end

    def end_stream(self) -> None:
        """The session behind an open stream of events is gone: the stream ends where it is."""
        if self._chunk_out:
            self.client.write(_LAST_CHUNK)
        self._finish(keep_alive=False)

    def fail(self, error: GatewayError) -> None:
        """Answer with `error`, or tear the client's connection when an answer is under way."""
        if self._finished:
            return
        if self._responded:
            client = self.client
            self._end()
            client.tear()
            return
        self.refuse(error)

    def refuse(self, error: GatewayError) -> None:
        """Answer with a problem document."""
        message = self.message
        self.status = error.status
        self.request_id = self.request_id or self._proxy.new_request_id()
        # Who sends what is refused as malformed may count its bytes in another way too (RFC 9112 9.6).
        keep_alive = error.status != 400 and self._may_keep_alive()
        answer = problem_bytes(error, self.request_id, keep_alive=keep_alive, head_only=message.method == "HEAD")
        self.response_size = len(answer) - answer.index(b"\r\n\r\n") - 4
        self.client.write(answer)
        self._finish(keep_alive=keep_alive)

    def _may_keep_alive(self) -> bool:
        """Whether another request may follow, as far as the request and the client's connection say."""
        message = self.message
        return self.client.keeps_alive and not message.should_close and not message.upgrade and self.payload.is_eof()

    def _finish(self, *, keep_alive: bool) -> None:
        self._end()
        self.client.done(keep_alive=keep_alive)

    def _end(self) -> None:
        self._finished = True
        connection, self._connection = self._connection, None
        if connection is not None and connection.serves(self):
            connection.discard()
        elif connection is not None and self.client.congested:
            connection.resume()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        if self.claims is not None:
            self._proxy.streams.remove(self, self.claims)
        self._proxy.finished(self)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def problem_bytes(error: GatewayError, request_id: str, *, keep_alive: bool, head_only: bool = False) -> bytes:
    """A whole HTTP answer that says what went wrong."""
    rendered = render(error, request_id)
    lines = [f"HTTP/1.1 {rendered.status} {HTTPStatus(rendered.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in rendered.headers]
    lines.append(f"Content-Length: {len(rendered.body)}")
    if not keep_alive:
        lines.append("Connection: close")
    head = "\r\n".join([*lines, "", ""]).encode("utf-8")
    return head if head_only else head + rendered.body
