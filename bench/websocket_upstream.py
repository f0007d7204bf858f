"""A WebSocket upstream that costs nothing: it answers a handshake with 101 and sends every byte back.

usage: python -m bench.websocket_upstream PORT
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import resource
import sys

KEY = base64.b64encode(bytes(16))
_ACCEPT = base64.b64encode(hashlib.sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
_ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: " + _ACCEPT + b"\r\n\r\n"
)


def enough_files(count: int) -> None:
    """Let this process, and those it starts, open `count` files. Raises ValueError when that is not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


class Echo(asyncio.Protocol):
    """One connection. Every handshake has the bench's key."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self.transport: asyncio.WriteTransport = transport  # type: ignore[assignment]
        self.head = b""
        self.open = False

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if self.open:
            self.transport.write(data)
            return
        self.head += data
        if self.head.endswith(b"\r\n\r\n"):
            self.open = True
            self.transport.write(_ANSWER)


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve(int(sys.argv[1])))
