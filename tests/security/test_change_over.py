"""Connections that stand while the configuration, or the process, is replaced."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.proxying import (
    CLAIMS,
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
from support.websockets import SWITCHING, close_code, connect, frame, handshake, switching

from gateway.errors import CannotStart
from gateway.proxy.request_limits import RequestLimits
from gateway.proxy.route_table import AuthMode, RouteSpec, UpstreamSpec
from gateway.proxy.upstream_tls import UpstreamTls
from gateway.sessions.ports import FeedEntry, FeedKind
from gateway.throttle.gcra import Limit

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"


async def answer(reader: asyncio.StreamReader) -> bytes:
    """One answer with a counted body."""
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        return head + await reader.readexactly(int(field_of(head, b"Content-Length") or b"0"))


def other(gateway: Setup, routes: Sequence[RouteSpec], **options: Any) -> Setup:
    """The same gateway under another configuration, made to succeed it."""
    return build(routes, before=gateway.proxy, **({"trusted": ["127.0.0.0/8"]} | options))


async def test_the_next_request_on_a_connection_meets_the_new_configuration() -> None:
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(get("/public/x", close=False))
        assert status_of(await answer(reader)) == 200
        new = other(gateway, routes_to(up.port, auth=AuthMode.REQUIRED))
        gateway.front.change_over(new.proxy)
        writer.write(b"GET /public/x HTTP/1.1\r\nHost: gateway.test\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n")
        assert status_of(await answer(reader)) == 200
        assert new.notes.requests[0][11] == "192.0.2.9"  # the peer is trusted now, on this connection too
        assert new.proxy.admission.count == 1  # and it is not counted twice
        assert up.connections == 1  # the backend's connection stayed
        await hang_up(writer)


async def test_a_request_under_way_is_answered_and_its_upstream_connection_serves_the_next() -> None:
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
        new = other(gateway, [replace(route, auth=AuthMode.REQUIRED) for route in routes_to(up.port)])
        gateway.front.change_over(new.proxy)
        go.set()
        assert status_of(await answer(reader)) == 200
        writer.write(get("/public/x", token=None, close=False))
        assert status_of(await answer(reader)) == 401
        writer.write(get("/public/x", close=False))
        assert status_of(await answer(reader)) == 200
        assert up.connections == 1
        assert [one.outstanding for one in new.proxy._upstreams.endpoints] == [0]
        await hang_up(writer)


async def test_a_backend_that_no_route_names_any_more_loses_its_connections() -> None:
    async with upstream(answering(OK)) as old, upstream(answering(OK)) as up, proxied(old.port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        for expected in ((1, 0), (1, 1)):
            writer.write(get("/public/x", close=False))
            assert status_of(await answer(reader)) == 200
            assert (len(old.heads), len(up.heads)) == expected
            if not up.heads:
                gateway.front.change_over(other(gateway, routes_to(up.port)).proxy)
        await until(lambda: old.open == 0)
        await hang_up(writer)


async def test_answers_of_a_backend_that_stays_lose_the_new_identity_headers() -> None:
    said = b"HTTP/1.1 200 OK\r\nX-User-Id: root\r\nX-Caller: root\r\nContent-Length: 2\r\n\r\nok"
    async with upstream(answering(said)) as up, proxied(up.port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(get("/public/x", close=False))
        first = await answer(reader)
        assert (field_of(first, b"X-User-Id"), field_of(first, b"X-Caller")) == (None, b"root")
        new = other(gateway, routes_to(up.port), headers=(("X-Caller", "sub"),))
        gateway.front.change_over(new.proxy)
        writer.write(get("/public/x", close=False))
        second = await answer(reader)
        assert (field_of(second, b"X-User-Id"), field_of(second, b"X-Caller")) == (b"root", None)
        assert up.connections == 1
        await hang_up(writer)


async def test_a_connection_that_was_accepted_before_and_stands_after_meets_the_new_configuration() -> None:
    """A TLS handshake may lie between."""
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        early = gateway.front.admit(None, None)
        assert early is not None
        strict = [replace(route, auth=AuthMode.REQUIRED) for route in routes_to(up.port)]
        gateway.front.change_over(other(gateway, strict).proxy)
        await asyncio.get_running_loop().connect_accepted_socket(lambda: early, ours)
        reader, writer = await asyncio.open_unix_connection(sock=theirs)
        writer.write(get("/public/x", token=None))
        assert status_of(await read_all(reader)) == 401
        await hang_up(writer)
        await until(lambda: gateway.proxy.admission.count == 0)


async def test_an_open_websocket_stays_ends_with_its_session_and_is_told_when_the_gateway_goes() -> None:
    async with upstream(switching()) as up, proxied(up.port) as gateway:
        gateway.index.subscribe(gateway.proxy.streams.revoked)
        one, two = await connect(gateway.port), await connect(gateway.port, handshake("/public/ws", token=None))
        new = other(gateway, routes_to(up.port, idle_timeout=5.0))
        gateway.front.change_over(new.proxy)
        assert len(new.proxy.tunnels) == gateway.front.load == 2
        one.writer.write(frame(b"still here", mask=True))
        async with asyncio.timeout(5):
            assert (await one.reader.readexactly(16)).endswith(b"still here")
            gateway.index.apply((FeedEntry(1, FeedKind.SESSION, CLAIMS.session_id, 0, 4_000_000_001.0),))
            assert close_code(await read_all(one.reader)) == 4401
            gateway.front.drain()
            assert close_code(await read_all(two.reader)) == 1001
        for client in (one, two):
            await hang_up(client.writer)
        await until(lambda: len(new.proxy.tunnels) == len(new.proxy.streams) == 0)


async def test_a_handshake_under_way_at_the_change_is_told_when_the_gateway_goes() -> None:
    go = asyncio.Event()

    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            await go.wait()
            writer.write(SWITCHING + b"\r\n")
            await reader.read()

        return follow

    async with upstream(script) as up, proxied(up.port) as gateway:
        client = asyncio.ensure_future(connect(gateway.port))
        await until(lambda: len(up.heads) == 1)
        gateway.front.change_over(other(gateway, routes_to(up.port)).proxy)
        gateway.front.drain()
        go.set()
        opened = await client
        async with asyncio.timeout(5):
            assert close_code(await read_all(opened.reader)) == 1001
        await hang_up(opened.writer)
        await until(lambda: len(gateway.proxy.tunnels) == 0)


async def test_limits_that_stay_go_on_counting() -> None:
    once = RequestLimits(rate=Limit(1, 3600.0))
    async with upstream(answering(OK)) as up, proxied(routes_to(up.port, limits=once)) as gateway:
        assert status_of(await gateway.talk(get("/public/x"))) == 200
        gateway.front.change_over(other(gateway, routes_to(up.port, limits=once)).proxy)
        assert status_of(await gateway.talk(get("/public/x"))) == 429


async def test_who_entered_under_limits_that_changed_leaves_those() -> None:
    go = asyncio.Event()

    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await raw.head(reader):
                await go.wait()
                writer.write(OK)

        return follow

    async with (
        upstream(script) as up,
        proxied(routes_to(up.port, limits=RequestLimits(concurrency=2))) as gateway,
    ):
        waiting = asyncio.ensure_future(gateway.talk(get("/public/x")))
        await until(lambda: len(up.heads) == 1)
        new = other(gateway, routes_to(up.port, limits=RequestLimits(concurrency=1)))
        gateway.front.change_over(new.proxy)
        old, now = gateway.proxy.limiters["public"], new.proxy.limiters["public"]
        assert (old.under_way, now.under_way) == (1, 0)
        go.set()
        assert status_of(await waiting) == 200
        assert (old.under_way, now.under_way) == (0, 0)


async def test_a_configuration_that_cannot_be_used_changes_nothing(tmp_path: Path) -> None:
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        endpoints = gateway.proxy._upstreams.endpoints
        tls = UpstreamTls(ca_file=str(tmp_path / "missing.pem"))
        broken = [RouteSpec("api", "/api/", (UpstreamSpec("https://127.0.0.1:1"),), tls=tls)]
        with pytest.raises(CannotStart, match=r"missing\.pem"):
            other(gateway, broken)
        assert gateway.proxy._upstreams.endpoints == endpoints
        assert status_of(await gateway.talk(get("/public/x"))) == 200
        with pytest.raises(ValueError, match="another proxy, or none"):
            gateway.front.change_over(build(routes_to(up.port)).proxy)
        assert status_of(await gateway.talk(get("/public/x"))) == 200


async def test_a_stream_opened_before_still_ends_with_its_session() -> None:
    async with upstream(answering(EVENTS)) as up, proxied(up.port) as gateway:
        gateway.index.subscribe(gateway.proxy.streams.revoked)
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(get("/api/x", close=False))
        await reader.readuntil(b"data: 1\n\n")
        await until(lambda: len(gateway.proxy.streams) == 1)
        new = other(gateway, routes_to(up.port))
        gateway.front.change_over(new.proxy)
        assert new.proxy.streams is gateway.proxy.streams
        sid = gateway.verifier.tokens[TOKEN].session_id
        gateway.index.apply((FeedEntry(1, FeedKind.SESSION, sid, 0, 4_000_000_001.0),))
        async with asyncio.timeout(5):
            assert (await read_all(reader)).endswith(b"0\r\n\r\n")
        await hang_up(writer)


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
