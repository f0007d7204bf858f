"""Limits on the data plane: who asks too often or for too much at once, and who sends drop by drop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
from aiohttp import web
from support.clock import FrozenClock
from support.proxying import (
    RawUpstream,
    Script,
    answering,
    field_of,
    get,
    hang_up,
    proxied,
    read_all,
    routes_to,
    status_of,
    until,
    upstream,
)

from gateway.proxy.ports import ClientLimits
from gateway.proxy.request_limits import RequestLimits
from gateway.throttle.gcra import Limit

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def held(release: asyncio.Event) -> Callable[[RawUpstream], Script]:
    """Answers once `release` is set; a request with `half` gets half an answer and the end."""

    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await raw.head(reader)
            if b"/half" in head:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
            elif b"/rubbish" in head:
                writer.write(b"rubbish\r\n\r\n")
            elif b"/silent" in head:
                await read_all(reader)
            else:
                await release.wait()
                writer.write(OK)
            await writer.drain()

        return follow

    return script


async def test_over_the_rate_is_429_with_the_time_to_wait_and_never_reaches_the_backend() -> None:
    clock = FrozenClock()
    routes = routes_to(0, limits=RequestLimits(Limit(2, 60.0)))
    async with upstream(answering(OK)) as up:
        routes = routes_to(up.port, limits=RequestLimits(Limit(2, 60.0)))
        async with proxied(routes, clock=clock) as gateway:
            answers = [await gateway.talk(get()) for _ in range(3)]
            keyless = [await gateway.talk(get(token=None)) for _ in range(3)]
            other = [await gateway.talk(get("/public/x", token=None)) for _ in range(3)]
            clock.advance(30.1)
            later = await gateway.talk(get())
    assert [status_of(answer) for answer in answers] == [200, 200, 429]
    assert field_of(answers[2], b"Retry-After") == b"30"
    assert b'"error":"too_many_requests"' in answers[2]
    assert [status_of(answer) for answer in keyless] == [401] * 3
    assert [status_of(answer) for answer in other] == [200, 200, 429]
    assert status_of(later) == 200
    assert len(up.heads) == 5


@pytest.mark.parametrize("path", ["/api/x", "/api/half", "/api/rubbish", "/api/silent", "/api/refused", "gone"])
async def test_a_place_is_given_back_however_a_request_ends(path: str) -> None:
    release = asyncio.Event()
    limits = RequestLimits(concurrency=1)
    async with upstream(held(release)) as up:
        target = free_port() if path == "/api/refused" else up.port
        async with proxied(routes_to(target, limits=limits, response_timeout=0.2)) as gateway:
            limiter = gateway.proxy.limiters["api"]
            if path == "gone":
                _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
                writer.write(get())
                await until(lambda: limiter.under_way == 1)
                refused = await gateway.talk(get())
                assert (status_of(refused), field_of(refused, b"Retry-After")) == (503, b"1")
                writer.transport.abort()
                await until(lambda: limiter.under_way == 0)
                release.set()
            else:
                release.set()
                await gateway.talk(get(path))
            await until(lambda: limiter.under_way == 0)
            assert limiter._clients == {}


async def test_one_client_does_not_take_every_place() -> None:
    release = asyncio.Event()
    limits = RequestLimits(concurrency=2, per_client=1)
    async with upstream(held(release)) as up, proxied(routes_to(up.port, limits=limits)) as gateway:
        first = asyncio.ensure_future(gateway.talk(get()))
        await until(lambda: gateway.proxy.limiters["api"].under_way == 1)
        second = await gateway.talk(get())
        release.set()
        assert status_of(await first) == 200
    assert (status_of(second), field_of(second, b"Retry-After")) == (429, b"1")


async def test_a_route_without_limits_keeps_no_account() -> None:
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        assert status_of(await gateway.talk(get())) == 200
        assert gateway.proxy.limiters == {}


async def test_a_body_drop_by_drop_is_cut_off_though_it_never_stops() -> None:
    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            await read_all(reader)

        return follow

    limits = ClientLimits(body_rate=1000, body_window=0.2, linger=0.1)
    async with upstream(script) as up, proxied(up.port, limits=limits) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(get("/api/x", "Content-Length: 100000", method="POST") + b"x")
        answer = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
        drops = 0
        while not answer.done():  # ends with the answer, which the rate brings about
            writer.write(b"x")
            drops += 1
            await asyncio.wait([answer], timeout=0.01)
        await hang_up(writer)
    assert status_of(answer.result()) == 408
    assert 1 < drops < 200


async def test_a_body_that_is_fast_enough_is_not_cut_off_by_a_slow_backend() -> None:
    """The backend reads nothing for several windows; the client is held back, not slow."""
    go = asyncio.Event()
    size = 32 << 20

    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            await go.wait()
            await reader.readexactly(size)
            writer.write(OK)
            await read_all(reader)

        return follow

    limits = ClientLimits(body_rate=1000, body_window=0.05, linger=0.1)
    async with upstream(script) as up, proxied(up.port, limits=limits) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(get("/api/x", f"Content-Length: {size}", method="POST") + b"x" * size)
        await until(lambda: any(each._reading_paused for each in gateway.front.connections))
        connection = gateway.front.connections[0]
        deadlines = set()

        def three_windows_are_over() -> bool:
            deadlines.add(connection._timer.when)
            return len(deadlines) > 3

        await until(three_windows_are_over)
        go.set()
        answer = await read_all(reader)
        await hang_up(writer)
    assert status_of(answer) == 200


async def test_over_the_most_connections_new_ones_are_closed_and_old_ones_served() -> None:
    limits = ClientLimits(connections=3)
    async with upstream(answering(OK)) as up, proxied(up.port, limits=limits) as gateway:
        kept = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(3)]
        await until(lambda: gateway.proxy.admission.count == 3)
        for _ in range(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            assert await read_all(reader) == b""
            await hang_up(writer)
        for reader, writer in kept:
            writer.write(get())
            assert status_of(await read_all(reader)) == 200
            await hang_up(writer)
        await until(lambda: gateway.proxy.admission.count == 0)
        assert status_of(await gateway.talk(get())) == 200
    assert [(event.name, event.fields["limit"]) for event in gateway.notes.events] == [("connections.limited", "all")]


async def test_one_address_does_not_take_every_connection_unless_it_is_a_trusted_proxy() -> None:
    limits = ClientLimits(connections_per_client=1)
    for trusted, served in (((), False), (("127.0.0.1",), True)):
        async with upstream(answering(OK)) as up, proxied(up.port, limits=limits, trusted=trusted) as gateway:
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            await until(lambda: gateway.proxy.admission.count == 1)
            answer = await gateway.talk(get())
            await hang_up(writer)
        assert (answer != b"") is served


async def test_a_head_over_its_size_is_431_in_one_piece_too() -> None:
    limits = ClientLimits(head_size=2048)
    big = [f"X-{number}: {'x' * 500}" for number in range(5)]
    async with upstream(answering(OK)) as up, proxied(up.port, limits=limits) as gateway:
        whole = await gateway.talk(get("/api/x", *big))
        small = await gateway.talk(get("/api/x", big[0], "Content-Length: 4000", method="POST") + b"x" * 4000)
        pipelined = await gateway.talk(get(close=False) * 29 + get())
    assert [status_of(answer) for answer in (whole, small)] == [431, 200]
    assert pipelined.count(b"HTTP/1.1 200") == 30


async def test_the_own_api_says_when_the_connection_ends() -> None:
    async def unread(request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def missing(request: web.Request) -> web.Response:
        raise web.HTTPNotFound

    app = web.Application()
    app.router.add_post("/auth/unread", unread)
    app.router.add_post("/auth/missing", missing)
    app.router.add_get("/auth/unread", unread)
    limits = ClientLimits(linger=0.05)
    async with upstream(answering(OK)) as up, proxied(up.port, app=app, limits=limits) as gateway:
        for path in ("unread", "missing"):
            partial = get(f"/auth/{path}", "Content-Length: 9", method="POST", close=False) + b"half"
            assert field_of(await gateway.talk(partial), b"Connection") == b"close"
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(get("/auth/unread", close=False))
        assert field_of(await reader.readuntil(b"\r\n\r\nok"), b"Connection") is None
        await until(lambda: not gateway.front.connections[0]._busy)
        gateway.front.connections[0]._draining = True
        writer.write(get("/auth/unread", close=False))
        assert field_of(await read_all(reader), b"Connection") == b"close"
        await hang_up(writer)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
