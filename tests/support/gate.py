"""An observer of the SQLite writer that can hold it at any point of a transaction."""

from __future__ import annotations

import asyncio
import threading

from gateway.stores.sqlite import Point


class Gate:
    """Remembers the points it saw; holds the writer at `held_at` until `open` is called."""

    def __init__(self, held_at: Point | None = None) -> None:
        self.points: list[Point] = []
        self.held_at = held_at
        self._arrived = threading.Event()
        self._release = threading.Event()

    def __call__(self, point: Point) -> None:
        self.points.append(point)
        if point is self.held_at:
            self.held_at = None
            self._arrived.set()
            assert self._release.wait(10)

    def hold(self, point: Point) -> None:
        """Hold the writer when it next passes `point`."""
        self._arrived.clear()
        self._release.clear()
        self.held_at = point

    async def reached(self) -> None:
        """Wait until the writer is held."""
        assert await asyncio.to_thread(self._arrived.wait, 10)

    def open(self) -> None:
        """Let the writer go on."""
        self._release.set()
