"""100 Continue, early hints and expectations: each interim answer once, and only to who may get it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

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
    upstream,
)

from gateway.proxy.header_rules import HeaderRules

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HINTS = b"HTTP/1.1 103 Early Hints\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def post(*lines: str, token: bytes | None = b"good-token", size: int = 4, close: bool = False) -> bytes:
    lines = (f"Content-Length: {size}", *lines)
    return get("/api/x", *lines, method="POST", token=token, close=close)


async def test_hints_pass_to_modern_clients_filtered_like_any_head() -> None:
    hints = (
        HINTS + b"Link: </a.css>; rel=preload\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-User-Id: evil\r\n"
        b"Set-Cookie: __Host-gw_refresh=evil\r\nX-Request-Id: evil\r\nX-Gone: 1\r\nContent-Length: 7\r\n\r\n"
    )
    answer = hints + b"HTTP/1.1 102 Processing\r\n\r\n" + OK
    routes = HeaderRules({"X-Set": "1"}, ["X-Gone"])
    async with upstream(answering(answer)) as up, proxied(routes_to(up.port, response_headers=routes)) as gateway:
        got = await gateway.talk(get())
        old = await gateway.talk(get().replace(b"/1.1\r\n", b"/1.0\r\n"))
        assert up.connections == 1
    hints, processing, final, body = got.split(b"\r\n\r\n")
    assert hints == HINTS + b"Link: </a.css>; rel=preload"
    assert processing == b"HTTP/1.1 102 Processing"
    assert (status_of(final), field_of(final, b"X-Set"), body) == (200, b"1", b"ok")
    assert status_of(old) == 200
    assert old.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    "hint",
    [
        HINTS + b"A b: c\r\n\r\n",
        HINTS + b"A: b\x01\r\n\r\n",
        HINTS + b"Transfer-Encoding: gzip\r\n\r\n",
        HINTS + b"A: " + b"x" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 103 E\x00\r\n\r\n",
        (HINTS + b"\r\n") * 17,
        CONTINUE * 17,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ],
)
async def test_malformed_endless_and_switching_ones_are_502(hint: bytes) -> None:
    async with upstream(answering(hint + OK)) as up, proxied(up.port) as gateway:
        got = await gateway.talk(get().replace(b"/1.1\r\n", b"/1.0\r\n"))
        modern = await gateway.talk(get())
        assert gateway.proxy.open_upstream_connections == 0
    assert status_of(got) == 502
    assert b"HTTP/1.1 502 " in modern
    assert b"HTTP/1.1 200 " not in got + modern


async def test_the_bound_on_interim_heads_is_per_answer() -> None:
    async with upstream(answering((HINTS + b"\r\n") * 16 + OK)) as up, proxied(up.port) as gateway:
        for _ in range(3):
            got = await gateway.talk(get())
            assert got.count(HINTS) == 16
            assert got.endswith(b"\r\n\r\nok")
        assert up.connections == 1


@pytest.mark.parametrize("waits", [True, False])
async def test_continue_reaches_only_a_client_that_waits_and_once(waits: bool) -> None:
    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            writer.write(CONTINUE * 3)
            raw.heads.append(await reader.readexactly(4))
            writer.write(OK)
            await read_all(reader)

        return follow

    async with upstream(script) as up, proxied(up.port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(post(*(["Expect: 100-Continue"] if waits else []), close=True))
        if waits:
            assert await reader.readuntil(b"\r\n\r\n") == CONTINUE
        writer.write(b"body")
        got = await read_all(reader)
        await hang_up(writer)
    assert status_of(got) == 200
    assert got.count(b"HTTP/1.1 ") == 1
    assert up.heads[1] == b"body"


async def test_a_client_that_says_it_waits_and_does_not() -> None:
    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            raw.heads.append(await reader.readexactly(4))
            writer.write(OK)
            await read_all(reader)

        return follow

    async with upstream(script) as up, proxied(up.port) as gateway:
        got = await gateway.talk(post("Expect: 100-continue", close=True) + b"body")
    assert status_of(got) == 200
    assert up.heads[1] == b"body"


def final(status: bytes, *, close: bool) -> Callable[[RawUpstream], Script]:
    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            writer.write(b"HTTP/1.1 " + status + b" No\r\nContent-Length: 4\r\n\r\nstop")
            if not close:
                await read_all(reader)

        return follow

    return script


@pytest.mark.parametrize("status", [b"413", b"417", b"401", b"200"])
@pytest.mark.parametrize("close", [True, False])
async def test_an_early_final_answer_reaches_a_waiting_client_and_ends_the_connection(
    status: bytes, close: bool
) -> None:
    async with upstream(final(status, close=close)) as up, proxied(up.port) as gateway:
        got = await gateway.talk(post("Expect: 100-continue") + (b"" if close else b"GE"))
        assert gateway.proxy.open_upstream_connections == 0
    assert status_of(got) == int(status)
    assert field_of(got, b"Connection") == b"close"
    assert got.endswith(b"\r\n\r\nstop")
    assert got.count(b"HTTP/1.1 ") == 1


async def test_the_gateways_own_refusal_comes_without_continue_and_nothing_behind_it_is_read() -> None:
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(post("Expect: 100-continue", token=None, size=1000))
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(get("/api/smuggled", close=False))  # where the body would be
        rest = await read_all(reader)
        await hang_up(writer)
        bodyless = await gateway.talk(get("/api/x", "Expect: 100-continue", token=None, close=False) + get("/api/next"))
    assert status_of(head) == 401
    assert field_of(head, b"Connection") == b"close"
    assert b"HTTP/1.1 " not in rest
    assert [part[:3] for part in bodyless.split(b"HTTP/1.1 ")[1:]] == [b"401", b"200"]
    assert [each.split()[1] for each in up.heads] == [b"/api/next"]


@pytest.mark.parametrize(
    "lines",
    [("Expect: 200-ok",), ("Expect: 100-continue, x",), ("Expect:",), ("Expect: 100-continue", "Expect: other")],
)
async def test_unknown_expectations_are_417(lines: tuple[str, ...]) -> None:
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        got = await gateway.talk(post(*lines) + b"body" + get("/api/next"))
    assert status_of(got) == 417
    assert [each.split()[1] for each in up.heads] in ([b"/api/next"], [])


async def test_old_clients_expect_nothing() -> None:
    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            writer.write(CONTINUE)
            await reader.readexactly(4)
            writer.write(OK)
            await read_all(reader)

        return follow

    for expectation in ("100-continue", "something"):
        async with upstream(script) as up, proxied(up.port) as gateway:
            request = post(f"Expect: {expectation}").replace(b"/1.1\r\n", b"/1.0\r\n", 1)
            got = await gateway.talk(request + b"body")
        assert status_of(got) == 200
        assert got.count(b"HTTP/1.1 ") == 1
        assert fields_of(up.heads[0], b"Expect") == []


async def test_an_upstream_that_neither_lets_go_on_nor_answers_is_504() -> None:
    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            await read_all(reader)

        return follow

    async with upstream(script) as up, proxied(routes_to(up.port, idle_timeout=0.05)) as gateway:
        got = await gateway.talk(post("Expect: 100-continue"))
    assert status_of(got) == 504
