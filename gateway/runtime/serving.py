"""A gateway on its listeners, from the first request to the last: the same for the only process and for a worker."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol, TypeVar

from aiohttp import web

from gateway import tasks
from gateway.app import Gateway
from gateway.proxy.front import Front
from gateway.runtime.affinity import one_cpu
from gateway.runtime.listeners import Listeners

DRAIN: Final = 10.0
"""Seconds that requests under way have to finish after the signal to stop."""

Checks = Callable[[], Mapping[str, str | None]]
T = TypeVar("T")


class Accepting(Protocol):
    """What accepts connections."""

    def close(self) -> None:
        """Accept no more."""
        ...


Accept = Callable[[socket.socket, Front], Accepting]


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
    accept: Accept | None = None,
) -> AsyncIterator[None]:
    """Serve inside the block; afterwards stop accepting, and drain.

    `nth`: which CPU to begin on; `others`: checks made elsewhere; `accept`: in the place of the loop's own server.
    """
    # What start-up made stays: a full collection that walks it would stop every request for a while.
    gc.collect()
    gc.freeze()
    # Only now: the password threads keep the CPUs that were there before.
    bound = one_cpu(nth) if gateway.settings.server.cpu_affinity else None
    watch = tasks.spawn(bound.watch(), name="cpu affinity") if bound is not None else None
    if accept is not None:
        server: Accepting = accept(listeners.public, gateway.front)
    else:
        server = await asyncio.get_running_loop().create_server(gateway.front, sock=listeners.public)
    probes = await _serve_admin(gateway.admin(others), listeners) if listeners.admin is not None else None
    try:
        yield
    finally:
        server.close()
        await stop.unless_hurried(gateway.drain(DRAIN))
        if probes is not None:
            await probes.cleanup()
        await tasks.cancel(watch)


async def _serve_admin(app: web.Application, listeners: Listeners) -> web.AppRunner:
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    assert listeners.admin is not None  # noqa: S101 - asked by the caller
    await web.SockSite(runner, listeners.admin).start()
    return runner
