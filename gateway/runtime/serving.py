"""A gateway on its listeners, from the first request to the last: the same for the only process and for a worker."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from aiohttp import web

from gateway import tasks
from gateway.admin_api.exposition import Snapshot
from gateway.app import Gateway
from gateway.proxy.front import Front
from gateway.runtime.affinity import one_cpu
from gateway.runtime.listeners import Listeners
from gateway.runtime.public import Public
from gateway.runtime.turns import Turns

DRAIN: Final = 10.0
"""Seconds that requests under way have to finish after the signal to stop."""

Checks = Callable[[], Mapping[str, str | None]]
TurnsOf = Callable[[Front], Turns]
T = TypeVar("T")


class Stop:
    """The wish to stop. Expressed twice, nothing more is waited for."""

    def __init__(self) -> None:
        self._wished = asyncio.Event()
        self._hurry = asyncio.Event()

    def __call__(self) -> None:
        """Wish it; the second time, at once."""
        if self._wished.is_set():
            self._hurry.set()
        self._wished.set()

    def wish(self) -> None:
        """Wish it, however often it was said before."""
        self._wished.set()

    def hurry(self) -> None:
        """Wish it at once."""
        self._wished.set()
        self._hurry.set()

    def on(self, *signals: signal.Signals) -> None:
        """Let these signals wish it."""
        if sys.platform != "win32":
            for number in signals:
                asyncio.get_running_loop().add_signal_handler(number, self)

    async def wait(self) -> None:
        """Until it is wished."""
        await self._wished.wait()

    async def unless_hurried(self, work: Coroutine[object, object, object]) -> None:
        """Run `work` to its end, or until the wish is repeated."""
        task = tasks.spawn(work, name="drain")
        hurry = tasks.spawn(self._hurry.wait(), name="hurry")
        await asyncio.wait([task, hurry], return_when=asyncio.FIRST_COMPLETED)
        await tasks.cancel(task)
        await tasks.cancel(hurry)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run the event loop: uvloop where there is one."""
    try:
        import uvloop
    except ImportError:  # not on this platform
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


@asynccontextmanager
async def serving(
    gateway: Gateway,
    listeners: Listeners,
    stop: Stop,
    *,
    nth: int | None = None,
    others: Checks = dict,
    elsewhere: Snapshot | None = None,
    turns: TurnsOf | None = None,
) -> AsyncIterator[None]:
    """Serve inside the block; afterwards stop accepting, and drain. Raises `CannotStart`.

    `nth`: which CPU to begin on; `others`: checks made elsewhere, `elsewhere` gives what is counted there; `turns`:
    with whom the listener is shared.
    """
    # What start-up made stays: a full collection that walks it would stop every request for a while.
    gc.collect()
    gc.freeze()
    public = Public(gateway, listeners.public, turns(gateway.front) if turns is not None else None)
    await public.open()
    # Only now: the password threads keep the CPUs that were there before.
    bound = one_cpu(nth) if gateway.settings.server.cpu_affinity else None
    watch = tasks.spawn(bound.watch(), name="cpu affinity") if bound is not None else None
    probes: web.AppRunner | None = None
    try:
        if listeners.admin is not None:
            probes = await _serve_admin(gateway.admin(others, elsewhere), listeners.admin)
        yield
    finally:
        public.stop()
        await stop.unless_hurried(_drain(gateway, public))
        await public.close()
        if probes is not None:
            await probes.cleanup()
        await tasks.cancel(watch)


async def _drain(gateway: Gateway, public: Public) -> None:
    """Whoever was accepted before has a moment to finish a handshake and to be answered."""
    await gateway.leave()
    await public.close()
    await gateway.drain(DRAIN)


async def _serve_admin(app: web.Application, listener: socket.socket) -> web.AppRunner:
    runner = web.AppRunner(app, access_log=None, handle_signals=False, auto_decompress=False)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    return runner
