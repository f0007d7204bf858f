"""One proxied request under way: request out, response back, and every way in which that can end early."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from gateway import tasks
from gateway.errors import BadGateway, GatewayError, GatewayTimeout, InvalidRequest, PayloadTooLarge, RequestTimeout
from gateway.proxy.aiohttp_private import ClientConnection
from gateway.proxy.header_rules import HeaderRules
from gateway.proxy.headers import RawHeaders
from gateway.proxy.messages import HTTP_11, NO_BODY, Body, Message, take
from gateway.proxy.request_head import readdressed
from gateway.proxy.response_head import ResponseHead
from gateway.telemetry.trace_context import Trace
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
_NO_TRAILERS: Final = HeaderRules({}, ("Trailer",))
CLIENT_GONE: Final = 499


class Exchange:
    """The state of one request between a client and an upstream. Everything happens in callbacks; only a new
    connection costs a task.
    """

    __slots__ = (
        "_attempts",
        "_bodyless",
        "_chunk_out",
        "_connection",
        "_deadline",
        "_endpoint",
        "_finished",
        "_head",
        "_keep_alive",
        "_passing",
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
        "streaming",
        "trace",
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
        self.trace: Trace | None = None
        self.body = b""
        self.chunked = False
        self.expects_continue = False
        self.request_size = 0
        self.response_size = 0
        self.status = 0
        self.streaming = False
        self._head = b""
        self._whole = True
        self._endpoint: Endpoint | None = None
        self._connection: UpstreamConnection | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._attempts = 0
        self._responded = False
        self._finished = False
        self._chunk_out = False
        self._bodyless = False
        self._keep_alive = False
        self._passing = False

    @property
    def upstream_url(self) -> str | None:
        """The endpoint's URL, for the log."""
        return self._endpoint.url if self._endpoint is not None else None

    # -- the request

    def forward(self, endpoint: Endpoint, route: RouteSpec, head: bytes) -> None:
        """Send the request whose head is `head` to `endpoint`."""
        self.client.exchange = self
        self._endpoint = endpoint
        endpoint.outstanding += 1
        self._head = head
        if route.total_timeout is not None:
            self._deadline = asyncio.get_running_loop().call_later(route.total_timeout, self._overdue)
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
        while True:
            try:
                connection = await endpoint.connect(route.connect_timeout)
                break
            except GatewayError as error:
                endpoint.unreachable(self._proxy.now(), error.debug or error.title)
                other = self._elsewhere(endpoint, route)  # whatever the method: nothing was sent
                if other is None:
                    self._task = None
                    self.fail(error)
                    return
                endpoint = other
        self._task = None
        endpoint.reached()
        self._send(connection, route)

    def _elsewhere(self, tried: Endpoint, route: RouteSpec) -> Endpoint | None:
        """Turn to another endpoint, if there is one and another attempt is allowed."""
        if self._attempts >= route.retries:
            return None
        other = self._proxy.another_endpoint(route, tried)
        if other is None:
            return None
        self._again()
        keeps_host = route.preserve_host and any(name.lower() == b"host" for name, _ in self.message.raw_headers)
        self._head = readdressed(self._head, self.message.method, tried, other, keeps_host=keeps_host)
        tried.outstanding -= 1
        other.outstanding += 1
        self._endpoint = other
        return other

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
            self.body_came()

    def body_came(self) -> None:
        """More of the request body is here, or its end, or the upstream has read: pass on what can be passed."""
        connection, route = self._connection, self.route
        # Taking bytes out lets the parser go on, which calls this again before those bytes are written.
        if connection is None or route is None or self._passing or connection.request_sent:
            return
        self._passing = True
        try:
            self._pass_body(connection, route)
        except GatewayError as error:
            self.fail(error)
        finally:
            self._passing = False

    def _pass_body(self, connection: UpstreamConnection, route: RouteSpec) -> None:
        payload = self.payload
        while not connection.congested:
            if (error := payload.exception()) is not None:
                raise error if isinstance(error, GatewayError) else _malformed_body(error)
            data = take(payload)
            if not data:
                break
            self.count_request(len(data), route.body_limit)
            connection.write(_chunk(data) if self.chunked else data)
        if not payload.at_eof():
            connection.expire_in(route.idle_timeout)
            return
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

    def hinted(self, head: bytes) -> None:
        """Early hints and the like go to clients that know of interim answers."""
        rules = self.route.response_headers if self.route is not None else None
        if self.message.version is HTTP_11:
            self.client.write((head if rules is None else rules.removed(head)) + b"\r\n")

    def responded(self, status: int, head: ResponseHead, body: bytes, *, done: bool, bodyless: bool) -> None:
        """The final head came: one write when the whole response came with it."""
        client, route, endpoint = self.client, self.route, self._endpoint
        assert route is not None and endpoint is not None  # noqa: S101, PT018 - the request went there
        limit = route.response_limit
        if limit is not None and not bodyless and max(head.length or 0, len(body)) > limit:
            self.fail(BadGateway(debug="the response is over the route's limit"))
            return
        self.status = status
        self._responded = True
        if endpoint.strained or status >= 500:
            endpoint.answered(status, self._proxy.now())
        data = self._head_out(head, route, bodyless=bodyless)
        chunk_out = self._chunk_out
        if body:
            self.response_size = len(body)
            data += _chunk(body) if chunk_out else body
        if done:
            client.write(data + self._last_chunk() if chunk_out else data)
            self._finish(keep_alive=self._keep_alive)
            return
        client.write(data)
        self._head = self.body = b""  # a stream may last for hours
        if self.claims is not None and _EVENT_STREAM in head.head.lower():
            self.streaming = True
            self._proxy.streams.add(self, self.claims, strict=route.strict_revocation)
        self._stay()

    def _head_out(self, head: ResponseHead, route: RouteSpec, *, bodyless: bool) -> bytes:
        """The head for the client; how its body is framed is remembered."""
        modern = self.message.version is HTTP_11
        keep_alive = self._may_keep_alive()
        lines = head.head if route.response_headers is None else route.response_headers.changed(head.head)
        framing = b""
        if head.length is not None:
            if head.status != 204:
                framing = b"Content-Length: %d\r\n" % head.length
        elif bodyless:
            pass
        elif modern:
            self._chunk_out = True
            framing = b"Transfer-Encoding: chunked\r\n"
        else:
            keep_alive = False
            lines = _NO_TRAILERS.removed(lines) if head.chunked else lines
        if not keep_alive:
            framing += b"Connection: close\r\n"
        elif not modern:
            framing += b"Connection: keep-alive\r\n"
        self._keep_alive = keep_alive
        return b"%b%bX-Request-Id: %b\r\n\r\n" % (lines, framing, self.request_id.encode("ascii"))

    def switched(self, connection: UpstreamConnection, head: ResponseHead, fields: RawHeaders, rest: bytes) -> None:
        """A 101 that nobody asked for."""
        raise BadGateway(debug="the upstream switched protocols unasked")

    def received(self, data: bytes, *, done: bool) -> None:
        """More of the body."""
        self.response_size += len(data)
        route = self.route
        if route is not None and route.response_limit is not None and self.response_size > route.response_limit:
            self.fail(BadGateway(debug="the response is over the route's limit"))
            return
        if self._chunk_out:
            if data:
                data = _chunk(data)
            if done:
                data += self._last_chunk()
        self.client.write(data)
        if done:
            self._finish(keep_alive=self._keep_alive)
        else:
            self._stay()

    def _last_chunk(self) -> bytes:
        """The end of a body that went out in chunks, with the trailers that came behind it."""
        connection = self._connection
        if connection is None or not connection.trailers:
            return _LAST_CHUNK
        rules = self.route.response_headers if self.route is not None else None
        trailers = connection.trailers
        return b"0\r\n%b\r\n" % (trailers if rules is None else rules.removed(trailers, first=0))

    def _stay(self) -> None:
        connection, route = self._connection, self.route
        if connection is not None and route is not None:
            connection.expire_in(route.idle_timeout)
            if self.client.congested:
                connection.pause()

    def failed(self, error: GatewayError, *, retry: bool) -> None:
        """The upstream connection is gone: try again where that is safe."""
        connection, self._connection = self._connection, None
        route, endpoint = self.route, self._endpoint
        if endpoint is None or route is None or self._responded:
            self.fail(error)
            return
        if not retry or connection is None or connection.used_at == 0.0:
            # A kept connection that is closed as it is used says nothing: backends close what is idle.
            endpoint.failed(self._proxy.now(), error.debug or error.title)
        repeatable = retry and self._whole and not self.client.gone and self.message.method in _IDEMPOTENT
        if repeatable and self._attempts < route.retries:
            other = self._elsewhere(endpoint, route)
            if other is None:
                self._again()
                other = endpoint
            self._task = tasks.spawn(self._connect(other, route), name="upstream connect")
        else:
            self.fail(error)

    def _again(self) -> None:
        self._attempts += 1
        if self.trace is not None:
            self.trace.resends = self._attempts

    def expired(self) -> None:
        """Nothing moved for too long: whose fault it is decides the answer."""
        connection = self._connection
        if connection is None or self._responded:
            self.fail(GatewayTimeout(debug="the response stopped"))
        elif self._whole or connection.request_sent or connection.congested:
            if self._endpoint is not None:
                self._endpoint.failed(self._proxy.now(), "no response in time")
            self.fail(GatewayTimeout(debug="no response in time"))
        elif self.expects_continue and not self.request_size:  # neither "go on" nor an answer: it did right to wait
            self.fail(GatewayTimeout(debug="no answer to Expect: 100-continue in time"))
        else:
            self.fail(RequestTimeout())

    def _no_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _overdue(self) -> None:
        self._deadline = None
        self.fail(GatewayTimeout(debug="the exchange takes longer than the route allows"))

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
        if self.trace is not None:
            self.trace.error = error.code
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
        if self._deadline is not None:
            self._no_deadline()
        if self._endpoint is not None:
            self._endpoint.outstanding -= 1
        connection, self._connection = self._connection, None
        if connection is not None:
            if connection.serves(self):
                connection.discard()
            elif self.client.congested:
                connection.resume()
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self.streaming and self.claims is not None:
            self._proxy.streams.remove(self, self.claims)
        self._proxy.finished(self)


def _malformed_body(error: BaseException) -> InvalidRequest:
    """Whatever the parser says of a body: it ended too early."""
    return InvalidRequest("The request body is malformed.", debug=type(error).__name__)


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
