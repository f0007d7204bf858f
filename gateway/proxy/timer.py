"""A deadline that is moved on every request and costs a timer only when it comes near."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

NEVER: Final = float("inf")


class LazyTimer:
    """Calls `on_expiry` once `when` has passed. Moving it later is one assignment: the armed timer looks again."""

    __slots__ = ("_armed_for", "_handle", "_loop", "_on_expiry", "when")

    def __init__(self, loop: asyncio.AbstractEventLoop, on_expiry: Callable[[], None]) -> None:
        self._loop = loop
        self._on_expiry = on_expiry
        self._handle: asyncio.TimerHandle | None = None
        self._armed_for = NEVER
        self.when = NEVER

    def set(self, when: float) -> None:
        """Expire at loop time `when`; `NEVER` switches the timer off."""
        self.when = when
        if when < self._armed_for:
            self._arm(when)

    def cancel(self) -> None:
        """Never expire, and let go of the owner."""
        self.when = NEVER
        self._armed_for = NEVER
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self, when: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._armed_for = when
        self._handle = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        self._handle = None
        self._armed_for = NEVER
        if self.when == NEVER:
            return
        # Loops round timers to their clock's resolution, so a timer may come a hair early.
        if self._loop.time() + 0.001 < self.when:
            self._arm(self.when)
            return
        self.when = NEVER
        self._on_expiry()
