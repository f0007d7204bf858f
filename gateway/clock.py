"""Time as a parameter: wall time in epoch seconds for facts, monotonic time for waits."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the gateway asks about time. Tests pass a frozen one."""

    def now(self) -> float:
        """Wall time, seconds since the epoch (UTC)."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards; only differences mean something."""
        ...


class SystemClock:
    """The clock of the machine."""

    __slots__ = ()

    # Asked several times per request: no frame of Python around them.
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
