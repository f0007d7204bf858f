"""The id every request carries: made here, or kept when a trusted proxy in front already gave one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import Final

HEADER: Final = "X-Request-Id"
_LENGTH: Final = 32
_POOL: Final = 2048
_PLAIN: Final = re.compile(rb"[A-Za-z0-9._~+/=:@-]{1,128}")


class RequestIds:
    """Makes request ids: 128 random bits as hex. `entropy(n)` gives n random bytes, asked for many ids at once."""

    __slots__ = ("_at", "_entropy", "_pool")

    def __init__(self, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._entropy = entropy
        self._pool = ""
        self._at = 0

    def fresh(self) -> str:
        """An id of our own."""
        start = self._at
        end = start + _LENGTH
        if end > len(self._pool):
            self._pool = self._entropy(_POOL).hex()
            start, end = 0, _LENGTH
        self._at = end
        return self._pool[start:end]

    def of(self, received: Sequence[bytes], *, trusted: bool) -> str:
        """The request's id. `received` are the raw X-Request-Id values; they count only from a `trusted` peer, and
        only when there is exactly one that can go into a log line and a header as it is."""
        if trusted and len(received) == 1 and _PLAIN.fullmatch(received[0]):
            return received[0].decode("ascii")
        return self.fresh()
