"""How the load generator tells that an answer is whole."""

from __future__ import annotations

import socket
from typing import ClassVar

from bench import frames
from bench.requests import AGENT


class Exchange:
    """One connection's exchanges, one after the other. `failed`: the last answer was not what was wanted."""

    __slots__ = ("failed",)

    def __init__(self) -> None:
        self.failed = False

    def open(self, connection: socket.socket) -> None:
        """Do what comes before the first request; the socket blocks still."""

    def begin(self) -> None:
        """A request is sent now."""

    def feed(self, data: memoryview) -> bool:
        """Take bytes; returns whether the answer is whole."""
        raise NotImplementedError


class HttpExchange(Exchange):
    """HTTP/1.1 with Content-Length; the status must be 200."""

    __slots__ = ("_head", "_left")
    WANTED = b"200"

    def begin(self) -> None:
        self._head, self._left = b"", -1

    def feed(self, data: memoryview) -> bool:
        if self._left >= 0:
            self._left -= len(data)
            return self._left <= 0
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = self._head[: end + 2].lower()
        self.failed = head[9:12] != self.WANTED
        start = head.find(b"\r\ncontent-length:")
        if start < 0:  # chunked: none of the origin's answers is, so it must be an error page, and small
            return self._head.endswith(b"0\r\n\r\n")
        length = int(head[start + 17 : head.index(b"\r\n", start + 17)])
        self._left = length - (len(self._head) - end - 4)
        return self._left <= 0


class RefusedExchange(HttpExchange):
    """The status must be 401."""

    __slots__ = ()
    WANTED = b"401"


class Refusal(Exception):
    """The WebSocket handshake was answered with something else than 101."""


class EchoExchange(Exchange):
    """A WebSocket whose messages come back: `MESSAGE` goes out, its echo is awaited. Made by `echo`."""

    __slots__ = ("_data",)
    TOKEN: ClassVar[str] = ""
    MESSAGE: ClassVar[bytes] = b"x" * 64

    def open(self, connection: socket.socket) -> None:
        """Shake hands; raises `Refusal`."""
        connection.sendall(
            f"GET /live/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: {AGENT}\r\nConnection: Upgrade\r\n"
            f"Upgrade: websocket\r\nAuthorization: Bearer {self.TOKEN}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        head = connection.recv(4096)
        while head and b"\r\n\r\n" not in head:
            head += connection.recv(4096)
        if not head.startswith(b"HTTP/1.1 101"):
            raise Refusal(f"answers {head[9:12].decode(errors='replace') or 'nothing'} to the WebSocket handshake")
        self._data = b""

    def feed(self, data: memoryview) -> bool:
        self._data += data
        found = frames.take(self._data)
        if found is None:
            return False
        opcode, payload, used = found
        self._data = self._data[used:]
        self.failed = opcode != frames.TEXT or payload != self.MESSAGE
        return True


def echo(token: str) -> type[EchoExchange]:
    """An exchange for WebSockets that are opened with this token."""
    return type("EchoExchange", (EchoExchange,), {"__slots__": (), "TOKEN": token})
