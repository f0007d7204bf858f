"""Connections to a backend: kept alive, one request at a time, framing checked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from gateway.errors import BadGateway, GatewayError
from gateway.proxy.chunks import ChunkDecoder
from gateway.proxy.headers import RawHeaders
from gateway.proxy.response_head import MAX_HEAD, ResponseHead, fields_of
from gateway.proxy.timer import LazyTimer

if TYPE_CHECKING:
    from gateway.proxy.endpoint import Endpoint

IDLE_SECONDS: Final = 30.0
MAX_INTERIM: Final = 16
_START: Final = b"HTTP/1."
_HEAD_END: Final = b"\r\n\r\n"
# What the bytes that come next are.
_HEAD: Final = 0
_COUNTED: Final = 1
_CHUNKED: Final = 2
_UNTIL_CLOSE: Final = 3
_CONTINUE: Final = 100
_SWITCHING: Final = 101


class Leg(Protocol):
    """What a connection tells whoever sent a request over it. After `done` or `failed` nothing more is told."""

    def body_came(self) -> None:
        """The upstream has read: more of the request may be written."""
        ...

    def informed(self) -> None:
        """The upstream said 100 Continue."""
        ...

    def hinted(self, head: bytes) -> None:
        """Another interim head came (RFC 9110 15.2), checked like a final one; it ends in CRLF but is not closed."""
        ...

    def responded(self, status: int, head: ResponseHead, body: bytes, *, done: bool, bodyless: bool) -> None:
        """The final head, with what came of the body. `bodyless`: no body belongs to it, whatever it declares."""
        ...

    def switched(self, connection: UpstreamConnection, head: ResponseHead, fields: RawHeaders, rest: bytes) -> None:
        """The upstream said 101, with `fields` in its head and `rest` behind it. Raises for a 101 that is no answer;
        else `detach` follows."""
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
    """One connection. Counted bodies pass through untouched.

    `trailers` are the lines behind the chunked body that ended last, each ended by CRLF, checked like headers.
    """

    __slots__ = (
        "_chunks",
        "_close",
        "_endpoint",
        "_head_only",
        "_heard",
        "_held",
        "_hop_by_hop",
        "_interim",
        "_left",
        "_leg",
        "_loop",
        "_next",
        "_partial",
        "_paused",
        "request_sent",
        "timer",
        "trailers",
        "transport",
        "used_at",
    )

    def __init__(self, endpoint: Endpoint, loop: asyncio.AbstractEventLoop) -> None:
        self._endpoint = endpoint
        self._loop = loop
        self._chunks: ChunkDecoder | None = None
        self._hop_by_hop: frozenset[bytes] = frozenset()
        self._interim = 0
        self._leg: Leg | None = None
        self._next = _HEAD
        self._partial = b""
        self._left = 0
        self._close = False
        self._head_only = False
        self._heard = False
        self._held = False
        self._paused = False
        self.transport: asyncio.Transport | None = None
        self.timer = LazyTimer(loop, self._expired)
        self.request_sent = True
        self.trailers = b""
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
        """Whether the upstream is slow to read: write no more until `body_came`."""
        return self._paused

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
        if self._leg is not None:
            self._leg.body_came()

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
                head = self._endpoint.rules.read(data[:end])
                if head.status >= 200:
                    break
                if head.status == _SWITCHING:
                    self._switch(leg, head, data[:end], data[end:])
                    return
                self._inform(leg, head)
            except BadGateway as error:
                self._fail(error)
                return
            data = data[end:]
            if not data or self._leg is not leg:
                self._partial = b""
                return
        self._partial = b""
        if self._interim:
            self._interim = 0
        try:
            self._answered(leg, head, data[end:])
        except BadGateway as error:
            self._fail(error)

    def _switch(self, leg: Leg, head: ResponseHead, raw: bytes, rest: bytes) -> None:
        self._partial = b""
        try:
            leg.switched(self, head, fields_of(raw), rest)
        except GatewayError as error:
            self._fail(error)

    def _answered(self, leg: Leg, head: ResponseHead, body: bytes) -> None:
        status = head.status
        self._close = head.close
        if status == 204 and (head.chunked or head.length):
            raise BadGateway(debug="the upstream declared a body for status 204")
        bodyless = self._head_only or status == 204 or status == 304
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
            if self._chunks is None:
                self._chunks = ChunkDecoder()
            self._chunks.start()
            self._hop_by_hop = head.hop_by_hop
            body, done = self._decode(body)
        else:
            self._next = _UNTIL_CLOSE
            self.trailers = b""
        leg.responded(status, head, body, done=done, bodyless=bodyless)

    def _inform(self, leg: Leg, head: ResponseHead) -> None:
        """Tell of an interim head. Raises `BadGateway`."""
        self._interim += 1
        if self._interim > MAX_INTERIM:
            raise BadGateway(debug="the upstream sends interim heads without end")
        if head.status == _CONTINUE:
            leg.informed()
        else:
            leg.hinted(head.head)

    def _decode(self, data: bytes) -> tuple[bytes, bool]:
        """The payload in `data`, and whether the body ended with it. Raises `BadGateway`."""
        chunks = self._chunks
        assert chunks is not None  # noqa: S101 - made with the head
        body = chunks.feed(data)
        if not chunks.done:
            return body, False
        if chunks.rest:
            raise BadGateway(debug="the upstream's answer is longer than it says")
        fields = chunks.trailers
        self.trailers = self._endpoint.rules.trailers(fields, self._hop_by_hop) if fields else b""
        self._complete()
        return body, True

    def _read_chunks(self, leg: Leg, data: bytes) -> None:
        try:
            body, done = self._decode(data)
        except BadGateway as error:
            self._fail(error)
            return
        if body or done:
            leg.received(body, done=done)

    def _complete(self) -> None:
        """The response has ended: keep the connection if nothing speaks against it."""
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
