"""Open WebSockets: what passes, what holds back whom, and every way in which they end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from support.clock import FrozenClock
from support.process import Fleet
from support.proxying import (
    CLAIMS,
    TOKEN,
    RawUpstream,
    Script,
    Setup,
    get,
    hang_up,
    proxied,
    read_all,
    routes_to,
    until,
    upstream,
)
from support.websockets import SWITCHING, Then, close_code, connect, frame, handshake, switching

from gateway.proxy import tunnel as tunnels
from gateway.sessions.ports import FeedEntry, FeedKind

REVOKED = FeedEntry(1, FeedKind.SESSION, CLAIMS.session_id, 0, CLAIMS.expires_at)
CODES = web.AppKey("codes", list[int | None])
HELD = 1024 * 1024
"""More than the gateway may hold of what one side does not read."""


@contextlib.asynccontextmanager
async def tunnelled(then: Then | None = None, **changes: object) -> AsyncIterator[tuple[RawUpstream, Setup]]:
    """A proxy whose streams follow its revocations, in front of an upstream that switches; all is gone at the end."""
    async with upstream(switching(then)) as up, proxied(routes_to(up.port, **changes)) as gateway:
        gateway.index.subscribe(gateway.proxy.streams.revoked)
        yield up, gateway
        await until(lambda: len(gateway.proxy.tunnels) == 0)
        assert len(gateway.proxy.streams) == 0


async def _echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(protocols=("chat",), max_msg_size=0)
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT and message.data == "bye":
            await socket.close(code=4000, message=b"as you wish")
        elif message.type is WSMsgType.TEXT:
            await socket.send_str(f"{request.headers['X-User-Name']}: {message.data}")
        else:
            await socket.send_bytes(message.data)
    request.app[CODES].append(socket.close_code)
    return socket


async def test_real_clients_and_servers_talk_through_it() -> None:
    app = web.Application()
    codes = app[CODES] = []
    app.router.add_get("/api/ws", _echo)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port: int = runner.addresses[0][1]
    big = bytes(range(256)) * 40960
    async with proxied(port) as gateway, aiohttp.ClientSession() as session:
        url = f"ws://127.0.0.1:{gateway.port}/api/ws"
        offered = ("bearer", TOKEN.decode(), "chat")
        async with session.ws_connect(url, protocols=offered, compress=15, max_msg_size=0) as client:
            assert (client.protocol, client.compress) == ("chat", 15)
            await client.send_str("hello")
            assert (await client.receive()).data == "alice: hello"
            await client.ping(b"still there?")
            await client.send_bytes(big)
            assert (await client.receive()).data == big
            await client.close(code=4001)
        async with session.ws_connect(url, protocols=offered[:2]) as client:
            assert client.protocol == "bearer"
            await client.send_str("bye")
            closed = await client.receive()
            assert (closed.type, closed.data, closed.extra) == (WSMsgType.CLOSE, 4000, "as you wish")
        await until(lambda: len(gateway.notes.requests) == 2)
        assert [request[2] for request in gateway.notes.requests] == [101, 101]
    await runner.cleanup()
    assert sorted(codes) == [1000, 4001]


async def test_a_client_that_does_not_read_holds_the_upstream_back() -> None:
    message = frame(bytes(10_000_000))
    written = 0

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        for at in range(0, len(message), 65536):
            writer.write(message[at : at + 65536])
            await writer.drain()
            written = at

    async with tunnelled(flood) as (_, gateway):
        client = await connect(gateway.port)
        [open_one] = gateway.proxy.tunnels._open
        assert open_one.client is not None
        await until(lambda: written > 0)
        seen = -1
        while seen != written:  # until nothing moves any more
            seen = written
            for _turn in range(100):
                await asyncio.sleep(0)
        assert 0 < open_one.client.get_write_buffer_size() < HELD
        assert await client.reader.readexactly(len(message)) == message
        assert await client.reader.read() == b""
        await hang_up(client.writer)


async def test_an_upstream_that_does_not_read_holds_the_client_back() -> None:
    may_read = asyncio.Event()
    got: list[bytes] = []

    async def slow(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await may_read.wait()
        got.append(await read_all(reader))

    message = frame(bytes(20_000_000), mask=True)
    async with tunnelled(slow) as (_, gateway):
        client = await connect(gateway.port)
        [open_one] = gateway.proxy.tunnels._open
        client.writer.write(message)
        assert open_one.upstream is not None
        buffered = open_one.upstream.get_write_buffer_size
        await until(lambda: buffered() > 0)
        for _turn in range(500):
            await asyncio.sleep(0)
            assert buffered() < HELD
        may_read.set()
        await client.writer.drain()
        await hang_up(client.writer)
        await until(lambda: len(got) == 1)
    assert got == [message]


async def test_a_revoked_sessions_sockets_are_closed_and_no_other() -> None:
    async with tunnelled() as (up, gateway):
        gateway.verifier.tokens[b"other-token"] = replace(CLAIMS, session_id="another")
        mine = await asyncio.gather(*(connect(gateway.port) for _ in range(100)))
        others = await asyncio.gather(*(connect(gateway.port, handshake(token=b"other-token")) for _ in range(100)))
        assert (len(gateway.proxy.tunnels), len(gateway.proxy.streams)) == (200, 200)
        gateway.index.apply([REVOKED])
        async with asyncio.timeout(5):
            ends = await asyncio.gather(*(client.reader.read() for client in mine))
        assert {close_code(end) for end in ends} == {4401}
        assert ends[0].endswith(b"session revoked")
        for client in others:
            client.writer.write(frame(b"still here", mask=True))
            assert (await client.reader.readexactly(16)).endswith(b"still here")
        await asyncio.gather(*(hang_up(client.writer) for client in mine))
        await until(lambda: up.open == 100)
        assert len(gateway.proxy.streams) == 100
        gateway.index.apply([FeedEntry(2, FeedKind.USER, CLAIMS.subject, 1, CLAIMS.expires_at)])
        ends = await asyncio.gather(*(client.reader.read() for client in others))
        assert {close_code(end) for end in ends} == {4401}
        await asyncio.gather(*(hang_up(client.writer) for client in others))


async def test_a_close_waits_for_the_end_of_the_frame_under_way() -> None:
    half, rest = asyncio.Event(), asyncio.Event()
    message = frame(b"x" * 1000)
    got: list[bytes] = []

    async def then(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(message[:500])
        await half.wait()
        writer.write(message[500:] + frame(b"too late"))
        await rest.wait()
        got.append(await read_all(reader))

    async with tunnelled(then) as (_, gateway):
        client = await connect(gateway.port)
        assert await client.reader.readexactly(500) == message[:500]
        gateway.index.apply([REVOKED])
        client.writer.write(frame(b"not any more", mask=True))
        half.set()
        end = await client.reader.read()
        rest.set()
        await hang_up(client.writer)
        await until(lambda: len(got) == 1)
    assert end[:-19] == message[500:]
    assert close_code(end[-19:]) == 4401
    assert got == [b""]


async def test_a_frame_that_does_not_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnels, "_FRAME_SECONDS", 0.02)
    held = asyncio.Event()

    async def then(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x82\x7f")
        await read_all(reader)
        held.set()

    async with tunnelled(then) as (_, gateway):
        client = await connect(gateway.port)
        assert await client.reader.readexactly(2) == b"\x82\x7f"
        gateway.index.apply([REVOKED])
        assert await read_all(client.reader) == b""
        await asyncio.wait_for(held.wait(), 5)
        await hang_up(client.writer)


async def test_a_client_that_ignores_its_close_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnels, "_LINGER_SECONDS", 0.02)
    async with tunnelled() as (up, gateway):
        client = await connect(gateway.port)
        gateway.index.apply([REVOKED])
        await until(lambda: up.open == 0 and len(gateway.proxy.tunnels) == 0)
        assert close_code(await read_all(client.reader)) == 4401
        await hang_up(client.writer)


async def test_where_the_upstream_has_said_close_nothing_is_added() -> None:
    farewell = frame(b"\x03\xe8", 8)

    async def then(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(farewell)
        await read_all(reader)

    async with tunnelled(then) as (_, gateway):
        client = await connect(gateway.port)
        assert await client.reader.readexactly(len(farewell)) == farewell
        gateway.index.apply([REVOKED])
        assert await client.reader.read() == b""
        await hang_up(client.writer)


async def test_silence_ends_it() -> None:
    async with tunnelled() as (up, gateway):
        client = await connect(gateway.port)
        [open_one] = gateway.proxy.tunnels._open
        limit = open_one.timer.when
        client.writer.write(frame(b"ping", 9, mask=True))
        await client.reader.readexactly(10)
        assert open_one.timer.when > limit
        open_one.timer.set(open_one.loop.time())
        end = await client.reader.read()
        assert (close_code(end), end[4:]) == (1001, b"idle")
        await hang_up(client.writer)
        await until(lambda: up.open == 0)


@pytest.mark.parametrize("reset", [False, True])
async def test_when_one_side_is_gone_the_other_is_closed(reset: bool) -> None:
    leave = asyncio.Event()

    async def then(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(read_all(reader), 0.1 if leave.is_set() else 5)
        _hang_up_now(writer, reset=reset)

    async with tunnelled(then) as (up, gateway):
        client = await connect(gateway.port)
        _hang_up_now(client.writer, reset=reset)
        await until(lambda: up.open == 0 and len(gateway.proxy.tunnels) == 0)
        leave.set()
        client = await connect(gateway.port)
        assert await read_all(client.reader) == b""
        await hang_up(client.writer)
        await until(lambda: len(gateway.notes.requests) == 2)


def _hang_up_now(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    if reset:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        writer.close()


async def test_a_session_revoked_before_the_101_gets_no_socket() -> None:
    held = asyncio.Event()

    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            await held.wait()
            writer.write(SWITCHING + b"\r\n")
            await read_all(reader)

        return follow

    async with upstream(script) as up, proxied(up.port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(handshake())
        await until(lambda: len(up.heads) == 1)
        gateway.index.apply([REVOKED])
        held.set()
        _, _, end = (await read_all(reader)).partition(b"\r\n\r\n")
        assert close_code(end) == 4401
        await hang_up(writer)


async def test_a_gateway_that_stops_says_so() -> None:
    async with tunnelled() as (up, gateway):
        clients = [await connect(gateway.port), await connect(gateway.port, handshake("/public/ws", token=None))]
        gateway.front.drain()
        for client in clients:
            end = await client.reader.read()
            assert (close_code(end), end[4:]) == (1001, b"shutting down")
            await hang_up(client.writer)
        await gateway.front.shutdown(5)
        await until(lambda: up.open == 0)


async def test_streams_end_at_the_end_of_a_token_that_was_not_refreshed() -> None:
    clock = FrozenClock()
    life = {"refreshed": 4_000_000_000.0}

    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await raw.head(reader)
            events = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"
            writer.write(events if b"/events" in head else SWITCHING + b"\r\n")
            await read_all(reader)

        return follow

    async def access_until(sids: Sequence[str]) -> Mapping[str, float]:
        return {sid: life[sid] for sid in sids if sid in life}

    async with upstream(script) as up, proxied(up.port, clock=clock) as gateway:
        gateway.proxy.streams._access_until = access_until
        short = replace(CLAIMS, expires_at=int(clock.now()) + 300)
        gateway.verifier.tokens[TOKEN] = short
        gateway.verifier.tokens[b"refreshed"] = replace(short, session_id="refreshed")
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(get("/api/events", close=False))
        await reader.readuntil(b"data: 1\n\n\r\n")
        ended = await connect(gateway.port)
        kept = await connect(gateway.port, handshake(token=b"refreshed"))
        clock.advance(300)
        await gateway.proxy.streams.check()
        assert await read_all(reader) == b"0\r\n\r\n"
        assert close_code(await ended.reader.read()) == 4401
        assert (len(gateway.proxy.streams), len(gateway.proxy.tunnels)) == (1, 2)
        for each in (writer, ended.writer, kept.writer):
            await hang_up(each)
        await until(lambda: len(gateway.proxy.streams) == 0)


async def test_the_whole_gateway_closes_them_at_logout_and_when_it_stops(fleet: Fleet) -> None:
    await asyncio.to_thread(fleet.add_user)
    async with upstream(switching()) as up:
        route = {"name": "api", "match": {"path": "/api/"}, "upstream": f"http://127.0.0.1:{up.port}"}
        gateway = await asyncio.to_thread(fleet.serve, routes=[route])
        first, second = [(await asyncio.to_thread(gateway.body_login))["access_token"].encode() for _ in range(2)]
        mine = await connect(gateway.port, handshake(token=first))
        other = await connect(
            gateway.port, handshake("/api/ws", f"Sec-WebSocket-Protocol: bearer, {second.decode()}", token=None)
        )
        answer = await asyncio.to_thread(gateway.post, "/auth/logout", bearer=first.decode())
        assert answer.status == 204
        async with asyncio.timeout(5):
            assert close_code(await mine.reader.read()) == 4401
            other.writer.write(frame(b"x", mask=True))
            assert await other.reader.readexactly(7) == frame(b"x", mask=True)
            stopping = asyncio.create_task(asyncio.to_thread(gateway.stop))
            assert close_code(await other.reader.read()) == 1001
            await hang_up(mine.writer)
            await hang_up(other.writer)
        assert await stopping == 0
        lines = gateway.events("proxy.request")
        assert [line["http.response.status_code"] for line in lines] == [101, 101]


async def test_the_whole_gateway_ends_them_at_the_end_of_a_token_that_nobody_refreshed(fleet: Fleet) -> None:
    await asyncio.to_thread(fleet.add_user)
    async with upstream(switching()) as up:
        route = {"name": "api", "match": {"path": "/api/"}, "upstream": f"http://127.0.0.1:{up.port}"}
        gateway = await asyncio.to_thread(fleet.serve, routes=[route], tokens={"access_ttl": "2s"})
        refreshed, idle = [await asyncio.to_thread(gateway.body_login) for _ in range(2)]
        kept = await connect(gateway.port, handshake(token=refreshed["access_token"].encode()))
        ended = await connect(gateway.port, handshake(token=idle["access_token"].encode()))
        reading = asyncio.create_task(ended.reader.read())
        token, kept_for = refreshed["refresh_token"], 0
        async with asyncio.timeout(10):
            while not reading.done():
                answer = await asyncio.to_thread(gateway.refresh, token)
                assert answer.status == 200
                token, kept_for = answer.json["refresh_token"], kept_for + 1
                await asyncio.wait([reading], timeout=0.5)
        assert close_code(reading.result()) == 4401
        kept.writer.write(frame(b"x", mask=True))
        assert await kept.reader.readexactly(7) == frame(b"x", mask=True)
        assert kept_for > 1
        for client in (kept, ended):
            await hang_up(client.writer)
