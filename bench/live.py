"""The origin of what stays open: WebSockets that echo, event streams with a fixed rate.

usage: python -m bench.live PORT

/live/ws echoes. /live/events sends `RATE` events a second, each with the moment it was written, nanoseconds of the
monotonic clock that all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import sys
import time
from typing import ClassVar

from bench import frames

RATE = 100
_SLOTS = 1000 // RATE
_PAD = b" " * 24
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Live(asyncio.Protocol):
    """One connection: a request head first, then frames to echo or events to send."""

    slots: ClassVar[list[set[Live]]] = [set() for _ in range(_SLOTS)]
    opened: ClassVar[int] = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.data, self.echoing, self.slot = b"", False, -1

    def connection_lost(self, error: Exception | None) -> None:
        if self.slot >= 0:
            self.slots[self.slot].discard(self)

    def data_received(self, data: bytes) -> None:
        self.data += data
        if not self.echoing:
            self._head()
        elif self.slot < 0:
            self._echo()

    def _head(self) -> None:
        head, end, rest = self.data.partition(b"\r\n\r\n")
        if not end:
            return
        self.data, self.echoing = rest, True
        key = re.search(rb"(?i)\r\nsec-websocket-key: *(\S+)", head)
        if key is None:
            self.slot = Live.opened % _SLOTS
            Live.opened += 1
            self.slots[self.slot].add(self)
            self.transport.write(_STREAM)
            return
        accept = base64.b64encode(hashlib.sha1(key.group(1) + _MAGIC, usedforsecurity=False).digest())
        upgraded = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        self.transport.write(upgraded + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")

    def _echo(self) -> None:
        answers = []
        while found := frames.take(self.data):
            opcode, payload, used = found
            self.data = self.data[used:]
            answers.append(frames.make(frames.PONG if opcode == frames.PING else opcode, payload))
            if opcode == frames.CLOSE:
                self.transport.write(b"".join(answers))
                self.transport.close()
                return
        if answers:
            self.transport.write(b"".join(answers))


async def _tick(slots: list[set[Live]]) -> None:
    """Every millisecond one slot's turn; turns that were missed are made up for."""
    began, done = time.monotonic(), 0
    while True:
        await asyncio.sleep(0.001)
        due = int((time.monotonic() - began) * 1000)
        for turn in range(done, due):
            for live in slots[turn % _SLOTS]:
                event = b"data: %019d%b\n\n" % (time.monotonic_ns(), _PAD)
                live.transport.write(b"%x\r\n%b\r\n" % (len(event), event))
        done = due


async def main(port: int) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Live, "127.0.0.1", port, backlog=4096)
    async with server:
        await _tick(Live.slots)


if __name__ == "__main__":
    import uvloop

    uvloop.install()
    asyncio.run(main(int(sys.argv[1])))
