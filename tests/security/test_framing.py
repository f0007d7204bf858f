"""Requests whose end could be read two ways are refused; what follows them is never a second request."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from support.proxying import (
    answering,
    field_of,
    fields_of,
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
HEAD = b"Host: gateway.test\r\nAuthorization: Bearer good-token\r\n"
SMUGGLED = b"GET /api/smuggled HTTP/1.1\r\n" + HEAD + b"\r\n"
POST = b"POST /api/x HTTP/1.1\r\n" + HEAD


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (POST + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (POST + b"Content-Length: 4, 4\r\n\r\nabcd", 400),
        (POST + b"Content-Length: +4\r\n\r\nabcd", 400),
        (POST + b"Content-Length: -1\r\n\r\n", 400),
        (POST + b"Content-Length: 0x4\r\n\r\nabcd", 400),
        (POST + b"Content-Length:\r\n\r\n", 400),
        (POST + b"Content-Length: 99999999999999999999999\r\n\r\n", 400),
        (POST + b"Content-Length: " + b"0" * 5000 + b"4\r\n\r\nabcd", 400),
        (POST + b"Content-Length : 4\r\n\r\nabcd", 400),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: identity\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"X-Fold: a\r\n b\r\n\r\n", 400),
        (POST + b"X-Bare: a\n\r\n", 400),
        (POST + b"X-Cr: a\rb\r\n\r\n", 400),
        (POST + b"X-Nul: a\x00b\r\n\r\n", 400),
        (POST + b"No-Colon\r\n\r\n", 400),
        (POST + b": empty\r\n\r\n", 400),
        (POST + b"B\xc3\xa4d: x\r\n\r\n", 400),
        (b"GET /api/x HTTP/1.1\n" + HEAD + b"\r\n", 400),
        (b"POST /api/x HTTP/1.0\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /auth/x HTTP/1.0\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET /api/x\r\n\r\n", 505),
        (b"GET /api/x HTTP/0.9\r\n" + HEAD + b"\r\n", 505),
        (b"GET /api/x HTTP/2.0\r\n" + HEAD + b"\r\n", 505),
        (b"GET /api/x HTTP/1.2\r\n" + HEAD + b"\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"get /api/x HTTP/1.1\r\n" + HEAD + b"\r\n", 400),
        (b"GET /api/x HTTP/1.1 \r\n" + HEAD + b"\r\n", 400),
        (b"GET /api/" + b"a" * 9000 + b" HTTP/1.1\r\n" + HEAD + b"\r\n", 414),
        (POST + b"X-Long: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (POST + b"".join(b"X-%d: a\r\n" % n for n in range(200)) + b"\r\n", 400),
    ],
)
async def test_malformed_requests_are_refused_and_end_the_connection(request_: bytes, status: int) -> None:
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        answer = await gateway.talk(request_ + SMUGGLED)
    assert status_of(answer) == status
    assert answer.count(b"HTTP/1.1 ") == 1
    assert field_of(answer, b"Connection") == b"close"
    assert up.heads == []


@pytest.mark.parametrize("line", [b"GET /api/x", b"GET /api/x HTTP/0.9", b"GET /api/x HTTP/2.0"])
async def test_other_versions_of_http(line: bytes) -> None:
    request = line + b"\r\n" + (HEAD if b"HTTP" in line else b"") + b"\r\n"
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        assert status_of(await gateway.talk(request)) == 505
    assert up.heads == []


@pytest.mark.parametrize(
    "body", [b"zz\r\nab\r\n0\r\n\r\n", b"-1\r\n", b"2\r\nabc\r\n0\r\n\r\n", b"2 \r\nab\r\n0\r\n\r\n", b"2\nab\n"]
)
async def test_bad_chunks_end_the_request(body: bytes) -> None:
    def script(raw):  # type: ignore[no-untyped-def]
        async def follow(reader, writer):  # type: ignore[no-untyped-def]
            await raw.head(reader)
            raw.heads.append(await read_all(reader))

        return follow

    async with upstream(script) as up, proxied(up.port) as gateway:
        together = await gateway.talk(POST + b"Transfer-Encoding: chunked\r\n\r\n" + body + SMUGGLED)
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        await until(lambda: any(client.exchange is not None for client in gateway.front.connections))
        writer.write(body + SMUGGLED)
        apart = await read_all(reader)
        await hang_up(writer)
    for answer in (together, apart):
        assert status_of(answer) in {400, 502}
        assert answer.count(b"HTTP/1.1 ") == 1
    assert not any(b"smuggled" in head for head in up.heads)


async def test_bodies_pass_as_they_came_compressed_or_not() -> None:
    packed = bytes.fromhex("1f8b08000000000000034b4c4a06000241c23503000000")
    request = POST + b"Content-Encoding: gzip\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(packed) + packed
    seen = []

    def script(raw):  # type: ignore[no-untyped-def]
        async def follow(reader, writer):  # type: ignore[no-untyped-def]
            await raw.head(reader)
            seen.append(await reader.readexactly(len(packed)))
            writer.write(OK)
            await read_all(reader)

        return follow

    async with upstream(script) as up, proxied(up.port) as gateway:
        assert status_of(await gateway.talk(request)) == 200
    assert seen == [packed]
    assert field_of(up.heads[0], b"Content-Encoding") == b"gzip"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/api/x", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x", close=False), 426),
        (get("/api/x", "Connection: Upgrade", "Upgrade: websocket", "Content-Length: 4", close=False) + b"abcd", 400),
        (get("/api/x", "Connection: Upgrade", "Upgrade: WebSocket", "Transfer-Encoding: chunked", close=False), 400),
        (get("/api/x", "Connection: Upgrade", "Upgrade: websocket", method="POST", close=False), 400),
        (get("/api/x", "Connection: Upgrade", "Upgrade: websocket", close=False).replace(b"/1.1", b"/1.0"), 400),
        (get("/api/x", "Connection: Upgrade", "Upgrade: h2c", "HTTP2-Settings: AA", close=False), 200),
        (get("/api/x", "Connection: Upgrade", "Upgrade: h2c", "Content-Length: 4", close=False) + b"abcd", 200),
    ],
)
async def test_upgrades_end_the_connection_and_nothing_behind_them_is_read(request_: bytes, status: int) -> None:
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        answer = await gateway.talk(request_ + SMUGGLED)
    assert status_of(answer) == status
    assert answer.count(b"HTTP/1.1 ") == 1
    assert field_of(answer, b"Connection") == b"close"
    assert len(up.heads) == (status == 200)
    for head in up.heads:
        assert fields_of(head, b"Upgrade") == fields_of(head, b"HTTP2-Settings") == fields_of(head, b"Connection") == []


async def test_declared_and_streamed_bodies_over_the_limit() -> None:
    def script(raw):  # type: ignore[no-untyped-def]
        async def follow(reader, writer):  # type: ignore[no-untyped-def]
            await raw.head(reader)
            await read_all(reader)

        return follow

    async with upstream(script) as up, proxied(routes_to(up.port, body_limit=10)) as gateway:
        declared = await gateway.talk(POST + b"Content-Length: 11\r\nExpect: 100-continue\r\n\r\n")
        at_once = await gateway.talk(
            POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n")
        await until(lambda: len(up.heads) == 1)
        writer.write(b"6\r\n012345\r\n")
        streamed = await read_all(reader)
        await hang_up(writer)
    assert [status_of(answer) for answer in (declared, at_once, streamed)] == [413, 413, 413]
    assert all(field_of(answer, b"Connection") == b"close" for answer in (declared, at_once, streamed))
    assert len(up.heads) == 1


async def test_ten_thousand_pipelined_requests_are_answered_in_order_without_piling_up() -> None:
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        count = 10_000
        data = b"".join(get(f"/nothing/{n}", close=n == count - 1, token=None) for n in range(count))
        sending = asyncio.ensure_future(_send(writer, data))
        await until(lambda: bool(gateway.front.connections))
        [client] = gateway.front.connections
        most = 0
        received = bytearray()
        while piece := await reader.read(65536):
            most = max(most, len(client._messages))
            received += piece
        await sending
        await hang_up(writer)
    assert received.count(b"HTTP/1.1 404") == count
    assert most <= 64
    assert [entry[1] for entry in gateway.notes.requests[:3]] == ["/nothing/0", "/nothing/1", "/nothing/2"]


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    for at in range(0, len(data), 65536):
        writer.write(data[at : at + 65536])
        await writer.drain()


async def test_slow_heads_slow_bodies_and_idle_connections_end() -> None:
    limits = ClientLimits(keep_alive=0.1, head=0.1, linger=0.1)

    def script(raw):  # type: ignore[no-untyped-def]
        async def follow(reader, writer):  # type: ignore[no-untyped-def]
            await raw.head(reader)
            await read_all(reader)

        return follow

    async with upstream(script) as up, proxied(routes_to(up.port, idle_timeout=0.1), limits=limits) as gateway:
        assert await gateway.talk(b"") == b""
        partial = await gateway.talk(b"GET /api/x HTTP/1.1\r\nHost: gate")
        body = await gateway.talk(POST + b"Content-Length: 10\r\n\r\nabc")
    assert status_of(partial) == 408
    assert status_of(body) == 408
    assert b"error" in body


async def test_a_head_without_end_is_cut_off() -> None:
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(b"GET /api/x HTTP/1.1\r\nHost: gateway.test\r\n")
        answer = b""
        for number in range(100):
            writer.write(b"X-%d: %b\r\n" % (number, b"a" * 2000))
            await writer.drain()
            await asyncio.sleep(0)
        answer = await read_all(reader)
        await hang_up(writer)
    assert status_of(answer) == 431


async def test_expect_100_continue_goes_end_to_end() -> None:
    def script(raw):  # type: ignore[no-untyped-def]
        async def follow(reader, writer):  # type: ignore[no-untyped-def]
            await raw.head(reader)
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            raw.heads.append(await reader.readexactly(4))
            writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK)
            await read_all(reader)

        return follow

    async with upstream(script) as up, proxied(up.port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(POST + b"Content-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"body")
        answer = await read_all(reader)
        await hang_up(writer)
    assert answer.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert answer.count(b"HTTP/1.1") == 2
    assert up.heads[1] == b"body"
    assert field_of(up.heads[0], b"Expect") == b"100-continue"


async def test_draining_answers_503_with_retry_after() -> None:
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(get(close=False))
        await reader.readuntil(b"ok")
        gateway.proxy.draining = True
        writer.write(get(close=False))
        head = await reader.readuntil(b"\r\n\r\n")
        gateway.front.drain()
        await read_all(reader)
        await hang_up(writer)
    assert status_of(head) == 503
    assert field_of(head, b"Retry-After") == b"1"
    assert len(up.heads) == 1


async def test_strict_revocation_answers_503_while_the_feed_is_stale() -> None:
    async with upstream(answering(OK)) as up:
        strict = replace(routes_to(up.port)[0], name="strict", path="/strict/", strict_revocation=True)
        async with proxied([strict, *routes_to(up.port)]) as gateway:
            assert status_of(await gateway.talk(get("/strict/x"))) == 200
            gateway.stale[0] = 6.0
            assert status_of(await gateway.talk(get("/strict/x"))) == 503
            assert status_of(await gateway.talk(get("/api/x"))) == 200
