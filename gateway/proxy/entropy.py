"""Random bytes in small portions without a system call for each: request ids are made on every request."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

_POOL: Final = 4096


class PooledEntropy:
    """Hands out bytes of `source` that it fetches 4 KiB at a time. No byte is handed out twice.

    For ids, not for keys: what is in the pool stays in memory for a while. Not to be shared across a fork.
    """

    __slots__ = ("_at", "_pool", "_source")

    def __init__(self, source: Callable[[int], bytes] = os.urandom) -> None:
        self._source = source
        self._pool = b""
        self._at = 0

    def __call__(self, size: int) -> bytes:
        """`size` random bytes."""
        start = self._at
        end = start + size
        if end > len(self._pool):
            self._pool = self._source(max(_POOL, size))
            start, end = 0, size
        self._at = end
        return self._pool[start:end]
