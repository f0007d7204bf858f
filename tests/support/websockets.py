"""WebSockets as raw bytes: handshakes, frames, and an upstream that answers them in any way a test likes."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import Awaitable, Callable

from gateway.proxy.upgrade import accept_value
from support.proxying import TOKEN, RawUpstream, Script, field_of

KEY = base64.b64encode(bytes(range(16)))
ACCEPT = accept_value(KEY)
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n"
)


def handshake(path: str = "/api/ws", *lines: str, token: bytes | None = TOKEN, connection: str = "Upgrade") -> bytes:
    """A client's handshake as bytes."""
    head = [
        f"GET {path} HTTP/1.1",
        "Host: gateway.test",
        f"Connection: {connection}",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {KEY.decode()}",
    ]
    if token is not None:
        head.append(f"Authorization: Bearer {token.decode()}")
    return "\r\n".join([*head, *lines, "", ""]).encode("latin-1")


def frame(payload: bytes, opcode: int = 2, *, mask: bool = False, fin: bool = True) -> bytes:
    """One frame; the mask is all zeros, so that the payload stays readable."""
    size = len(payload)
    bit = 0x80 if mask else 0
    if size < 126:
        length = bytes([bit | size])
    elif size < 65536:
        length = bytes([bit | 126]) + struct.pack("!H", size)
    else:
        length = bytes([bit | 127]) + struct.pack("!Q", size)
    return bytes([(0x80 if fin else 0) | opcode]) + length + (bytes(4) if mask else b"") + payload


def close_code(frames: bytes) -> int:
    """The code of the one unmasked Close frame that `frames` is."""
    assert frames[0] == 0x88, frames
    assert len(frames) == 2 + frames[1], frames
    return int.from_bytes(frames[2:4], "big")


Then = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def switching(
    then: Then | None = None, *, head: bytes = SWITCHING, rest: bytes = b""
) -> Callable[[RawUpstream], Script]:
    """Answer a handshake with 101, then send back what comes, or do what `then` says."""

    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert field_of(await raw.head(reader), b"Sec-WebSocket-Key") == KEY
            writer.write(head + b"\r\n" + rest)
            await (then or echo)(reader, writer)

        return follow

    return script


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send everything back."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


class RawClient:
    """A client after its handshake was answered. `head` is the answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        self.reader, self.writer, self.head = reader, writer, head


async def connect(port: int, data: bytes | None = None) -> RawClient:
    """Send a handshake and read the answer's head."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data if data is not None else handshake())
    async with asyncio.timeout(5):
        return RawClient(reader, writer, await reader.readuntil(b"\r\n\r\n"))
