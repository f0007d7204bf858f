"""Connections to a backend: kept alive, each with one persistent C parser, one request at a time, framing checked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from gateway.errors import BadGateway, GatewayError
from gateway.proxy.aiohttp_private import HTTP_10, HTTP_11, NO_BODY, Body, Message, Parser, response_parser, take
from gateway.proxy.response_head import MAX_HEAD, ResponseHead
from gateway.proxy.timer import LazyTimer

if TYPE_CHECKING:
    from gateway.proxy.endpoint import Endpoint

IDLE_SECONDS: Final = 30.0
_START: Final = b"HTTP/1."
_HEAD_END: Final = b"\r\n\r\n"
_CHUNKED_END: Final = b"\r\n0\r\n\r\n"
# What the bytes that come next are.
_HEAD: Final = 0
_COUNTED: Final = 1
_CHUNKED: Final = 2
_UNTIL_CLOSE: Final = 3
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

    def switched(self, connection: UpstreamConnection, head: ResponseHead, message: Message, rest: bytes) -> None:
        """The upstream said 101 and then `rest`. Raises for a 101 that is no answer; else `detach` follows."""
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
    """One connection. aiohttp's parser reads the heads and decodes chunks; counted bodies pass through untouched."""

    __slots__ = (
        "_body",
        "_chunk_parser",
        "_close",
        "_drained",
        "_endpoint",
        "_head_only",
        "_heard",
        "_held",
        "_left",
        "_leg",
        "_loop",
        "_next",
        "_parser",
        "_partial",
        "_paused",
        "request_sent",
        "timer",
        "transport",
        "used_at",
    )

    def __init__(self, endpoint: Endpoint, loop: asyncio.AbstractEventLoop) -> None:
        self._endpoint = endpoint
        self._loop = loop
        self._parser = response_parser(loop, with_body=False)
        self._chunk_parser: Parser | None = None
        self._leg: Leg | None = None
        self._next = _HEAD
        self._partial = b""
        self._left = 0
        self._body: Body = NO_BODY
        self._close = False
        self._head_only = False
        self._heard = False
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
        self._heard = False
        self._head_only = head_only
        self.request_sent = whole
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

    def detach(self) -> asyncio.Transport:
        """Give the transport away: what comes next is not HTTP, and none of this connection's business."""
        transport = self.transport
        assert transport is not None  # noqa: S101 - bytes came over it just now
        self._leg = None
        self.connection_lost(None)
        return transport

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
        coming = self._next
        if coming == _HEAD:
            self._heard = True
            self._read_head(leg, self._partial + data if self._partial else data)
        elif coming == _COUNTED:
            left = self._left = self._left - len(data)
            if left > 0:
                leg.received(data, done=False)
            elif left == 0:
                self._complete()
                leg.received(data, done=True)
            else:
                self._fail(BadGateway(debug="the upstream's answer is longer than it says"))
        elif coming == _CHUNKED:
            self._read_chunks(leg, data)
        else:
            leg.received(data, done=False)

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
        if self._next == _HEAD:
            leg.failed(BadGateway(debug="the upstream closed before it answered"), retry=not self._heard)
        elif self._next == _UNTIL_CLOSE and exc is None:
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

    def _read_head(self, leg: Leg, data: bytes) -> None:
        """Read the final head, passing over 1xx ones."""
        while True:
            end = data.find(_HEAD_END) + 4
            if end < 4:
                self._partial = data
                if len(data) > MAX_HEAD or b"\n\n" in data or not _begins(data):
                    self._fail(BadGateway(debug="the upstream's head has no proper end"))
                return
            try:
                [(message, _)], _, _ = self._parser.feed_data(data[:end])
            except Exception as error:  # noqa: BLE001 - the parser raises more than its own errors
                self._fail(BadGateway(debug=f"the upstream's answer is malformed: {type(error).__name__}"))
                return
            if message.code >= 200:
                break
            if message.code == _SWITCHING:
                self._switch(leg, message, data[end:])
                return
            if message.code == _CONTINUE:
                leg.informed()
            data = data[end:]
            if not data or self._leg is not leg:
                self._partial = b""
                return
        self._partial = b""
        try:
            self._answered(leg, message, data, end)
        except BadGateway as error:
            self._fail(error)

    def _switch(self, leg: Leg, message: Message, rest: bytes) -> None:
        self._partial = b""
        try:
            leg.switched(self, self._judge(message), message, rest)
        except GatewayError as error:
            self._fail(error)

    def _answered(self, leg: Leg, message: Message, data: bytes, end: int) -> None:
        head = self._judge(message)
        status = message.code
        self._close = message.should_close
        bodyless = self._head_only or status == 204 or status == 304
        body = data[end:]
        done = False
        if bodyless or head.length is not None:
            left = self._left = (0 if bodyless else head.length or 0) - len(body)
            if left < 0:
                raise BadGateway(debug="the upstream's answer is longer than it says")
            self._next = _COUNTED
            done = left == 0
            if done:
                self._complete()
        elif head.chunked:
            self._next = _CHUNKED
            body, done = self._first_chunks(data)
        else:
            self._next = _UNTIL_CLOSE
        leg.responded(status, head, body, done=done, bodyless=bodyless)

    def _first_chunks(self, data: bytes) -> tuple[bytes, bool]:
        """Hand a chunked answer, head and all, to the parser that decodes chunks."""
        parser = self._chunk_parser
        if parser is None:
            parser = self._chunk_parser = response_parser(self._loop)
        try:
            [(_, self._body)], _, _ = parser.feed_data(data)
        except Exception as error:
            raise BadGateway(debug=f"the upstream's chunks are malformed: {type(error).__name__}") from error
        body, done = take(self._body), self._body.is_eof()
        if done:
            self._complete(data)
        return body, done

    def _read_chunks(self, leg: Leg, data: bytes) -> None:
        assert self._chunk_parser is not None  # noqa: S101 - made for the first chunks
        try:
            messages, _, _ = self._chunk_parser.feed_data(data)
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(BadGateway(debug=f"the upstream's chunks are malformed: {type(error).__name__}"))
            return
        if messages:
            self._fail(BadGateway(debug="the upstream answered twice"))
            return
        body = take(self._body)
        if self._body.is_eof():
            self._complete(data)
            leg.received(body, done=True)
        elif body:
            leg.received(body, done=False)

    def _judge(self, message: Message) -> ResponseHead:
        if message.version is not HTTP_11 and message.version is not HTTP_10:
            raise BadGateway(debug="the upstream speaks another version of HTTP")
        head = self._endpoint.rules.render(message.code, message.reason, message.raw_headers)
        if head.chunked and message.version is HTTP_10:
            raise BadGateway(debug="the upstream sent chunks over HTTP/1.0")
        if message.code == 204 and (head.chunked or head.length):
            raise BadGateway(debug="the upstream declared a body for status 204")
        return head

    def _complete(self, chunked: bytes | None = None) -> None:
        """The response has ended, `chunked` being the bytes that ended one: keep the connection if nothing speaks
        against it."""
        if chunked is not None:
            self._body = NO_BODY
            if not chunked.endswith(_CHUNKED_END):
                # Trailers stay in aiohttp's parser and would stand among the headers of the next response. Part of a
                # second response would be lost with the parser, and its rest taken for the answer to somebody else.
                self._chunk_parser = None
                self._close = self._close or not (chunked.endswith(_HEAD_END) or _HEAD_END.endswith(chunked))
        self._leg = None
        self._next = _HEAD
        if self._close or not self.request_sent or self.transport is None:
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


def _begins(data: bytes) -> bool:
    """Whether part of a head could become one."""
    return data.startswith(_START) or _START.startswith(data)
