"""The public listener of a process."""

from __future__ import annotations

import asyncio
import socket

from gateway import tasks
from gateway.app import Gateway
from gateway.runtime.acceptor import Acceptor
from gateway.runtime.tls import TlsKeeper
from gateway.runtime.turns import Turns
from gateway.settings.check_server import tls_files
from gateway.telemetry.metrics import Kind


class Public:
    """The public listener, served by the loop itself, or one by one where something comes before HTTP or others take
    turns at it.
    """

    def __init__(self, gateway: Gateway, listener: socket.socket, turns: Turns | None = None) -> None:
        self._front = gateway.front
        self._events = gateway.events
        self._settings = gateway.settings.server
        self._read_metrics = gateway.telemetry.metrics.read_from
        self._listener = listener
        self._turns = turns
        self._server: asyncio.Server | None = None
        self._acceptor: Acceptor | None = None
        self._watch: asyncio.Task[object] | None = None

    async def open(self) -> None:
        """Begin to serve. Raises `CannotStart` where the certificate cannot be used."""
        settings = self._settings
        keeper = TlsKeeper(tls_files(settings.tls), self._events) if settings.tls is not None else None
        if keeper is None and not settings.proxy_protocol and self._turns is None:
            self._server = await asyncio.get_running_loop().create_server(self._front, sock=self._listener)
            return
        self._acceptor = Acceptor(
            self._front,
            self._listener,
            proxies=settings.proxy_protocol,
            context=(lambda: keeper.context) if keeper is not None else None,
            turns=self._turns,
        )
        if keeper is not None:
            self._read_metrics(
                "gateway_tls_certificate_expiry_timestamp_seconds",
                "When the certificate of the public listener ends, Unix time.",
                Kind.LEAST,
                lambda: keeper.not_after,
            )
            self._watch = tasks.spawn(keeper.watch(), name="tls certificate")

    def stop(self) -> None:
        """Accept no more connections."""
        if self._server is not None:
            self._server.close()
        if self._acceptor is not None:
            self._acceptor.stop()

    async def close(self) -> None:
        """Drop what was accepted and is not HTTP yet."""
        self.stop()
        if self._acceptor is not None:
            self._acceptor.close()
            await self._acceptor.wait_closed()
        await tasks.cancel(self._watch)
