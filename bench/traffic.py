"""The mixed traffic of the soak: each kind of client in a loop, every answer compared with the expected one."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp

from bench.requests import AGENT, forged, get
from bench.sessions import PASSWORD

_BIG, _PAUSE = 10_000_000, 0.01
_CLIENTS = {
    "small": 6,
    "refused": 2,
    "upload": 2,
    "chunked": 1,
    "download": 1,
    "events": 4,
    "websocket": 4,
    "refresh": 2,
    "login": 1,
    "vanish": 3,
}


class Unexpected(Exception):
    """An answer that is not the expected one."""


class Traffic:
    """`done`: exchanges by kind; `unexpected`: what went wrong, how often; `left_out`: kinds the gateway refuses."""

    def __init__(self, port: int, tokens: list[str], refresh: list[str], users: int) -> None:
        self.done: Counter[str] = Counter()
        self.unexpected: Counter[str] = Counter()
        self.left_out: dict[str, str] = {}
        self._port, self._base, self._tokens = port, f"http://127.0.0.1:{port}", itertools.cycle(tokens)
        self._waiting, self._users = deque(refresh), itertools.cycle(range(users))
        self._random = random.Random(7)
        self._session: aiohttp.ClientSession

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All clients at work; afterwards each has ended its last exchange."""
        stop = asyncio.Event()
        connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(30)
        async with (
            aiohttp.ClientSession(
                connector=connector, timeout=timeout, headers={"User-Agent": AGENT}, cookie_jar=aiohttp.DummyCookieJar()
            ) as self._session,
            asyncio.TaskGroup() as group,
        ):
            for kind, count in _CLIENTS.items():
                for _ in range(count):
                    group.create_task(self._loop(kind, getattr(self, f"_{kind}"), stop))
            try:
                yield
            finally:
                stop.set()

    async def _loop(self, kind: str, once: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
        while not stop.is_set() and kind not in self.left_out:
            try:
                await once()
                self.done[kind] += 1
            except (Unexpected, aiohttp.ClientError, OSError, TimeoutError) as problem:
                self.unexpected[f"{kind}: {type(problem).__name__} {problem}"[:160]] += 1
            await asyncio.sleep(_PAUSE)

    def _bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {next(self._tokens)}"}

    async def _ask(self, method: str, path: str, wanted: int, size: int | None = None, **how: object) -> bytes:
        async with self._session.request(method, self._base + path, **how) as answer:  # type: ignore[arg-type]
            body = await answer.read()
        if answer.status != wanted or size not in (None, len(body)):
            raise Unexpected(f"{method} {path}: {answer.status}, {len(body)} bytes")
        return body

    async def _small(self) -> None:
        await self._ask("GET", "/api/small", 200, headers=self._bearer())

    async def _refused(self) -> None:
        await self._ask("GET", "/api/small", 401)
        await self._ask("GET", "/api/small", 401, headers={"Authorization": f"Bearer {forged(next(self._tokens))}"})

    async def _upload(self) -> None:
        await self._ask("POST", "/api/upload", 200, headers=self._bearer(), data=b"x" * 100_000)

    async def _chunked(self) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(20):
                yield b"x" * self._random.randint(1, 8000)
                await asyncio.sleep(0)

        await self._ask("POST", "/api/upload", 200, headers=self._bearer(), data=chunks())

    async def _download(self) -> None:
        await self._ask("GET", "/api/files/10m", 200, _BIG, headers=self._bearer())

    async def _events(self) -> None:
        async with self._session.get(self._base + "/live/events", headers=self._bearer()) as answer:
            if answer.status != 200:
                raise Unexpected(f"event stream: {answer.status}")
            for _ in range(self._random.randint(1, 100)):
                if not (await answer.content.readuntil(b"\n\n")).startswith(b"data: "):
                    raise Unexpected("something that is no event")
            answer.close()

    async def _websocket(self) -> None:
        try:
            async with self._session.ws_connect(self._base + "/live/ws", headers=self._bearer()) as socket:
                for number in range(self._random.randint(1, 100)):
                    await socket.send_str(str(number))
                    if await socket.receive_str() != str(number):
                        raise Unexpected("another message than the echo")
        except aiohttp.WSServerHandshakeError as problem:
            if problem.status != 501:
                raise
            self.left_out["websocket"] = "the gateway answers 501"
        except (TypeError, aiohttp.WSMessageTypeError) as problem:
            raise Unexpected(f"the socket was closed: {problem}") from None

    async def _refresh(self) -> None:
        """Refresh a session that nobody else refreshes meanwhile."""
        form = {"refresh_token": self._waiting.popleft()}
        async with self._session.post(self._base + "/auth/refresh", json=form) as answer:
            found = await answer.json()
        if answer.status != 200 or "refresh_token" not in found:
            raise Unexpected(f"refresh: {answer.status} {found.get('error')}")
        self._waiting.append(found["refresh_token"])

    async def _login(self) -> None:
        form = {"username": f"user-{next(self._users)}", "password": PASSWORD}
        async with self._session.post(self._base + "/auth/login", json=form) as answer:
            found = await answer.json()
        if answer.status != 200:
            raise Unexpected(f"login: {answer.status} {found}")
        bearer = {"Authorization": f"Bearer {found['access_token']}"}
        await self._ask("POST", "/auth/logout", 204, headers=bearer, json={})
        await asyncio.sleep(0.5)

    async def _vanish(self) -> None:
        """Ask for something big, or begin to send it, and go."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        token, way = next(self._tokens), self._random.randrange(4)
        if way == 0:
            writer.write(get("/api/files/10m", token)[: self._random.randint(1, 200)])
        elif way == 1:
            writer.write(get("/api/files/10m", token))
            await reader.read(self._random.randint(1, 100_000))
        elif way == 2:
            head = get("/api/upload", token).replace(b"GET", b"POST", 1)
            writer.write(head.replace(b"\r\n\r\n", b"\r\nContent-Length: 1000000\r\n\r\n", 1) + b"x" * 50_000)
        else:
            writer.write(get("/live/events", token))
            await reader.read(100)
        await asyncio.sleep(self._random.random() / 20)
        writer.transport.abort()
