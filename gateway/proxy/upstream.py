"""Connections to a backend: kept alive, each with one persistent C parser, one request at a time, framing checked."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final, NamedTuple, Protocol
from urllib.parse import urlsplit

from gateway.errors import BadGateway, GatewayError
from gateway.proxy.aiohttp_private import HTTP_10, HTTP_11, NO_BODY, Body, Message, response_parser, take
from gateway.proxy.response_head import MAX_HEAD, ResponseHead, ResponseRules
from gateway.proxy.timer import NEVER, LazyTimer

IDLE_SECONDS: Final = 30.0
MAX_IDLE: Final = 512
# A backend that closes a connection it kept idle may do so while a request travels. What cannot be sent twice only
# takes a connection used this recently.
FRESH_SECONDS: Final = 1.0
_CHUNKED_END: Final = b"\r\n0\r\n\r\n"
_CONTINUE: Final = 100
_SWITCHING: Final = 101


class Leg(Protocol):
    """What a connection tells whoever sent a request over it. After `done` or `failed` nothing more is told."""

    def informed(self) -> None:
        """The upstream said 100 Continue."""
        ...

    def responded(self, status: int, head: ResponseHead, body: bytes, *, done: bool, bodyless: bool) -> None:
        """The final head, with what came of the body. `bodyless`: no body belongs to it, whatever it declares."""
        ...

    def received(self, data: bytes, *, done: bool) -> None:
        """More of the body, b"" possible."""
        ...

    def failed(self, error: GatewayError, *, retry: bool) -> None:
        """The connection is gone. `retry`: not a byte of an answer came."""
        ...

    def expired(self) -> None:
        """The deadline passed; the connection is still there."""
        ...


class UpstreamConnection(asyncio.Protocol):
    """One connection. `close_delimited` and the parser belong to the response under way."""

    __slots__ = (
        "_active",
        "_close_delimited",
        "_drained",
        "_endpoint",
        "_head_only",
        "_head_size",
        "_held",
        "_leg",
        "_loop",
        "_parser",
        "_paused",
        "_payload",
        "_response",
        "request_sent",
        "timer",
        "transport",
        "used_at",
    )

    def __init__(self, endpoint: Endpoint, loop: asyncio.AbstractEventLoop) -> None:
        self._endpoint = endpoint
        self._loop = loop
        self._parser = self._active = response_parser(loop)
        self._leg: Leg | None = None
        self._payload: Body | None = None
        self._response: tuple[Message, ResponseHead] | None = None
        self._close_delimited = False
        self._head_only = False
        self._head_size = 0
        self._held = False
        self._paused = False
        self._drained: asyncio.Future[None] | None = None
        self.transport: asyncio.Transport | None = None
        self.timer = LazyTimer(loop, self._expired)
        self.request_sent = True
        self.used_at = 0.0

    # -- the sender's side

    def send(self, leg: Leg, data: bytes, *, head_only: bool, whole: bool, timeout: float) -> None:
        """Send a request head and what there is of its body; `whole` when that is all of it."""
        self._leg = leg
        self._head_size = 0
        self.request_sent = whole
        if head_only:
            self._head_only = True
            self._active = response_parser(self._loop, with_body=False)
        self.timer.set(self._loop.time() + timeout)
        self.write(data)

    def write(self, data: bytes) -> None:
        """Send more of the request."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def expire_in(self, seconds: float) -> None:
        """Move the deadline."""
        self.timer.set(self._loop.time() + seconds)

    @property
    def congested(self) -> bool:
        """Whether the upstream is slow to read: wait for `drain` before writing more."""
        return self._paused

    async def drain(self) -> None:
        """Wait until the upstream has read enough, or is gone."""
        if self._paused:
            self._drained = self._loop.create_future()
            await self._drained

    def pause(self) -> None:
        """Read no more of the response for now."""
        if not self._held and self.transport is not None and not self.transport.is_closing():
            self._held = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Go on reading."""
        if self._held and self.transport is not None and not self.transport.is_closing():
            self._held = False
            self.transport.resume_reading()

    def serves(self, leg: Leg) -> bool:
        """Whether the request under way is that of `leg`."""
        return self._leg is leg

    def discard(self) -> None:
        """Close at once, telling nobody: the response is not wanted, or not believed."""
        self._leg = None
        self.timer.cancel()
        if self.transport is not None:
            self.transport.abort()

    # -- the upstream's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self.transport = transport  # type: ignore[assignment] # the loop gives stream protocols a Transport
        self._endpoint.opened(self)

    def data_received(self, data: bytes) -> None:
        """Called by the loop: the hot path of the response leg."""
        leg = self._leg
        if leg is None:  # nobody asked
            self.discard()
            return
        try:
            messages, upgraded, _ = self._active.feed_data(data)
        except Exception as error:  # noqa: BLE001 - the parser raises more than its own errors
            self._fail(BadGateway(debug=f"the upstream's answer is malformed: {type(error).__name__}"))
            return
        payload = self._payload
        if payload is not None:
            if messages:
                self._fail(BadGateway(debug="the upstream answered twice"))
                return
            body = take(payload)
            if payload.is_eof():
                self._complete(data)
                leg.received(body, done=True)
            elif body:
                leg.received(body, done=False)
            return
        self._head_size += len(data)
        if messages:
            self._answered(leg, messages, data, upgraded=upgraded)
        elif self._head_size > MAX_HEAD:
            self._fail(BadGateway(debug="the upstream's head is too large"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self.transport = None
        self.timer.cancel()
        self._endpoint.lost(self)
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        leg = self._leg
        if leg is None:
            return
        self._leg = None
        if self._payload is None:
            leg.failed(BadGateway(debug="the upstream closed before it answered"), retry=self._head_size == 0)
        elif self._close_delimited and exc is None:
            leg.received(b"", done=True)
        else:
            leg.failed(BadGateway(debug="the upstream closed in the middle of its answer"), retry=False)

    def pause_writing(self) -> None:
        """Called by the loop."""
        self._paused = True

    def resume_writing(self) -> None:
        """Called by the loop."""
        self._paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    # -- the response

    def _answered(self, leg: Leg, messages: list[tuple[Message, Body]], data: bytes, *, upgraded: bool) -> None:
        message, payload = messages[0]
        if message.code < 200 or upgraded or len(messages) > 1:
            final = self._skip_informational(leg, messages)
            if final is None or self._leg is not leg:
                return
            message, payload = final
        try:
            head = self._judge(message)
        except BadGateway as error:
            self._fail(error)
            return
        self._payload = payload
        self._response = (message, head)
        body = take(payload) if payload is not NO_BODY else b""
        done = payload.is_eof()
        bodyless = self._head_only or message.code in (204, 304)
        if done:
            self._complete(data)
        leg.responded(message.code, head, body, done=done, bodyless=bodyless)

    def _skip_informational(self, leg: Leg, messages: list[tuple[Message, Body]]) -> tuple[Message, Body] | None:
        """Pass over 1xx; what follows the final answer in the same bytes is an answer nobody asked for."""
        for at, (message, payload) in enumerate(messages):
            if message.code >= 200:
                if at + 1 < len(messages):
                    break
                return message, payload
            if message.code == _SWITCHING:
                self._fail(BadGateway(debug="the upstream switched protocols unasked"))
                return None
            if message.code == _CONTINUE:
                leg.informed()
        else:
            return None
        self._fail(BadGateway(debug="the upstream answered twice"))
        return None

    def _judge(self, message: Message) -> ResponseHead:
        if message.version is not HTTP_11 and message.version is not HTTP_10:
            raise BadGateway(debug="the upstream speaks another version of HTTP")
        head = self._endpoint.rules.render(message.code, message.reason, message.raw_headers)
        if head.chunked and message.version is HTTP_10:
            raise BadGateway(debug="the upstream sent chunks over HTTP/1.0")
        if message.code == 204 and (head.chunked or head.length):
            raise BadGateway(debug="the upstream declared a body for status 204")
        self._close_delimited = head.length is None and not head.chunked
        return head

    def _complete(self, data: bytes) -> None:
        """The response has ended with `data`: keep the connection if nothing speaks against it."""
        assert self._response is not None  # noqa: S101 - a body has a head
        message, head = self._response
        if head.chunked and not self._head_only and not data.endswith(_CHUNKED_END):
            # Trailers stay in aiohttp's parser and would stand among the headers of the next response.
            self._parser = response_parser(self._loop)
        self._active = self._parser
        self._leg = self._payload = self._response = None
        self._head_only = False
        if message.should_close or not self.request_sent or self.transport is None:
            self.discard()
        else:
            now = self._loop.time()
            self.used_at = now
            self.timer.set(now + IDLE_SECONDS)
            self._endpoint.release(self)

    def _fail(self, error: GatewayError) -> None:
        leg = self._leg
        self.discard()
        if leg is not None:
            leg.failed(error, retry=False)

    def _expired(self) -> None:
        if self._leg is None:
            self.discard()
        else:
            self._leg.expired()


class Address(NamedTuple):
    """Where a backend listens, and the path put before the request's."""

    host: str
    port: int
    tls: bool
    netloc: str
    base_path: str


