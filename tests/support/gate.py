"""Holding a store before its commit: an observer of the SQLite writer, and its like for PostgreSQL."""

from __future__ import annotations

import asyncio
import threading

from gateway.stores.bundle import Stores
from gateway.stores.postgres.driver import Connection
from gateway.stores.postgres.sessions import PostgresSessions
from gateway.stores.sqlite import Point


class Gate:
    """Remembers the points it saw; holds the writer at `held_at` until `open` is called."""

    def __init__(self, held_at: Point | None = None) -> None:
        self.points: list[Point] = []
        self.held_at = held_at
        self.skip = 0
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


class AsyncGate:
    """Holds the next commit of a PostgreSQL store after `skip` others."""

    def __init__(self, stores: Stores) -> None:
        assert isinstance(stores.sessions, PostgresSessions)
        work = stores.sessions._work
        self._commit = work.commit
        self.skip = 0
        self._holding = False
        self._arrived = asyncio.Event()
        self._release = asyncio.Event()
        work.commit = self._held  # type: ignore[method-assign]

    def hold(self, point: Point) -> None:
        """Hold the next commit."""
        assert point is Point.BEFORE_COMMIT
        self._arrived.clear()
        self._release.clear()
        self._holding = True

    async def reached(self) -> None:
        """Wait until a commit is held."""
        async with asyncio.timeout(10):
            await self._arrived.wait()

    def open(self) -> None:
        """Let it go on."""
        self._release.set()

    async def _held(self, connection: Connection) -> None:
        if self._holding and self.skip:
            self.skip -= 1
        elif self._holding:
            self._holding = False
            self._arrived.set()
            async with asyncio.timeout(10):
                await self._release.wait()
        await self._commit(connection)
