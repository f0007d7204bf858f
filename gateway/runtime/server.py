"""The gateway as one process: listeners first, then the gateway, then requests until a signal, then the drain."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing

from gateway import tasks
from gateway.app import Gateway, open_gateway
from gateway.changes import How
from gateway.clock import SystemClock
from gateway.events import Event, Name
from gateway.runtime.listeners import Listeners, allow_many_connections
from gateway.runtime.notify import Notifier
from gateway.runtime.reload import Reloader, Source
from gateway.runtime.serving import Stop, serving
from gateway.runtime.serving import run as run_loop
from gateway.runtime.started import started
from gateway.settings.model import Settings

WhenReady = Callable[[Gateway], Awaitable[None]]


def run(settings: Settings, *, source: Source | None = None, when_ready: WhenReady | None = None) -> None:
    """Serve until SIGTERM or SIGINT. Raises `CannotStart` with one clear line.

    With a `source` the configuration is read from there again on SIGHUP.
    """
    allow_many_connections()
    run_loop(_serve(settings, source, when_ready))


async def _serve(settings: Settings, source: Source | None, when_ready: WhenReady | None) -> None:
    stop, notifier = Stop(), Notifier()
    stop.on(signal.SIGTERM, signal.SIGINT)
    with closing(Listeners.bind(settings.server)) as listeners:
        async with open_gateway(settings, SystemClock()) as gateway:
            alive = tasks.spawn(notifier.keep_alive(), name="watchdog")
            try:
                async with serving(gateway, listeners, stop):
                    gateway.events.emit(started(settings, gateway.warnings))
                    if when_ready is not None:
                        await when_ready(gateway)
                    reload = _follow(gateway, source, notifier) if source is not None else None
                    notifier.ready()
                    await stop.wait()
                    await tasks.cancel(reload)
                    notifier.stopping()
            finally:
                await tasks.cancel(alive)
            gateway.events.emit(Event(Name.GATEWAY_STOPPED))


def _follow(gateway: Gateway, source: Source, notifier: Notifier) -> asyncio.Task[object]:
    async def apply(settings: Settings, _: How) -> None:
        (await gateway.prepare(settings))()

    reloader = Reloader(source, gateway.settings, gateway.events, notifier, apply, most=How.SWAP)
    if sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloader.ask)
    return tasks.spawn(reloader.follow(), name="reload")
