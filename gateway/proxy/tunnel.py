"""An open WebSocket: bytes pass both ways as they come, until one side is gone or the gateway ends it with a Close
frame. No task, no queue: whoever is slow to read holds the other side's transport back."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Final

from gateway.proxy.frames import FrameBoundaries, close_frame
from gateway.proxy.timer import LazyTimer

GOING_AWAY: Final = 1001
SESSION_REVOKED: Final = 4401
_FRAME_SECONDS: Final = 1.0
"""How long a frame under way may take to end before the gateway's Close."""
_LINGER_SECONDS: Final = 5.0
_LINGER_WITHOUT_EOF: Final = 1.0


class Tunnel:
    """Two transports that were connections of HTTP. `on_end` is called once both are closed.

    `idle` is how many seconds of silence end it. `request_size` counts the bytes from the client, `response_size`
    those to it.
    """

    __slots__ = (
        "_ending",
        "_lingering",
        "_on_end",
        "_unread",
        "boundaries",
        "client",
        "idle",
        "loop",
        "pending",
        "request_size",
        "response_size",
        "timer",
        "to_upstream",
        "upstream",
    )

    def __init__(self, client: asyncio.Transport, upstream: asyncio.Transport, idle: float) -> None:
        self.loop = asyncio.get_running_loop()
        self.client: asyncio.Transport | None = client
        self.upstream: asyncio.Transport | None = upstream
        self.to_upstream: asyncio.Transport | None = upstream
        """Where the client's bytes go; None when they go nowhere any more."""
        self.pending: bytes | None = None
        """What is to be written as soon as the frame under way has ended."""
        self.boundaries = FrameBoundaries()
        self.idle = idle
        self.request_size = 0
        self.response_size = 0
        self.timer = LazyTimer(self.loop, self._expired)
        self._ending = False
        self._lingering = False
        self._unread = sys.maxsize  # of what was written, when that was last looked at
        self._on_end: Callable[[Tunnel], None] | None = None

    def open(self, head: bytes, rest: bytes, on_end: Callable[[Tunnel], None], *, congested: bool) -> None:
        """Write the 101 and what the upstream sent with it; `congested`: the client is slow to read already."""
        assert self.client is not None and self.upstream is not None  # noqa: S101, PT018 - both stand in the beginning
        self._on_end = on_end
        self.client.set_protocol(_ClientSide(self))
        self.upstream.set_protocol(_UpstreamSide(self))
        self.timer.set(self.loop.time() + self.idle)
        if congested:
            self.upstream.pause_reading()
        self.client.write(head + rest)
        self.boundaries.feed(rest)
        self.response_size = len(rest)

    def close(self, code: int, reason: bytes) -> None:
        """End it: no byte of the client passes any more, and it gets a Close frame behind the frame under way."""
        if self._ending:
            return
        self._ending = True
        self.to_upstream = None
        if self.client is None:
            return
        frame = b"" if self.boundaries.closed else close_frame(code, reason)
        if self.boundaries.between_frames:
            self.say(frame)
        else:
            self.pending = frame
            self.timer.set(self.loop.time() + _FRAME_SECONDS)

    def finish_frame(self, client: asyncio.Transport, data: bytes) -> None:
        """The upstream sent more of the frame that is to be the last."""
        end = self.boundaries.end_of_frame(data)
        self.response_size += end
        client.write(data[:end])
        if self.boundaries.between_frames and self.pending is not None:
            self.say(b"" if self.boundaries.closed else self.pending)

    def say(self, last: bytes) -> None:
        """Write the last bytes, and give the client time to read them and to close."""
        self.pending = None
        self._lingering = True
        client = self.client
        if self.upstream is not None:
            self.upstream.close()
        if client is None or client.is_closing():
            return
        client.write(last)
        seconds = _LINGER_WITHOUT_EOF
        if client.can_write_eof():
            client.write_eof()
            seconds = _LINGER_SECONDS
        client.resume_reading()
        self.timer.set(self.loop.time() + seconds)

    def abort(self) -> None:
        """Close both at once."""
        for transport in (self.client, self.upstream):
            if transport is not None:
                transport.abort()

    # -- called by the sides

    def client_lost(self) -> None:
        """The client is gone."""
        self.client = None
        self._other_side(self.upstream)

    def upstream_lost(self) -> None:
        """The upstream is gone."""
        self.upstream = self.to_upstream = None
        if self._lingering and self.client is not None:
            return
        self._other_side(self.client)

    def _other_side(self, other: asyncio.Transport | None) -> None:
        """One is gone: close the other behind what it has yet to read."""
        self._ending = True
        self.pending = None
        if other is None:
            self.timer.cancel()
            on_end, self._on_end = self._on_end, None
            if on_end is not None:
                on_end(self)
            return
        other.close()
        self.timer.set(self.loop.time() + _LINGER_SECONDS)

    def _expired(self) -> None:
        if not self._ending:
            self.close(GOING_AWAY, b"idle")
            return
        unread = sum(side.get_write_buffer_size() for side in (self.client, self.upstream) if side is not None)
        if self.pending is None and 0 < unread < self._unread:
            self._unread = unread
            self.timer.set(self.loop.time() + _LINGER_SECONDS)
        else:
            self.abort()


