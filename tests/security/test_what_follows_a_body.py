"""The bytes behind the end of a body: never counted to a head that is not there, never read as what they are not."""

from __future__ import annotations

import asyncio
import socket

import pytest
from aiohttp import web
from support.proxying import (
    RawUpstream,
    Script,
    Setup,
    answering,
    field_of,
    get,
    hang_up,
    proxied,
    read_all,
    status_of,
    until,
    upstream,
)

from gateway.proxy.ports import ClientLimits

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEAD = b"POST /api/x HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer good-token\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def answering_bodies(raw: RawUpstream) -> Script:
    async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await raw.head(reader)
            if field_of(head, b"Transfer-Encoding"):
                await reader.readuntil(b"0\r\n\r\n")
            else:
                await reader.readexactly(int(field_of(head, b"Content-Length") or 0))
            writer.write(OK)

    return follow


@pytest.mark.parametrize(
    ("head", "rest"),
    [
        (HEAD + b"Content-Length: 5\r\n\r\n", b"abcde"),
        (HEAD + b"Content-Length: 100000\r\n\r\n", b"a" * 100_000),
        (CHUNKED, b"3\r\nabc\r\n0\r\n\r\n"),
        (CHUNKED, b"3;x=" + b"y" * 4000 + b"\r\nabc\r\n0\r\n\r\n"),
    ],
)
async def test_the_end_of_a_body_does_not_begin_another_head(head: bytes, rest: bytes) -> None:
    limits = ClientLimits(head=0.1, keep_alive=0.5, head_size=2048)
    async with upstream(answering_bodies) as up, proxied(up.port, limits=limits) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(head)
        await until(lambda: len(up.heads) == 1)
        writer.write(rest)
        answer = await asyncio.wait_for(read_all(reader), 5)  # until the idle connection is closed, without a word
        await hang_up(writer)
    assert answer.endswith(b"\r\n\r\nok")
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_a_head_begun_behind_a_body_must_still_come_in_time() -> None:
    limits = ClientLimits(head=0.1, keep_alive=30.0)
    async with upstream(answering_bodies) as up, proxied(up.port, limits=limits) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(HEAD + b"Content-Length: 5\r\n\r\n")
        await until(lambda: len(up.heads) == 1)
        writer.write(b"abcdeGET /api/x HT")
        answer = await asyncio.wait_for(read_all(reader), 5)
        await hang_up(writer)
    assert answer.count(b"HTTP/1.1 200") == 1
    assert answer.count(b"HTTP/1.1 408") == 1


async def test_nothing_is_read_behind_an_upgrade_whose_body_came_later() -> None:
    begun = asyncio.Event()

    async def swallow(request: web.Request) -> web.Response:
        begun.set()
        return web.Response(body=await request.read())

    app = web.Application()
    app.router.add_post("/auth/swallow", swallow)
    async with upstream(answering(OK)) as up, proxied(up.port, app=app) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(
            b"POST /auth/swallow HTTP/1.1\r\nHost: gateway.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
            b"Content-Length: 5\r\n\r\n"
        )
        await begun.wait()
        writer.write(b"abcde" + get("/api/lost", close=False))
        writer.write(get("/api/smuggled", close=False))
        answer = await asyncio.wait_for(read_all(reader), 5)
        await hang_up(writer)
    assert status_of(answer) == 200
    assert answer.count(b"HTTP/1.1 ") == 1
    assert up.heads == []


def double(raw: RawUpstream) -> Script:
    async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await raw.head(reader)
        if raw.connections == 1:
            writer.write(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
                b"HTTP/1.1 200 OK\r\nContent-Le"
            )
            await raw.head(reader)
            writer.write(b"ngth: 6\r\n\r\npoison")
        else:
            writer.write(OK)
            await read_all(reader)

    return follow


async def test_part_of_an_answer_behind_chunks_is_refused_and_never_meets_the_next_request() -> None:
    async with upstream(double) as up, proxied(up.port) as gateway:
        first = await gateway.talk(get())
        second = await gateway.talk(get())
    assert status_of(first) == 502
    assert second.endswith(b"\r\n\r\nok")
    assert up.connections == 2


