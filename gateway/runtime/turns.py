"""Several workers accept from one socket, and share what comes by how many connections each has.

One socket, so that nothing is lost with a worker that leaves. The kernel would give nearly all of a burst to whoever
wakes up first; so a worker that has more than another lets it go first for a few milliseconds.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from collections.abc import Callable
from typing import Final

MOST_WORKERS: Final = 1024
_VACANT: Final = 0xFFFF_FFFF
_COUNT: Final = struct.Struct("=I")
_PAUSE: Final = 0.001
_PATIENCE: Final = 5
"""How many times in a row another worker is let go first."""
_IMPATIENT: Final = 0.1
"""Seconds without consideration, once nobody else came: they are busy, or hang."""


def make_counts(workers: int) -> int:
    """The descriptor of the memory that so many workers share."""
    with tempfile.TemporaryFile() as file:
        descriptor = os.memfd_create("gateway-connections") if hasattr(os, "memfd_create") else os.dup(file.fileno())
    os.ftruncate(descriptor, MOST_WORKERS * _COUNT.size)
    counts = Counts(descriptor)
    for number in range(1, MOST_WORKERS):
        counts.vacant(number)
    counts.workers(workers)
    return descriptor


class Counts:
    """How many connections each worker has, in memory that all of them see."""

    __slots__ = ("_memory",)

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, MOST_WORKERS * _COUNT.size)

    def vacant(self, number: int) -> None:
        """There is no such worker; nobody waits for it."""
        _COUNT.pack_into(self._memory, number % MOST_WORKERS * _COUNT.size, _VACANT)

    def has(self, number: int, connections: int) -> None:
        """Worker `number` has so many."""
        _COUNT.pack_into(self._memory, number % MOST_WORKERS * _COUNT.size, connections)

    def workers(self, count: int) -> None:
        """There are workers 1 to `count`."""
        _COUNT.pack_into(self._memory, 0, min(count, MOST_WORKERS - 1))

    def least(self) -> int:
        """The smallest number any worker has."""
        (workers,) = _COUNT.unpack_from(self._memory)
        counts: tuple[int, ...] = struct.unpack_from(f"={workers}I", self._memory, _COUNT.size)
        return min(counts, default=_VACANT)


class Turns:
    """Whether worker `number` may take the next connection; `connections` tells how many it has now."""

    __slots__ = ("_connections", "_counts", "_impatient_until", "_let_go", "_number")

    def __init__(self, connections: Callable[[], int], counts: Counts, number: int) -> None:
        self._connections = connections
        self._counts = counts
        self._number = number
        self._let_go = 0
        self._impatient_until = 0.0
        counts.has(number, 0)

    def wait(self, now: float) -> float:
        """Seconds to look away, so that a worker with fewer connections can take the next one; 0: take one."""
        own = self._connections()
        self._counts.has(self._number, own)
        if now >= self._impatient_until and own > self._counts.least() + own // 16:
            if self._let_go < _PATIENCE:
                self._let_go += 1
                return _PAUSE
            self._impatient_until = now + _IMPATIENT
        self._let_go = 0
        return 0.0