def parse_url(url: str) -> Address:
    """Take an upstream URL apart; raises ValueError for one that cannot be meant."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"upstream {url!r} is not an http URL")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("an upstream URL has a host, a port and a path, nothing else")
    tls = parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    return Address(parts.hostname, port, tls, parts.netloc, parts.path.rstrip("/"))


class Endpoint:
    """A backend and the connections kept to it, the last used first. Their number is bounded by the clients'."""

    def __init__(self, url: str, rules: ResponseRules, tls: ssl.SSLContext | None = None) -> None:
        self.address = parse_url(url)
        self.url = url
        self.host_header = self.address.netloc.encode("ascii")
        self.rules = rules
        self._tls = (tls or ssl.create_default_context()) if self.address.tls else None
        self._idle: list[UpstreamConnection] = []
        self._open: set[UpstreamConnection] = set()

    def take(self, now: float, *, repeatable: bool) -> UpstreamConnection | None:
        """An idle connection fit for the request, or None: then `connect`."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            transport = connection.transport
            if transport is None or transport.is_closing():
                continue
            if not repeatable and now - connection.used_at > FRESH_SECONDS:
                idle.append(connection)
                return None
            return connection
        return None

    async def connect(self, timeout: float) -> UpstreamConnection:
        """A new connection. Raises `BadGateway`."""
        loop = asyncio.get_running_loop()
        address = self.address
        try:
            async with asyncio.timeout(timeout):
                _, connection = await loop.create_connection(
                    lambda: UpstreamConnection(self, loop),
                    address.host,
                    address.port,
                    ssl=self._tls,
                    server_hostname=address.host if self._tls else None,
                )
        except TimeoutError:
            raise BadGateway(debug=f"no connection to {self.url} in time") from None
        except OSError as error:
            raise BadGateway(debug=f"no connection to {self.url}: {error}") from error
        return connection

    def opened(self, connection: UpstreamConnection) -> None:
        """`connection` stands."""
        self._open.add(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        """`connection` is gone."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def release(self, connection: UpstreamConnection) -> None:
        """`connection` may be used again."""
        if len(self._idle) >= MAX_IDLE:
            connection.discard()
        else:
            self._idle.append(connection)

    def close(self) -> None:
        """Close every connection."""
        self._idle.clear()
        for connection in tuple(self._open):
            connection.discard()

    @property
    def open_connections(self) -> int:
        """How many connections stand."""
        return len(self._open)


__all__ = ["NEVER", "Address", "Endpoint", "Leg", "UpstreamConnection", "parse_url"]
