"""One worker: listeners first, then the gateway, then requests until a signal, then the drain."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from aiohttp import web

from gateway import tasks
from gateway.app import Gateway, open_gateway
from gateway.clock import SystemClock
from gateway.events import Event, Level, Name
from gateway.runtime.acceptor import Acceptor
from gateway.runtime.affinity import one_cpu
from gateway.runtime.listeners import allow_many_connections, bind
from gateway.runtime.tls import TlsKeeper
from gateway.settings.check_server import tls_files
from gateway.settings.model import Settings
from gateway.settings.types import unix_path

DRAIN = 10.0
"""Seconds that requests under way have to finish after the signal to stop."""

WhenReady = Callable[[Gateway], Awaitable[None]]


def run(settings: Settings, *, when_ready: WhenReady | None = None) -> None:
    """Serve until SIGTERM or SIGINT. Raises `CannotStart` with one clear line."""
    allow_many_connections()
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
    mode = int(settings.server.socket_mode, 8)
    with contextlib.ExitStack() as sockets:
        public = sockets.enter_context(listening(settings.server.listen, mode))
        admin = None
        if settings.server.admin_listen is not None:
            admin = sockets.enter_context(listening(settings.server.admin_listen, mode))
        async with open_gateway(settings, SystemClock()) as gateway:
            # Only now: the password threads keep the CPUs that were there before.
            bound = one_cpu() if settings.server.cpu_affinity else None
            watch = tasks.spawn(bound.watch(), name="cpu affinity") if bound is not None else None
            try:
                await _serve_until(stop, gateway, public, admin, when_ready)
            finally:
                await tasks.cancel(watch)


@contextlib.contextmanager
def listening(address: str, mode: int) -> Iterator[socket.socket]:
    """A listening socket; the file of a unix socket goes with it, unless somebody has put another there since."""
    listener = bind(address, mode)
    name = unix_path(address)
    path = Path(name) if name is not None else None
    made = path.stat() if path is not None else None
    try:
        yield listener
    finally:
        listener.close()
        if path is not None and made is not None:
            with contextlib.suppress(OSError):
                if os.path.samestat(path.stat(), made):
                    path.unlink()


class _Public:
    """The public listener, served by the loop itself, or one by one where something comes before HTTP."""

    def __init__(self, gateway: Gateway, listener: socket.socket) -> None:
        self._front = gateway.front
        self._events = gateway.events
        self._settings = gateway.settings.server
        self._listener = listener
        self._server: asyncio.Server | None = None
        self._acceptor: Acceptor | None = None
        self._watch: asyncio.Task[object] | None = None

    async def open(self) -> None:
        """Begin to serve. Raises `CannotStart` where the certificate cannot be used."""
        settings = self._settings
        keeper = TlsKeeper(tls_files(settings.tls), self._events) if settings.tls is not None else None
        if keeper is None and not settings.proxy_protocol:
            self._server = await asyncio.get_running_loop().create_server(self._front, sock=self._listener)
            return
        context = (lambda: keeper.context) if keeper is not None else None
        self._acceptor = Acceptor(self._front, self._listener, proxies=settings.proxy_protocol, context=context)
        if keeper is not None:
            self._watch = tasks.spawn(keeper.watch(), name="tls certificate")

    async def close(self) -> None:
        """Take no more connections."""
        if self._server is not None:
            self._server.close()
        if self._acceptor is not None:
            self._acceptor.close()
            await self._acceptor.wait_closed()
        await tasks.cancel(self._watch)


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
    server = _Public(gateway, public)
    await server.open()
    probes = await _serve_admin(gateway.admin, admin) if admin is not None else None
    try:
        gateway.events.emit(_started(gateway))
        if when_ready is not None:
            await when_ready(gateway)
        await stop.wait()
    finally:
        await server.close()
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
