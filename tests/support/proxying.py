"""A proxy on loopback between raw sockets: the client's bytes and the upstream's bytes are the test's own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web

from gateway import tasks
from gateway.clock import Clock, SystemClock
from gateway.errors import InvalidToken
from gateway.events import Event
from gateway.proxy.authenticate import ProxyAuthenticator
from gateway.proxy.endpoint import Endpoint
from gateway.proxy.entropy import PooledEntropy
from gateway.proxy.forward import Proxy, ProxyPolicy
from gateway.proxy.front import Front
from gateway.proxy.identity import IdentityHeaders
from gateway.proxy.ports import ClientLimits
from gateway.proxy.route_table import AuthMode, RouteSpec, UpstreamSpec
from gateway.sessions.denial import RevocationIndex
from gateway.sessions.denied_use import DeniedUse
from gateway.telemetry.trace_context import Sampler
from gateway.tokens.claims import AccessClaims
from gateway.tokens.verified import VerifiedTokenCache
from gateway.web.client_ip import ClientAddress
from gateway.web.request_id import RequestIds

IDENTITY = (
    ("X-User-Id", "sub"),
    ("X-User-Name", "username"),
    ("X-User-Email", "email"),
    ("X-User-Roles", "roles"),
    ("X-Session-Id", "sid"),
)
COOKIES = (b"__Host-gw_refresh", b"__Host-gw_access")
TOKEN = b"good-token"
CLAIMS = AccessClaims(
    subject="0190b0c2-0000-7000-8000-000000000001",
    session_id="0190b0c2-0000-7000-8000-0000000000aa",
    generation=1,
    delivery=1,
    user_epoch=0,
    issued_at=1_790_000_000,
    expires_at=4_000_000_000,
    receipt_at=1_790_000_060,
    auth_time=1_790_000_000,
    amr=("pwd",),
    username="alice",
    email="alice@example.com",
    roles=("user", "editor"),
    token_id="jti-1",
)


class FakeVerifier:
    """Knows a few tokens by heart."""

    def __init__(self) -> None:
        self.tokens: dict[bytes, AccessClaims] = {TOKEN: CLAIMS}
        self.calls = 0

    def verify(self, token: bytes) -> AccessClaims:
        self.calls += 1
        if token == b"explode":
            raise RuntimeError("a bug in the verifier")
        try:
            return self.tokens[token]
        except KeyError:
            raise InvalidToken from None


class FakeRing:
    epoch = 1


class Notes:
    """Collects what is noted, logged and emitted."""

    def __init__(self) -> None:
        self.receipts: list[tuple[AccessClaims, bool]] = []
        self.requests: list[tuple[Any, ...]] = []
        self.events: list[Event] = []

    def note(self, claims: AccessClaims, passive: bool) -> None:
        self.receipts.append((claims, passive))

    def request(self, *fields: Any) -> None:
        self.requests.append(fields)

    def emit(self, event: Event) -> None:
        self.events.append(event)


@dataclass
class Setup:
    """A proxy, its parts within reach, and where it listens."""

    proxy: Proxy
    front: Front
    notes: Notes
    verifier: FakeVerifier
    index: RevocationIndex
    cache: VerifiedTokenCache[bytes]
    port: int = 0
    stale: list[float] = field(default_factory=lambda: [0.0])

    def endpoint(self, port: int) -> Endpoint:
        """The endpoint of the upstream at `port`."""
        [found] = [one for one in self.proxy._upstreams.endpoints if one.address.port == port]
        return found

    async def talk(self, data: bytes, **options: Any) -> bytes:
        return await talk(self.port, data, **options)


def build(
    routes: Sequence[RouteSpec],
    *,
    app: web.Application | None = None,
    trusted: Sequence[str] = (),
    forward_authorization: bool = False,
    limits: ClientLimits | None = None,
    clock: Clock | None = None,
    before: Proxy | None = None,
    headers: Sequence[tuple[str, str]] = IDENTITY,
    sampler: Sampler | None = None,
) -> Setup:
    """A proxy that is not listening yet; `before`: made to succeed that one."""
    notes, verifier, index = Notes(), FakeVerifier(), RevocationIndex()
    identity = IdentityHeaders(headers)
    clock = clock or SystemClock()
    ring: Any = FakeRing()
    cache: VerifiedTokenCache[bytes] = VerifiedTokenCache(100, ring)
    stale = [0.0]
    authenticator = ProxyAuthenticator(
        verifier, ring, cache, index, notes, DeniedUse(notes), identity, clock, lambda: stale[0]
    )
    policy = ProxyPolicy(
        tuple(routes), identity, COOKIES, forward_authorization, limits=limits or ClientLimits(linger=0.2)
    )
    proxy = Proxy(
        policy,
        authenticator,
        app or web.Application(),
        notes,
        notes,
        ClientAddress(trusted),
        RequestIds(PooledEntropy()),
        clock,
        before=before,
        sampler=sampler,
    )
    return Setup(proxy, Front(proxy), notes, verifier, index, cache, stale=stale)


@contextlib.asynccontextmanager
async def proxied(
    upstream: int | Sequence[RouteSpec], *, app: web.Application | None = None, **options: Any
) -> AsyncIterator[Setup]:
    """A listening proxy. Nothing is left open after it."""
    routes = routes_to(upstream) if isinstance(upstream, int) else upstream
    app = app or web.Application()
    before = asyncio.all_tasks()
    setup = build(routes, app=app, **options)
    runner = web.AppRunner(app)
    await runner.setup()
    server = await asyncio.get_running_loop().create_server(setup.front, "127.0.0.1", 0)
    setup.port = server.sockets[0].getsockname()[1]
    setup.proxy.start()
    try:
        yield setup
    finally:
        server.close()
        await setup.front.shutdown(0.5)
        setup.proxy.close()
        await until(lambda: setup.proxy.open_upstream_connections == 0 and not setup.front.connections)
        await runner.cleanup()
        await until(lambda: asyncio.all_tasks() - before <= {asyncio.current_task()})


def routes_to(port: int, **changes: Any) -> tuple[RouteSpec, ...]:
    """One protected, one optional and one public route to the upstream at `port`."""
    upstreams = (UpstreamSpec(f"http://127.0.0.1:{port}"),)
    base = RouteSpec("api", "/api/", upstreams, **changes)
    return (
        base,
        replace(base, name="optional", path="/optional/", auth=AuthMode.OPTIONAL),
        replace(base, name="public", path="/public/", auth=AuthMode.NONE),
    )


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait for a condition, not for a time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not condition():
        assert loop.time() < deadline, "the condition never became true"
        await asyncio.sleep(0.005)


async def talk(port: int, data: bytes, *, seconds: float = 5.0) -> bytes:
    """Send bytes, read until the peer closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(seconds):
            return await read_all(reader)
    finally:
        await hang_up(writer)


