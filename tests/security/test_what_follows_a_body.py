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


async def test_part_of_an_answer_behind_chunks_costs_the_connection_not_the_next_request() -> None:
    async with upstream(double) as up, proxied(up.port) as gateway:
        first = await gateway.talk(get())
        second = await gateway.talk(get())
    assert first.endswith(b"0\r\n\r\n")
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
    assert [answer.endswith(b"ok\r\n0\r\n\r\n") for answer in answers] == [True] * 3
    assert up.connections == 1


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
