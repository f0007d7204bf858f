"""What supervisor and worker say to each other: JSON objects, one a line, over a pair of sockets."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any, Final, cast

Message = dict[str, Any]

_MOST_UNSENT: Final = 4 * 1024 * 1024


class Channel(asyncio.Protocol):
    """One end. `on_closed` is called once, when the other process has closed its end or is gone."""

    def __init__(self, on_message: Callable[[Message], None], on_closed: Callable[[], None]) -> None:
        self._on_message = on_message
        self._on_closed = on_closed
        self._partial = b""
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def over(
        cls, sock: socket.socket, on_message: Callable[[Message], None], on_closed: Callable[[], None]
    ) -> Channel:
        """A channel over `sock`, which it closes in the end."""
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_unix_connection(lambda: cls(on_message, on_closed), sock=sock)
        return channel

    def send(self, message: Message) -> None:
        """Never waits. What a process that has stopped reading does not take is dropped."""
        transport = self._transport
        if transport is not None and not transport.is_closing() and transport.get_write_buffer_size() < _MOST_UNSENT:
            transport.write(encode(message))

    def close(self) -> None:
        """Say no more."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._on_message(json.loads(line))

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._transport = None
        self._on_closed()


def encode(message: Message) -> bytes:
    """A message as it is sent."""
    return json.dumps(message).encode() + b"\n"


def read_first(sock: socket.socket) -> Message:
    """The first message, waited for before there is an event loop. Raises EOFError when none comes.

    What was said after it stays in the socket, for the channel that comes next.
    """
    data = b""
    while not data.endswith(b"\n"):
        waiting = sock.recv(65536, socket.MSG_PEEK)
        if not waiting:
            raise EOFError("the supervisor is gone")
        data += sock.recv(waiting.find(b"\n") + 1 or len(waiting))
    message: Message = json.loads(data)
    return message
