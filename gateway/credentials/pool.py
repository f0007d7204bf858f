"""The threads passwords are hashed in: few, of low priority, with a short queue.

A log-in storm may fill them; proxied requests must not notice (one permit per core but one).
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from gateway.errors import TemporarilyUnavailable

T = TypeVar("T")

# The lowest. SCHED_IDLE would be lower still, but a thread that gets next to no time may hold the interpreter's lock.
_NICENESS = 19
_RETRY_AFTER = 2


def default_permits(workers: int = 1) -> int:
    """One worker's share of the cores this process may use but one, at least one. `workers` 0: as many as cores."""
    cores = len(_usable_cpus()) or os.cpu_count() or 1
    return max(1, (cores - 1) // (workers or cores))


class HashPool:
    """Runs blocking work in `permits` threads; at most `queue` pieces wait, more are refused.

    The permit belongs to the thread: a request that is cancelled gives it back only when its hash is done.
    """

    def __init__(self, permits: int, queue: int) -> None:
        self._limit = permits + queue
        self._executor = ThreadPoolExecutor(
            permits, thread_name_prefix="password", initializer=_settle, initargs=(_usable_cpus(),)
        )
        self._lock = threading.Lock()
        self._taken = 0
        self.refused = 0
        """How many pieces of work found the queue full."""

    @property
    def taken(self) -> int:
        """How many pieces of work run or wait."""
        return self._taken

    async def run(self, work: Callable[[], T]) -> T:
        """Wait for `work()` in one of the threads. Raises `TemporarilyUnavailable` at once when the queue is full."""
        return await asyncio.wrap_future(self._submit(work))

    async def close(self) -> None:
        """Drop what waits, let what runs finish."""
        await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        with self._lock:
            if self._taken >= self._limit:
                self.refused += 1
                raise TemporarilyUnavailable(
                    "Too many log-ins at once", debug="password queue full", retry_after=_RETRY_AFTER
                )
            self._taken += 1
        try:
            future = self._executor.submit(work)
        except RuntimeError as closed:
            self._give_back()
            raise TemporarilyUnavailable(debug=f"password pool: {closed}", retry_after=_RETRY_AFTER) from closed
        future.add_done_callback(lambda _: self._give_back())
        return future

    def _give_back(self) -> None:
        with self._lock:
            self._taken -= 1


def _usable_cpus() -> set[int]:
    return os.sched_getaffinity(0) if sys.platform == "linux" else set()


def _settle(cpus: set[int]) -> None:
    """In a new thread: the event loop goes first when both want a core, and one it is bound to is not ours."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        os.sched_setaffinity(0, cpus)