async def read_all(reader: asyncio.StreamReader) -> bytes:
    """What comes until the end, a reset included."""
    found = bytearray()
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(65536):
            found += piece
    return bytes(found)


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close and wait for it."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class RawUpstream:
    """An upstream that follows a script on each connection and keeps the bytes it got."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.port = 0
        self.connections = 0
        self.open = 0
        self.heads: list[bytes] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            await self._script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            self.open -= 1
            await hang_up(writer)

    async def head(self, reader: asyncio.StreamReader) -> bytes:
        """Read one request head and keep it."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        return head


@contextlib.asynccontextmanager
async def upstream(script: Callable[[RawUpstream], Script]) -> AsyncIterator[RawUpstream]:
    """Serve `script` on a free port."""
    raw = RawUpstream(lambda reader, writer: script(raw)(reader, writer))
    server = await asyncio.start_server(raw.handle, "127.0.0.1", 0)
    raw.port = server.sockets[0].getsockname()[1]
    try:
        yield raw
    finally:
        server.close()
        await until(lambda: raw.open == 0)


def answering(answer: bytes, *, close: bool = False) -> Callable[[RawUpstream], Script]:
    """Answer every request head with the same bytes, bodies of requests being read by their Content-Length."""

    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                head = await raw.head(reader)
                await reader.readexactly(int(field_of(head, b"Content-Length") or 0))
                writer.write(answer)
                await writer.drain()
                if close:
                    return

        return follow

    return script


def field_of(head: bytes, name: bytes) -> bytes | None:
    """The value of the one header `name` in a head; None when it is absent."""
    found = fields_of(head, name)
    assert len(found) <= 1, f"{name!r} is there {len(found)} times"
    return found[0] if found else None


def fields_of(head: bytes, name: bytes) -> list[bytes]:
    """All values of the header `name`, any case, in the head at the start of `head`."""
    lines = head.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    pairs = (line.partition(b":") for line in lines)
    return [value.strip() for key, _, value in pairs if key.lower() == name.lower()]


def get(
    path: str = "/api/x", *lines: str, method: str = "GET", token: bytes | None = TOKEN, close: bool = True
) -> bytes:
    """A request head as bytes."""
    head = [f"{method} {path} HTTP/1.1", "Host: gateway.test"]
    if token is not None:
        head.append(f"Authorization: Bearer {token.decode()}")
    if close:
        head.append("Connection: close")
    return "\r\n".join([*head, *lines, "", ""]).encode("latin-1")


def status_of(answer: bytes) -> int:
    """The status of the first answer in `answer`."""
    assert answer.startswith(b"HTTP/1.1 "), answer[:80]
    return int(answer[9:12])


async def at_rest(setup: Setup) -> None:
    """Wait until nothing is left of any request: no client, no stream, no task, no busy upstream connection."""
    endpoints = setup.proxy._upstreams._endpoints.values()
    await until(
        lambda: (
            not setup.front.connections
            and not len(setup.proxy.streams)
            and not tasks._running
            and all(len(endpoint._open) == len(endpoint._idle) for endpoint in endpoints)
        )
    )


@contextlib.asynccontextmanager
async def quiet() -> AsyncIterator[None]:
    """Fails when the loop's exception handler was called: an error in a callback that nobody caught."""
    loop = asyncio.get_running_loop()
    complaints: list[str] = []
    loop.set_exception_handler(
        lambda _, context: complaints.append(f"{context['message']}: {context.get('exception')}")
    )
    try:
        yield
    finally:
        loop.set_exception_handler(None)
    assert complaints == []
