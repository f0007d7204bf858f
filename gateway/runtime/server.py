"""One worker: listeners first, then the gateway, then requests until a signal, then the drain."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway import tasks
from gateway.app import Gateway, open_gateway
from gateway.clock import SystemClock
from gateway.events import Event, Level, Name
from gateway.runtime.affinity import one_cpu
from gateway.runtime.listeners import bind
from gateway.settings.model import Settings

DRAIN = 10.0
"""Seconds that requests under way have to finish after the signal to stop."""

WhenReady = Callable[[Gateway], Awaitable[None]]


def run(settings: Settings, *, when_ready: WhenReady | None = None) -> None:
    """Serve until SIGTERM or SIGINT. Raises `CannotStart` with one clear line."""
    try:
        import uvloop
    except ImportError:  # not on this platform
        asyncio.run(_serve(settings, when_ready))
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, when_ready))


async def _serve(settings: Settings, when_ready: WhenReady | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        if sys.platform != "win32":
            loop.add_signal_handler(number, stop.set)
    public = bind(settings.server.listen)
    with contextlib.ExitStack() as sockets:
        sockets.callback(public.close)
        admin = None
        if settings.server.admin_listen is not None:
            admin = bind(settings.server.admin_listen)
            sockets.callback(admin.close)
        async with open_gateway(settings, SystemClock()) as gateway:
            # Only now: the password threads keep the CPUs that were there before.
            bound = one_cpu() if settings.server.cpu_affinity else None
            watch = tasks.spawn(bound.watch(), name="cpu affinity") if bound is not None else None
            try:
                await _serve_until(stop, gateway, public, admin, when_ready)
            finally:
                await tasks.cancel(watch)


async def _serve_until(
    stop: asyncio.Event,
    gateway: Gateway,
    public: socket.socket,
    admin: socket.socket | None,
    when_ready: WhenReady | None,
) -> None:
    # What start-up made stays: a full collection that walks it stops every request for 35 ms.
    gc.collect()
    gc.freeze()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(gateway.front, sock=public)
    probes = await _serve_admin(gateway.admin, admin) if admin is not None else None
    try:
        gateway.events.emit(_started(gateway))
        if when_ready is not None:
            await when_ready(gateway)
        await stop.wait()
    finally:
        server.close()
        await gateway.drain(DRAIN)
        if probes is not None:
            await probes.cleanup()
        gateway.events.emit(Event(Name.GATEWAY_STOPPED))


def _started(gateway: Gateway) -> Event:
    server = gateway.settings.server
    fields: dict[str, object] = {"listen": server.listen, "public_url": server.public_url}
    if gateway.warnings:
        fields["warnings"] = gateway.warnings
    return Event(Name.GATEWAY_STARTED, Level.WARNING if gateway.warnings else Level.INFO, fields=fields)


async def _serve_admin(app: web.Application, listener: socket.socket) -> web.AppRunner:
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    return runner
