"""Fields behind a chunked answer: checked like headers, kept from meaning what only a header may mean."""

from __future__ import annotations

import asyncio

import pytest
from support.proxying import (
    RawUpstream,
    Script,
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

from gateway.proxy.header_rules import HeaderRules

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
START = HEAD + b"\r\n2\r\nok\r\n0\r\n"


async def test_trailers_reach_a_modern_client_and_are_announced() -> None:
    answer = HEAD + b"Trailer: X-Sum, Set-Cookie\r\nTrailer: x-user-id, Server-Timing\r\n\r\n"
    answer += b"2\r\nok\r\n0\r\nX-Sum: 1\r\nserver-timing:  total;dur=1\t\r\n\r\n"
    async with upstream(answering(answer)) as up, proxied(up.port) as gateway:
        got = [await gateway.talk(get()) for _ in range(2)]
        old = await gateway.talk(get().replace(b"/1.1\r\n", b"/1.0\r\n"))
        assert up.connections == 1
    for each in got:
        assert each.endswith(b"\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\nserver-timing: total;dur=1\r\n\r\n")
        assert field_of(each, b"Trailer") == b"x-sum, server-timing"
    assert old.endswith(b"\r\n\r\nok")
    assert fields_of(old, b"Trailer") == []


@pytest.mark.parametrize(
    "name",
    [
        "X-User-Id", "x_user_id", "X.User.Roles", "X-Request-Id", "Set-Cookie", "set_cookie", "Content-Length",
        "Content_Length", "Transfer-Encoding", "Connection", "Host", "Authorization", "Cookie", "WWW-Authenticate",
        "Content-Encoding", "Content-Type", "Content-Range", "Trailer", "Cache-Control", "Age", "Expires", "Date",
        "Location", "Vary", "Strict-Transport-Security", "Access-Control-Allow-Origin", "Upgrade", "Keep-Alive",
        "Proxy-Authenticate", "TE",
    ],
)  # fmt: skip
async def test_what_only_a_header_may_say_is_dropped(name: str) -> None:
    answer = START + f"X-A: 1\r\n{name}: evil\r\nX-B: 2\r\n\r\n".encode()
    async with upstream(answering(answer)) as up, proxied(up.port) as gateway:
        got = await gateway.talk(get())
    assert got.endswith(b"\r\n\r\n2\r\nok\r\n0\r\nX-A: 1\r\nX-B: 2\r\n\r\n")
    assert b"evil" not in got


async def test_trailers_named_by_connection_and_removed_by_the_route_are_dropped() -> None:
    answer = HEAD + b"Connection: X-Hop\r\n\r\n2\r\nok\r\n0\r\nx_hop: 1\r\nX-Gone: 1\r\nX-Set: 1\r\nX-A: 1\r\n\r\n"
    rules = HeaderRules({"X-Set": "ours"}, ["x-gone"])
    async with upstream(answering(answer)) as up, proxied(routes_to(up.port, response_headers=rules)) as gateway:
        got = await gateway.talk(get())
    assert got.endswith(b"\r\n\r\n2\r\nok\r\n0\r\nX-A: 1\r\n\r\n")
    assert field_of(got, b"X-Set") == b"ours"


@pytest.mark.parametrize(
    "trailers",
    [
        b"X-A: 1\r\n folded\r\n\r\n",
        b"X-A : 1\r\n\r\n",
        b"X-A: 1\x00\r\n\r\n",
        b"X-A: 1\nX-B: 2\r\n\r\n",
        b"X-A: 1\rX-B: 2\r\n\r\n",
        b"no colon\r\n\r\n",
        b"X-A: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond",
        b"X-A: " + b"a" * 9000 + b"\r\n\r\n",
        b"X-A: 1\r\n" * 100 + b"\r\n",
    ],
)
async def test_malformed_trailers_are_502_or_break_the_connection(trailers: bytes) -> None:
    def late(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            writer.write(START[:-3])
            await until(lambda: go.is_set())
            writer.write(b"0\r\n" + trailers)
            await read_all(reader)

        return follow

    async with upstream(answering(START + trailers)) as up, proxied(up.port) as gateway:
        whole = await gateway.talk(get())
        assert gateway.proxy.open_upstream_connections == 0
    go = asyncio.Event()
    async with upstream(late) as up, proxied(up.port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(get())
        await reader.readuntil(b"ok\r\n")
        go.set()
        with pytest.raises(ConnectionResetError):
            assert b"0\r\n" not in await reader.read(100)
        await hang_up(writer)
    assert status_of(whole) == 502
    assert b"second" not in whole


async def test_a_stale_trailer_does_not_end_the_next_answer_on_the_connection() -> None:
    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            writer.write(START + b"X-A: of-the-first\r\n\r\n")
            await raw.head(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end")

        return follow

    async with upstream(script) as up, proxied(up.port) as gateway:
        first, second = [await gateway.talk(get()) for _ in range(2)]
        assert up.connections == 1
    assert first.endswith(b"X-A: of-the-first\r\n\r\n")
    assert second.endswith(b"\r\n\r\nd\r\nuntil the end\r\n0\r\n\r\n")
