"""What a backend may say to a client, and how much: owned headers, changes per route, limits."""

from __future__ import annotations

import asyncio
import gzip

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

START = b"HTTP/1.1 200 OK\r\n"
OK = START + b"Content-Length: 2\r\n\r\nok"
CHUNKED = START + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("name", ["X-User-Id", "x-user-id", "X_User_Id", "X.User.Roles", "X-SESSION-ID"])
async def test_identity_names_do_not_come_back_from_a_backend(name: str) -> None:
    answer = START + f"{name}: evil\r\nX-User-Idx: fine\r\nContent-Length: 2\r\n\r\nok".encode()
    async with upstream(answering(answer)) as up, proxied(up.port) as gateway:
        got = await gateway.talk(get("/public/x"))
    assert b"evil" not in got
    assert field_of(got, b"X-User-Idx") == b"fine"


async def test_headers_set_and_removed_on_a_route_both_ways() -> None:
    answer = START + b"Server: theirs\r\nx_powered_by: them\r\nstrict-transport-security: no\r\nA: 1\r\n" + OK[17:]
    requests = HeaderRules({"X-Tenant": "blue \u00e9"}, ["Accept-Encoding", "X-Debug"])
    answers = HeaderRules({"Strict-Transport-Security": "max-age=1"}, ["Server", "X-Powered-By"])
    async with upstream(answering(answer)) as up:
        routes = routes_to(up.port, request_headers=requests, response_headers=answers)
        async with proxied(routes) as gateway:
            got = await gateway.talk(
                get("/api/x", "x_tenant: evil", "X-TENANT: evil", "Accept-Encoding: br", "X_Debug: 1", "B: 2")
            )
            missing = await gateway.talk(get("/api/x", token=None))
    names = [line.partition(b":")[0] for line in got.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]]
    assert names == [b"A", b"Strict-Transport-Security", b"Content-Length", b"Connection", b"X-Request-Id"]
    assert field_of(got, b"Strict-Transport-Security") == b"max-age=1"
    [head] = up.heads
    assert fields_of(head, b"X-Tenant") == ["blue \u00e9".encode()]
    assert field_of(head, b"B") == b"2"
    assert b"evil" not in head
    assert fields_of(head, b"Accept-Encoding") == fields_of(head, b"X_Debug") == []
    assert field_of(head, b"X-User-Name") == b"alice"
    assert (status_of(missing), fields_of(missing, b"Strict-Transport-Security")) == (401, [])


@pytest.mark.parametrize("encoding", [b"gzip", b"br", b"x-unknown"])
@pytest.mark.parametrize("chunked", [True, False])
async def test_compressed_answers_pass_as_they_came(encoding: bytes, chunked: bool) -> None:
    packed = gzip.compress(b"text" * 1000)
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed) if chunked else packed
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(packed)
    answer = START + b"Content-Encoding: %b\r\nVary: Accept-Encoding\r\n%b\r\n\r\n%b" % (encoding, framing, body)
    async with upstream(answering(answer)) as up, proxied(up.port) as gateway:
        got = await gateway.talk(get("/api/x", "Accept-Encoding: gzip"))
    assert got.endswith(b"\r\n\r\n" + body)
    assert field_of(got, b"Content-Encoding") == encoding
    assert field_of(up.heads[0], b"Accept-Encoding") == b"gzip"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (START + b"Content-Length: 10\r\n\r\n0123456789", 200),
        (START + b"Content-Length: 11\r\n\r\n01234567890", 502),
        (START + b"Content-Length: 9999999999\r\n\r\n", 502),
        (CHUNKED + b"a\r\n0123456789\r\n0\r\n\r\n", 200),
        (CHUNKED + b"b\r\n01234567890\r\n0\r\n\r\n", 502),
        (CHUNKED + b"6\r\n012345\r\n5\r\n67890\r\n", 502),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 11\r\n\r\n", 304),
    ],
)
async def test_the_size_of_answers_is_limited_where_a_route_says_so(answer: bytes, status: int) -> None:
    async with upstream(answering(answer)) as up, proxied(routes_to(up.port, response_limit=10)) as gateway:
        got = await gateway.talk(get())
    assert status_of(got) == status
    assert got.count(b"HTTP/1.1 ") == 1


async def test_the_answer_to_head_may_declare_more_than_the_limit() -> None:
    answer = START + b"Content-Length: 11\r\n\r\n"
    async with upstream(answering(answer)) as up, proxied(routes_to(up.port, response_limit=10)) as gateway:
        assert status_of(await gateway.talk(get(method="HEAD"))) == 200


