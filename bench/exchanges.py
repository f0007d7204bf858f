"""How the load generator tells that an answer is whole."""

from __future__ import annotations

import socket


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