@pytest.mark.parametrize("tail", [b"0\r\n\r\n", b"\r\n\r\n", b"\n", b"0\r\nX-Sum: 1\r\n\r\n"])
async def test_a_last_chunk_sent_by_itself_keeps_the_connection(tail: bytes) -> None:
    whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    start = whole[: len(whole) - (5 if tail.startswith(b"0") else len(tail))]

    setups: list[Setup] = []

    def first_segment_is_in() -> bool:
        return any(each.exchange and each.exchange._responded for each in setups[0].front.connections)

    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                await raw.head(reader)
                writer.write(start)
                await until(first_segment_is_in)
                writer.write(tail)

        return follow

    async with upstream(script) as up, proxied(up.port) as gateway:
        setups.append(gateway)
        answers = [await gateway.talk(get()) for _ in range(3)]
    last = b"0\r\nX-Sum: 1\r\n\r\n" if b"X-Sum" in tail else b"0\r\n\r\n"
    assert [answer.endswith(b"ok\r\n" + last) for answer in answers] == [True] * 3
    assert up.connections == 1


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_request_that_closes_is_answered_and_what_is_behind_it_never(method: str) -> None:
    async with upstream(answering(OK if method == "GET" else OK[:-2])) as up, proxied(up.port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(get("/api/first", method=method, close=False))
        await reader.readuntil(b"ok" if method == "GET" else b"\r\n\r\n")
        writer.write(get("/api/last", method=method) + get("/api/never", close=False) + get("/api/never"))
        answer = await read_all(reader)
        await hang_up(writer)
        together = await gateway.talk(get("/api/one", method=method) + get("/api/never"))
    for each in (answer, together):
        assert status_of(each) == 200
        assert each.count(b"HTTP/1.1 ") == 1
        assert field_of(each, b"Connection") == b"close"
    assert [head.split()[1] for head in up.heads] == [b"/api/first", b"/api/last", b"/api/one"]


async def test_a_body_with_an_unasked_request_behind_it_still_arrives() -> None:
    async with upstream(answering_bodies) as up, proxied(up.port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(HEAD + b"Connection: close\r\nContent-Length: 5\r\n\r\nab")
        await until(lambda: len(up.heads) == 1)
        writer.write(b"cde" + get("/api/never"))
        answer = await read_all(reader)
        await hang_up(writer)
    assert status_of(answer) == 200
    assert answer.count(b"HTTP/1.1 ") == 1
    assert len(up.heads) == 1


async def test_requests_in_front_of_garbage_are_answered_before_it_is_refused() -> None:
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        pipeline = get("/api/1", close=False) + get("/api/2", "Content-Length: 6", close=False, method="PUT")
        answer = await gateway.talk(pipeline + b"a\r\n\r\nb" + b"GARBAGE\x00\r\n\r\n" + get("/api/never"))
    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"200", b"200", b"400"]
    assert [head.split()[1] for head in up.heads] == [b"/api/1", b"/api/2"]


@pytest.mark.parametrize("begun", ["GET /api/b HTTP/1.1\r\nX-A: ", "GET /api/b HTTP/1.1\r\nX: y\r\n", "\r\nGE"])
async def test_the_rest_of_a_head_is_never_read_as_a_request(begun: str) -> None:
    smuggled = get("/api/smuggled", close=False)
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(get("/api/a", close=False) + begun.encode())
        await reader.readuntil(b"ok")
        writer.write(smuggled + b"\x00garbage\r\n\r\n")
        answer = await read_all(reader)
        await hang_up(writer)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert status_of(answer) == 400
    assert [head.split()[1] for head in up.heads] == [b"/api/a"]


async def test_a_head_begun_behind_a_request_must_come_in_time() -> None:
    limits = ClientLimits(head=0.1, keep_alive=30.0)
    async with upstream(answering(OK)) as up, proxied(up.port, limits=limits) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(get(close=False) + b"GET /api/x HT")
        answer = await asyncio.wait_for(read_all(reader), 5)
        await hang_up(writer)
    assert answer.count(b"HTTP/1.1 200") == answer.count(b"HTTP/1.1 408") == 1
    assert len(up.heads) == 1


async def test_a_slow_client_reads_an_early_answer_to_its_end() -> None:
    size = 3_000_000

    def early(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
            await read_all(reader)

        return follow

    limits = ClientLimits(linger=0.05, stall=5.0)
    async with upstream(early) as up, proxied(up.port, limits=limits) as gateway:
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            await loop.sock_connect(sock, ("127.0.0.1", gateway.port))
            await until(lambda: len(gateway.front.connections) == 1)
            transport = gateway.front.connections[0].transport
            assert transport is not None
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            await loop.sock_sendall(sock, HEAD + b"Content-Length: 50\r\n\r\nabc")
            got, rested = 0, False
            while data := await loop.sock_recv(sock, 8192):
                got += len(data)
                if gateway.notes.requests and not rested:  # all is written; what the client has not read is kept for it
                    rested = True
                    assert gateway.front.connections[0]._timer.when > loop.time() + limits.stall / 2
    assert rested
    assert got > size
