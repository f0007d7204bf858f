"""What a client may not do with a request: send a head without measure, or a body drop by drop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.proxy.messages import Body, Message
    from gateway.proxy.ports import ClientLimits


class BodyWatch:
    """One `body_window` of a body. `received` counts the bytes of the body at its beginning.

    `held_back`: in this time the gateway did not always read, so that what did not come is not the client's fault.
    """

    __slots__ = ("_received", "held_back")

    def __init__(self, received: int, *, held_back: bool) -> None:
        self._received = received
        self.held_back = held_back

    def too_slow(self, received: int, limits: ClientLimits) -> bool:
        """Whether less came in the window, which is over, than `body_rate` asks for."""
        return not self.held_back and received - self._received < limits.body_rate * limits.body_window


def has_large_head(messages: Sequence[tuple[Message, Body]], limit: int) -> bool:
    """Whether one of the requests that came with one read has a head over `limit` bytes."""
    return any(
        len(message.path) + sum(len(name) + len(value) + 4 for name, value in message.raw_headers) > limit
        for message, _ in messages
    )
