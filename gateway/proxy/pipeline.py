"""Pipelined requests with a fault behind them: those that came whole are answered before the fault is."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.proxy.aiohttp_private import Body, Message, Parser

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
