"""Beside a client's connection: its parser, its reset, and pipelined requests with a fault behind them, of which those
that came whole are answered before the fault is.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Final, cast

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpRequestParser

from gateway.errors import GatewayError
from gateway.proxy.ports import ClientLimits

if TYPE_CHECKING:
    from gateway.proxy.messages import Body, Message, Parser

BUFFER: Final = 64 * 1024
_LINGER_ZERO: Final = struct.pack("ii", 1, 0)
HEAD_END: Final = b"\r\n\r\n"


class Garbled:
    """Stands in the queue where the bytes stopped being HTTP."""

    __slots__ = ("error",)

    def __init__(self, error: GatewayError) -> None:
        self.error = error


def whole_requests(parser: Parser, data: bytes, most: int) -> list[tuple[Message, Body]]:
    """The requests in front of the fault in `data`, which begins with one: `parser` is new and is fed a head at a time.

    Stops in front of chunked bodies and upgrades, behind which nothing must be read, and after about `most`.
    """
    found: list[tuple[Message, Body]] = []
    at = 0
    with contextlib.suppress(Exception):  # the fault itself
        while len(found) < most and (end := data.find(HEAD_END, at)) >= 0:
            messages, _, _ = parser.feed_data(data[at : end + 4])
            found += messages
            at = end + 4
    whole = []
    for message, payload in found:
        if message.chunked or message.upgrade or not payload.is_eof() or payload.exception() is not None:
            break
        whole.append((message, payload))
    return whole


def request_parser(connection: BaseProtocol, loop: asyncio.AbstractEventLoop, limits: ClientLimits) -> Parser:
    """A parser as a client's connection has it."""
    parser = HttpRequestParser(
        connection,
        loop,
        BUFFER,
        max_line_size=limits.line_size,
        max_headers=limits.fields,
        max_field_size=limits.field_size,
        auto_decompress=False,
    )
    return cast("Parser", parser)


def reset(transport: asyncio.Transport) -> None:
    """Close at once, and let the kernel answer with RST instead of FIN."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    transport.abort()
