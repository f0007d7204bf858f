"""A whole gateway inside the test's process: its clock and its store can be reached, its clients cannot tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from gateway.app import Gateway, open_gateway
from gateway.clock import Clock, SystemClock
from gateway.runtime.listeners import Listeners
from gateway.runtime.public import Public
from gateway.settings.loader import load
from support.process import Answer, GatewayProcess


class SteppedClock(SystemClock):
    """The machine's clock, but for what an operator or NTP did to it; monotonic time goes on as ever."""

    __slots__ = ("offset",)

    def __init__(self, offset: float = 0.0) -> None:
        self.offset = offset

    def now(self) -> float:
        return super().now() + self.offset


class _Client(GatewayProcess):
    """The requests of a `GatewayProcess`, without the process."""

    def __init__(self, port: int) -> None:
        self.port = port


class Inside:
    """`gateway`, and what a client outside would do. Requests are made on threads of their own."""

    def __init__(self, gateway: Gateway, port: int) -> None:
        self.gateway = gateway
        self.client = _Client(port)

    async def login(self) -> dict[str, Any]:
        return await asyncio.to_thread(self.client.body_login)

    async def refresh(self, token: str) -> Answer:
        return await asyncio.to_thread(self.client.refresh, token)

    async def call(self, access: str, path: str = "/api/x") -> int:
        return (await asyncio.to_thread(self.client.call, access, path=path)).status

    async def logout(self, token: str) -> int:
        return (await asyncio.to_thread(self.client.post, "/auth/logout", {"refresh_token": token})).status

    async def post(self, path: str, members: object) -> Answer:
        return await asyncio.to_thread(self.client.post, path, members)


@asynccontextmanager
async def inside(config: Path, clock: Clock) -> AsyncIterator[Inside]:
    """The gateway that `config` describes, serving."""
    settings = load(config, {}, {}).settings
    with closing(Listeners.bind(settings.server)) as listeners:
        port = listeners.public.getsockname()[1]
        async with open_gateway(settings, clock) as gateway:
            public = Public(gateway, listeners.public, None)
            await public.open()
            try:
                yield Inside(gateway, port)
            finally:
                public.stop()
                await public.close()
                await gateway.drain(1.0)


async def eventually(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
