"""Peers that are slow, old, or in the middle of something when the gateway stops."""

from __future__ import annotations

import asyncio
import socket

import pytest
from aiohttp import web
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

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
START = b"HTTP/1.1 200 OK\r\n"


def endless(raw: RawUpstream) -> Script:
    async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await raw.head(reader)
        await read_all(reader)

    return follow


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_slow_reader_gets_everything_and_holds_little(chunked: bool) -> None:
    body = bytes(range(256)) * 65536  # 16 MiB

    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
            writer.write(START + framing + b"\r\n\r\n")
            for at in range(0, len(body), 65536):
                part = body[at : at + 65536]
                writer.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
                await writer.drain()
            writer.write(b"0\r\n\r\n" if chunked else b"")
            await read_all(reader)

        return follow

    async with upstream(script) as up, proxied(up.port) as gateway:
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", gateway.port))
            await loop.sock_sendall(client, get())
            got, most = bytearray(), 0
            while piece := await loop.sock_recv(client, 65536):
                got += piece
                for held in gateway.front.connections:
                    most = max(most, held.transport.get_write_buffer_size() if held.transport else 0)
    assert most < 1024 * 1024
    rest = bytes(got).partition(b"\r\n\r\n")[2]
    if chunked:
        found, at = bytearray(), 0
        while size := int(rest[at : rest.index(b"\r\n", at)], 16):
            at = rest.index(b"\r\n", at) + 2
            found += rest[at : at + size]
            at += size + 2
        rest = bytes(found)
    assert rest == body
    assert gateway.notes.requests[0][7] == len(body)


async def test_http_1_0_clients_may_keep_their_connection() -> None:
    request = get("/api/x", "Connection: keep-alive", close=False).replace(b"/1.1\r\n", b"/1.0\r\n")
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        for _ in range(2):
            writer.write(request)
            head = await reader.readuntil(b"ok")
            assert field_of(head, b"Connection") == b"keep-alive"
        writer.write(request.replace(b"Connection: keep-alive\r\n", b""))
        assert field_of(await read_all(reader), b"Connection") == b"close"
        await hang_up(writer)


async def test_expect_from_an_old_client_is_not_answered() -> None:
    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
            await read_all(reader)

        return follow

    request = get("/api/x", "Expect: 100-continue", "Content-Length: 0", method="POST").replace(
        b"/1.1\r\n", b"/1.0\r\n"
    )
    async with upstream(script) as up, proxied(up.port) as gateway:
        answer = await gateway.talk(request)
    assert status_of(answer) == 200


async def test_the_own_api_gets_its_bodies_and_not_for_ever() -> None:
    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    async def crash(request: web.Request) -> web.Response:
        raise RuntimeError("secret")

    app = web.Application()
    app.router.add_post("/auth/echo", echo)
    app.router.add_post("/auth/crash", crash)
    limits = ClientLimits(own_body=0.1, linger=0.1)
    async with upstream(answering(OK)) as up, proxied(up.port, app=app, limits=limits) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(get("/auth/echo", "Content-Length: 5", method="POST", close=False) + b"he")
        await until(lambda: any(each._task_handler for each in gateway.front.connections))
        writer.write(
            b"llo" + get("/api/next", close=False) + get("/auth/echo", "Content-Length: 1", method="POST") + b"x"
        )
        both = await read_all(reader)
        await hang_up(writer)
        slow = await gateway.talk(get("/auth/echo", "Content-Length: 5", method="POST") + b"he")
        unread = await gateway.talk(get("/auth/none", "Content-Length: 5", method="POST", close=False) + b"he")
        bad_chunk = await gateway.talk(get("/auth/echo", "Transfer-Encoding: chunked", method="POST") + b"2\r\nhe")
        crashed = await gateway.talk(get("/auth/crash", method="POST"))
    assert [part in both for part in (b"hello", b"\r\n\r\nok", b"\r\n\r\nx")] == [True] * 3
    assert both.count(b"HTTP/1.1 200") == 3
    assert status_of(unread) == 404
    assert [status_of(each) for each in (slow, bad_chunk, crashed)] == [500, 500, 500]
    assert b"secret" not in crashed
    assert field_of(crashed, b"Content-Type") == b"application/problem+json"


async def test_a_client_of_the_own_api_that_leaves_does_not_stop_the_work() -> None:
    done = asyncio.Event()
    started = asyncio.Event()
    go = asyncio.Event()

    async def work(request: web.Request) -> web.Response:
        started.set()
        await go.wait()
        done.set()
        return web.Response(text="done")

    app = web.Application()
    app.router.add_get("/auth/work", work)
    async with upstream(answering(OK)) as up, proxied(up.port, app=app) as gateway:
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(get("/auth/work"))
        await started.wait()
        await hang_up(writer)
        await until(lambda: all(each.transport is None for each in gateway.front.connections))
        go.set()
        await until(done.is_set)
    assert done.is_set()


async def test_shutdown_waits_for_requests_and_then_does_not() -> None:
    async with upstream(endless) as up, proxied(up.port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(get())
        await until(lambda: len(up.heads) == 1)
        await gateway.front.shutdown(0.05)
        assert await read_all(reader) == b""
        await hang_up(writer)
    assert gateway.notes.requests[0][2] == 499


async def test_a_request_under_way_is_answered_while_draining() -> None:
    go = asyncio.Event()

    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            await go.wait()
            writer.write(OK)
            await read_all(reader)

        return follow

    async with upstream(script) as up, proxied(up.port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(get(close=False))
        await until(lambda: len(up.heads) == 1)
        stopping = asyncio.ensure_future(gateway.front.shutdown(5.0))
        await until(lambda: gateway.front.connections[0]._draining)
        go.set()
        answer = await read_all(reader)
        await stopping
        await hang_up(writer)
    assert status_of(answer) == 200
    assert field_of(answer, b"Connection") == b"close"
    assert answer.endswith(b"ok")


async def test_an_upload_that_nobody_reads_is_a_gateway_timeout() -> None:
    go = asyncio.Event()

    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            await go.wait()

        return follow

    async with upstream(script) as up, proxied(routes_to(up.port, idle_timeout=0.2)) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(get("/api/x", "Content-Length: 67108864", method="POST") + b"x" * (32 << 20))
        answer = await read_all(reader)
        writer.transport.abort()
        go.set()
    assert status_of(answer) == 504


async def test_a_bug_on_the_way_is_a_500_without_details(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret")

    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        monkeypatch.setattr("gateway.proxy.upstreams.Upstreams.choose", broken)
        answer = await gateway.talk(get())
    assert status_of(answer) == 500
    assert b"secret" not in answer
    [event] = gateway.notes.events
    assert event.name == "request.failed"
    assert "secret" not in str(event)
    assert up.heads == []


async def test_leaving_while_the_upstream_connection_is_made() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = []
        for _ in range(4):  # fill the backlog, so that the next connection hangs
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)
        async with proxied(routes_to(listener.getsockname()[1], connect_timeout=0.3)) as gateway:
            late = asyncio.ensure_future(gateway.talk(get()))
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(get())
            await until(lambda: sum(each.exchange is not None for each in gateway.front.connections) == 2)
            await hang_up(writer)
            await until(lambda: len(gateway.notes.requests) >= 1)
            answer = await late
        for filler in fillers:
            filler.close()
    assert gateway.notes.requests[0][2] == 499
    assert status_of(answer) == 502