def in_two(first: bytes, second: bytes, go: asyncio.Event):  # type: ignore[no-untyped-def]
    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            writer.write(first)
            await go.wait()
            writer.write(second)
            await read_all(reader)

        return follow

    return script


@pytest.mark.parametrize("start", [CHUNKED + b"5\r\n01234\r\n", START + b"\r\n01234"])
async def test_an_answer_that_grows_over_the_limit_breaks_the_connection(start: bytes) -> None:
    go = asyncio.Event()
    script = in_two(start, b"6\r\n012345\r\n", go)
    async with upstream(script) as up, proxied(routes_to(up.port, response_limit=10)) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(get())
        await reader.readuntil(b"01234")
        go.set()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        await hang_up(writer)
        await until(lambda: gateway.proxy.open_upstream_connections == 0)


async def test_the_whole_exchange_has_a_time_limit_where_a_route_says_so() -> None:
    go = asyncio.Event()
    async with upstream(in_two(b"", b"", go)) as up, proxied(routes_to(up.port, total_timeout=0.05)) as gateway:
        silent = await gateway.talk(get())
        go.set()
    go = asyncio.Event()
    started = CHUNKED + b"2\r\nok\r\n"
    async with upstream(in_two(started, b"", go)) as up, proxied(routes_to(up.port, total_timeout=0.05)) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(get())
        with pytest.raises(ConnectionResetError):
            await reader.read()
        await hang_up(writer)
        await until(lambda: gateway.proxy.open_upstream_connections == 0)
        assert gateway.notes.requests[0][2] == 200
        go.set()
    async with upstream(answering(OK)) as up, proxied(routes_to(up.port, total_timeout=0.05)) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        for _ in range(2):  # a limit that was kept has no effect later
            writer.write(get(close=False))
            await reader.readuntil(b"ok")
            await asyncio.sleep(0.06)
        await hang_up(writer)
    assert status_of(silent) == 504


@pytest.mark.parametrize(
    "sent", [START + b"Content-Length: 10\r\n\r\nhalf", CHUNKED + b"4\r\nhalf\r\n", CHUNKED + b"a\r\nhalf"]
)
async def test_half_an_answer_ends_in_a_reset_that_no_client_takes_for_the_end(sent: bytes) -> None:
    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            writer.write(sent)
            await go.wait()

        return follow

    for version in (b"/1.1", b"/1.0"):
        go = asyncio.Event()
        async with upstream(script) as up, proxied(up.port) as gateway:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(get().replace(b"/1.1", version))
            await reader.readuntil(b"half")
            go.set()
            with pytest.raises(ConnectionResetError):
                await reader.read()
            await hang_up(writer)


async def test_old_upstreams() -> None:
    old = b"HTTP/1.0 200 OK\r\n"
    kept = old + b"Content-Length: 2\r\nConnection: keep-alive\r\n\r\nok"
    async with upstream(answering(kept)) as up, proxied(up.port) as gateway:
        got = [await gateway.talk(get()) for _ in range(2)]
        assert up.connections == 1
    async with upstream(answering(old + b"Content-Length: 2\r\n\r\nok")) as up, proxied(up.port) as gateway:
        got += [await gateway.talk(get()) for _ in range(2)]
        assert up.connections == 2
    async with upstream(answering(old + b"\r\nok", close=True)) as up, proxied(up.port) as gateway:
        endless = await gateway.talk(get())
    assert all(each.startswith(START) and each.endswith(b"\r\n\r\nok") for each in got)
    assert endless.endswith(b"\r\n\r\n2\r\nok\r\n0\r\n\r\n")


async def test_many_small_chunks_in_one_read_are_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.proxy.aiohttp_private import ClientConnection

    writes: list[bytes] = []
    write = ClientConnection.write
    monkeypatch.setattr(ClientConnection, "write", lambda self, data: (writes.append(data), write(self, data))[1])
    answer = CHUNKED + b"2\r\nok\r\n" * 100
    async with upstream(answering(b"")) as up, proxied(up.port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(get())
        await until(lambda: bool(up.heads))
        [connection] = gateway.endpoint(up.port)._open
        connection.data_received(answer)
        connection.data_received(b"2\r\nok\r\n" * 100 + b"0\r\n\r\n")
        got = await read_all(reader)
        await hang_up(writer)
    assert len(writes) == 2
    assert got.endswith(b"\r\n\r\nc8\r\n" + b"ok" * 100 + b"\r\nc8\r\n" + b"ok" * 100 + b"\r\n0\r\n\r\n")
