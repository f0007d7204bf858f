"""One thread with one connection: units of work go in, results come back to the event loop in batches."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from queue import SimpleQueue
from typing import Any, TypeVar

from gateway.errors import StoreUnavailable
from gateway.stores.errors import translate

T = TypeVar("T")

# More jobs than this in one transaction would make the first of them wait for the last.
MAX_BATCH = 256


class Transaction:
    """What a unit of work may use. `feed_grown` is set by whoever appends to the revocation feed."""

    __slots__ = ("_executemany", "execute", "feed_grown")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.execute = connection.execute
        self._executemany = connection.executemany
        self.feed_grown = False

    def execute_all(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Run one statement for each of `rows`."""
        self._executemany(sql, rows)


class Job:
    """A unit of work and what became of it."""

    __slots__ = ("error", "future", "result", "work")

    def __init__(self, work: Callable[[Transaction], Any], future: asyncio.Future[Any]) -> None:
        self.work = work
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self, transaction: Transaction) -> None:
        """Do the work. Whatever it raises belongs to the caller, never to the thread."""
        try:
            self.result = self.work(transaction)
        except BaseException as error:  # noqa: BLE001 - handed to the caller through its future
            self.error = error

    def deliver(self) -> None:
        """Settle the caller's future, in its loop."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(translate(self.error))
        else:
            self.future.set_result(self.result)


class Lane(ABC):
    """Base of the reader and the writer. Subclasses say how a batch of jobs is run."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._connection = connection
        self._transaction = Transaction(connection)
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[Transaction], T]) -> T:
        """Do `work` in the lane's thread. What a driver raises arrives as an error of the gateway."""
        if self._closed:
            raise StoreUnavailable(debug="the store is closed")
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(Job(work, future))
        return await future

    @property
    def waiting(self) -> int:
        """How many units of work wait for the thread."""
        return self._queue.qsize()

    async def close(self) -> None:
        """Finish what was accepted, then close the connection. Idempotent."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        await asyncio.shield(self._ended)
        self._thread.join()

    @abstractmethod
    def process(self, batch: list[Job]) -> None:
        """Run every job of `batch` and leave a result or an error in each."""

    def delivered(self, batch: list[Job]) -> None:
        """In the event loop: settle the futures of a finished batch."""
        for job in batch:
            job.deliver()

    def _serve(self) -> None:
        more = True
        while more:
            batch, more = self._take()
            if batch:
                self.process(batch)
                self._post(self.delivered, batch)
        self._connection.close()
        self._post(self._ended.set_result, None)

    def _take(self) -> tuple[list[Job], bool]:
        """The next jobs whose callers still wait, and whether there will be more."""
        waiting = [self._queue.get()]
        waiting += [self._queue.get() for _ in range(min(self._queue.qsize(), MAX_BATCH - 1))]
        more = waiting[-1] is not None
        return [job for job in waiting if job is not None and not job.future.cancelled()], more

    def _post(self, callback: Callable[[Any], object], argument: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, argument)
        except RuntimeError:  # the loop is closed: nobody waits for the answer any more
            self._closed = True


class Reader(Lane):
    """Runs reads one by one; each statement sees the latest commit."""

    def process(self, batch: list[Job]) -> None:
        """Run the reads."""
        for job in batch:
            job.run(self._transaction)