class _ClientSide(asyncio.Protocol):
    """What comes from the client."""

    __slots__ = ("_tunnel",)

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel

    def data_received(self, data: bytes) -> None:
        tunnel = self._tunnel
        upstream = tunnel.to_upstream
        if upstream is not None:
            upstream.write(data)
            tunnel.request_size += len(data)
            tunnel.timer.when = tunnel.loop.time() + tunnel.idle

    def pause_writing(self) -> None:
        if (upstream := self._tunnel.upstream) is not None:
            upstream.pause_reading()

    def resume_writing(self) -> None:
        if (upstream := self._tunnel.upstream) is not None:
            upstream.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._tunnel.client_lost()


class _UpstreamSide(asyncio.Protocol):
    """What comes from the upstream."""

    __slots__ = ("_tunnel",)

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel

    def data_received(self, data: bytes) -> None:
        tunnel = self._tunnel
        client = tunnel.client
        if client is None:
            return
        if tunnel.to_upstream is None:
            if tunnel.pending is not None:
                tunnel.finish_frame(client, data)
            return
        tunnel.boundaries.feed(data)
        client.write(data)
        tunnel.response_size += len(data)
        tunnel.timer.when = tunnel.loop.time() + tunnel.idle

    def pause_writing(self) -> None:
        tunnel = self._tunnel
        if tunnel.to_upstream is not None and tunnel.client is not None:
            tunnel.client.pause_reading()

    def resume_writing(self) -> None:
        if (client := self._tunnel.client) is not None:
            client.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._tunnel.upstream_lost()


class Tunnels:
    """Those that are open, for the day the gateway stops. `draining`: it has come."""

    __slots__ = ("_empty", "_open", "draining")

    def __init__(self) -> None:
        self.draining = False
        self._open: set[Tunnel] = set()
        self._empty: asyncio.Event | None = None

    def __len__(self) -> int:
        return len(self._open)

    def add(self, tunnel: Tunnel) -> None:
        """`tunnel` is open."""
        self._open.add(tunnel)

    def remove(self, tunnel: Tunnel) -> None:
        """`tunnel` has ended."""
        self._open.discard(tunnel)
        if not self._open and self._empty is not None:
            self._empty.set()

    def drain(self) -> None:
        """Tell every client that the gateway goes away."""
        self.draining = True
        for tunnel in tuple(self._open):
            tunnel.close(GOING_AWAY, b"shutting down")

    async def shutdown(self, timeout: float | None) -> None:
        """Close all, at the latest after `timeout` seconds."""
        self.drain()
        if self._open:
            self._empty = asyncio.Event()
            try:
                async with asyncio.timeout(timeout):
                    await self._empty.wait()
            except TimeoutError:
                self.abort()

    def abort(self) -> None:
        """Close all at once."""
        for tunnel in tuple(self._open):
            tunnel.abort()
