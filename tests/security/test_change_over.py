"""Connections that stand while the configuration, or the process, is replaced."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from aiohttp import web
from support.proxying import (
    TOKEN,
    RawUpstream,
    Script,
    Setup,
    answering,
    build,
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

from gateway.proxy.route_table import AuthMode
from gateway.sessions.ports import FeedEntry, FeedKind

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"


async def answer(reader: asyncio.StreamReader) -> bytes:
    """One answer with a counted body."""
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        return head + await reader.readexactly(int(field_of(head, b"Content-Length") or b"0"))


def other(gateway: Setup, port: int, **changes: object) -> Setup:
    """The same gateway under another configuration, on the index of the first."""
    routes = [replace(route, **changes) for route in routes_to(port)]  # type: ignore[arg-type]
    return build(routes, trusted=["127.0.0.0/8"])


async def test_the_next_request_on_a_connection_meets_the_new_configuration() -> None:
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(get("/public/x", close=False))
        assert status_of(await answer(reader)) == 200
        new = other(gateway, up.port, auth=AuthMode.REQUIRED)
        gateway.front.change_over(new.proxy)
        writer.write(b"GET /public/x HTTP/1.1\r\nHost: gateway.test\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n")
        assert status_of(await answer(reader)) == 401
        assert new.notes.requests[0][-2] == "192.0.2.9"  # the peer is trusted now, on this connection too
        assert await closed(gateway)
        await hang_up(writer)
        new.proxy.close()


async def closed(gateway: Setup) -> bool:
    await until(lambda: gateway.proxy.open_upstream_connections == 0)
    return True


async def test_a_request_under_way_is_answered_and_its_upstream_connection_then_closed() -> None:
    go = asyncio.Event()

    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await raw.head(reader):
                await go.wait()
                writer.write(OK)

        return follow

    async with upstream(script) as up, proxied(up.port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(get("/public/x", close=False))
        await until(lambda: len(up.heads) == 1)
        new = other(gateway, up.port, auth=AuthMode.REQUIRED)
        gateway.front.change_over(new.proxy)
        go.set()
        assert status_of(await answer(reader)) == 200
        assert await closed(gateway)
        writer.write(get("/public/x", token=None, close=False))
        assert status_of(await answer(reader)) == 401
        await hang_up(writer)
        new.proxy.close()


async def test_a_stream_opened_before_still_ends_with_its_session() -> None:
    async with upstream(answering(EVENTS)) as up, proxied(up.port) as gateway:
        gateway.index.subscribe(gateway.proxy.streams.revoked)
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(get("/api/x", close=False))
        await reader.readuntil(b"data: 1\n\n")
        await until(lambda: len(gateway.proxy.streams) == 1)
        new = other(gateway, up.port)
        gateway.front.change_over(new.proxy)
        assert new.proxy.streams is gateway.proxy.streams
        sid = gateway.verifier.tokens[TOKEN].session_id
        gateway.index.apply((FeedEntry(1, FeedKind.SESSION, sid, 0, 4_000_000_001.0),))
        async with asyncio.timeout(5):
            assert (await read_all(reader)).endswith(b"0\r\n\r\n")
        await hang_up(writer)
        new.proxy.close()


async def test_who_leaves_answers_what_is_on_its_way_and_says_that_it_closes() -> None:
    async def me(_: web.Request) -> web.Response:
        return web.Response(text="me")

    app = web.Application()
    app.router.add_get("/auth/me", me)
    async with upstream(answering(OK)) as up, proxied(up.port, app=app) as gateway:
        pairs = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(3)]
        for (reader, writer), path in zip(pairs, ("/public/x", "/auth/me", "/public/x"), strict=True):
            writer.write(get(path, close=False))
            assert field_of(await answer(reader), b"Connection") != b"close"
        leaving = asyncio.ensure_future(gateway.front.leave(5.0))
        await asyncio.sleep(0)
        for (reader, writer), path in zip(pairs, ("/public/x", "/auth/me", "/nowhere"), strict=True):
            writer.write(get(path, close=False))
            last = await answer(reader)
            assert status_of(last) == (404 if path == "/nowhere" else 200)
            assert field_of(last, b"Connection") == b"close"
            assert await read_all(reader) == b""
            await hang_up(writer)
        async with asyncio.timeout(5):
            await leaving  # nobody is left: it does not wait for its time


async def test_who_leaves_waits_no_longer_than_it_should_for_idle_connections() -> None:
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        await until(lambda: len(gateway.front.connections) == 1)
        await gateway.front.leave(0.05)
        gateway.front.drain()
        async with asyncio.timeout(5):
            assert await read_all(reader) == b""
        await hang_up(writer)
