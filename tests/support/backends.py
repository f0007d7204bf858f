"""Backends that can be killed and brought back on the same port."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

from gateway.proxy.route_table import AuthMode, RouteSpec, UpstreamSpec
from support.proxying import field_of, hang_up, until

HEALTH = "/healthz"


class Backend:
    """Answers each request with its name, health checks with `health`; counts what it got."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.host = "127.0.0.1"
        self.port = 0
        self.heads: list[bytes] = []
        self.checks: list[bytes] = []
        self.health = 200
        self.status = 200
        self.hold: asyncio.Event | None = None
        """Set: requests wait for it."""
        self.waiting = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Listen, from the second time on where it was before."""
        self._server = await asyncio.start_server(self._handle, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def kill(self) -> None:
        """Stop listening and break every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()
        if self.hold is not None:
            self.hold.set()
        await until(lambda: not self._writers)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        return len(self._writers)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await self._answer(head, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            self._writers.discard(writer)
            await hang_up(writer)

    async def _answer(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if head.startswith(b"GET " + HEALTH.encode()):
            self.checks.append(head)
            writer.write(b"HTTP/1.1 %d Health\r\nContent-Length: 0\r\n\r\n" % self.health)
            return
        self.heads.append(head)
        await reader.readexactly(int(field_of(head, b"Content-Length") or 0))
        if self.hold is not None:
            self.waiting += 1
            await self.hold.wait()
            self.waiting -= 1
        name = self.name.encode()
        writer.write(b"HTTP/1.1 %d OK\r\nContent-Length: %d\r\n\r\n%b" % (self.status, len(name), name))


@contextlib.asynccontextmanager
async def backends(*names: str) -> AsyncIterator[list[Backend]]:
    """Backends that listen."""
    made = [Backend(name) for name in names]
    try:
        for backend in made:
            await backend.start()
        yield made
    finally:
        for backend in made:
            await backend.kill()


def route_to(backends: Sequence[Backend], *, weights: Sequence[int] = (), **changes: Any) -> tuple[RouteSpec]:
    """A public route to all of them."""
    weights = weights or [1] * len(backends)
    specs = tuple(UpstreamSpec(one.url, weight) for one, weight in zip(backends, weights, strict=True))
    return (RouteSpec("all", "/", specs, auth=AuthMode.NONE, **changes),)


class Caller:
    """A client with a connection that is kept."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str = "GET", path: str = "/x", body: bytes = b"") -> tuple[int, bytes, bytes]:
        """Status, head and body of one answer."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        length = f"Content-Length: {len(body)}\r\n" if method not in {"GET", "HEAD"} else ""
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: client.test\r\n{length}\r\n".encode() + body)
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
            answer = await reader.readexactly(int(field_of(head, b"Content-Length") or 0))
        return int(head[9:12]), head, answer

    async def close(self) -> None:
        if self._streams is not None:
            await hang_up(self._streams[1])


@contextlib.asynccontextmanager
async def caller(port: int) -> AsyncIterator[Caller]:
    """A client, closed after use."""
    one = Caller(port)
    try:
        yield one
    finally:
        await one.close()


async def names_of(port: int, count: int, **options: Any) -> Counter[str]:
    """Who answered `count` requests, one after the other; each must be a 200."""
    found: Counter[str] = Counter()
    async with caller(port) as client:
        for _ in range(count):
            status, _, body = await client.ask(**options)
            assert status == 200, (status, body)
            found[body.decode()] += 1
    return found
