"""Requests as aiohttp's C parser tells of them, as far as that is used; test_aiohttp_private.py watches it."""

from __future__ import annotations

from typing import Any, Final, Protocol

from aiohttp.http_writer import HttpVersion10, HttpVersion11
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader


class Message(Protocol):
    """The C parser's messages."""

    method: str
    path: str
    version: tuple[int, int]
    raw_headers: tuple[tuple[bytes, bytes], ...]
    should_close: bool
    upgrade: bool
    chunked: bool
    headers: Any


Body = StreamReader
NO_BODY: Final = EMPTY_PAYLOAD
# The parser hands out these two objects for these two versions, so that `is` tells.
HTTP_10: Final = HttpVersion10
HTTP_11: Final = HttpVersion11


class Parser(Protocol):
    """What is used of aiohttp's C parser."""

    def feed_data(self, data: bytes) -> tuple[list[tuple[Message, Body]], bool, bytes]:
        """New messages, whether the protocol changes after them, and the bytes behind that."""
        ...


def take(body: Body) -> bytes:
    """All that has arrived of a body, without waiting."""
    return body.read_nowait(-1) if body._buffer else b""
