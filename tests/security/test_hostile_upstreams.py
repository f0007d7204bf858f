"""Whatever an upstream sends, a client gets one well-formed answer, a 502, or a connection that visibly breaks."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import pytest
from support.proxying import (
    CLAIMS,
    RawUpstream,
    Script,
    Setup,
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
from gateway.proxy.route_table import UpstreamSpec
from gateway.sessions.ports import FeedEntry, FeedKind

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
START = b"HTTP/1.1 200 OK\r\n"
SECOND = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond"


async def through(answer: bytes, request: bytes = get(), *, close: bool = False) -> tuple[bytes, RawUpstream, Setup]:
    async with upstream(answering(answer, close=close)) as up, proxied(up.port) as gateway:
        return await gateway.talk(request), up, gateway


@pytest.mark.parametrize(
    "answer",
    [
        START + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nokk",
        START + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        START + b"Content-Length: 2, 2\r\n\r\nok",
        START + b"Content-Length: +2\r\n\r\nok",
        START + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        START + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
        START + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        START + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        START + b"Transfer-Encoding: identity\r\n\r\nok",
        START + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        START + b"Transfer-Encoding: chunked\r\n\r\n2\r\nokk\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 O\rK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 O\x00K\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + OK,
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + OK,
        b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 99 Early\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        START + b"X-A: b\x01c\r\nContent-Length: 2\r\n\r\nok",
        START + b"X-A: b\r\n\x0bX: c\r\nContent-Length: 2\r\n\r\nok",
        START + b"X A: b\r\nContent-Length: 2\r\n\r\nok",
        START + b"X-Long: " + b"a" * 70_000 + b"\r\nContent-Length: 2\r\n\r\nok",
        START + b"".join(b"X-%d: %b\r\n" % (n, b"a" * 4000) for n in range(40)) + b"Content-Length: 2\r\n\r\nok",
        START + b"".join(b"X-%d: a\r\n" % n for n in range(300)) + b"Content-Length: 2\r\n\r\nok",
        OK + SECOND,
        OK + b"garbage",
        START + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + SECOND,
        b"HTTP/1.1 204 No Content\r\n\r\n" + SECOND,
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK + SECOND,
    ],
)
async def test_malformed_answers_are_502_and_the_connection_is_not_used_again(answer: bytes) -> None:
    got, up, gateway = await through(answer)
    assert status_of(got) == 502
    assert got.count(b"HTTP/1.1 ") == 1
    assert b"second" not in got
    assert b"garbage" not in got
    assert gateway.proxy.open_upstream_connections == 0
    assert len(up.heads) == 1


@pytest.mark.parametrize(
    "late", [SECOND, b"garbage", b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"]
)
async def test_bytes_behind_an_answer_never_meet_the_next_request(late: bytes) -> None:
    go = asyncio.Event()

    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            writer.write(OK)
            if raw.connections == 1:
                await go.wait()
                writer.write(late)
            await read_all(reader)

        return follow

    async with upstream(script) as up, proxied(up.port) as gateway:
        first = await gateway.talk(get())
        go.set()
        await until(lambda: gateway.proxy.open_upstream_connections == 0)
        second = await gateway.talk(get("/api/y"))
        assert up.connections == 2
    assert first.endswith(b"ok")
    assert second.endswith(b"ok")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (START + b"Content-Length: 10\r\n\r\nhalf", b"half"),
        (START + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", b"4\r\nhalf\r\n"),
        (START + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n", b"4\r\nhalf\r\n"),
    ],
)
async def test_an_answer_that_stops_half_way_breaks_the_client_connection(sent: bytes, kept: bytes) -> None:
    got, _, gateway = await through(sent, close=True)
    assert status_of(got) == 200
    assert got.count(b"HTTP/1.1 ") == 1
    assert got.partition(b"\r\n\r\n")[2] in (kept, b"")
    assert not got.endswith(b"0\r\n\r\n")
    assert gateway.notes.requests[0][2] == 200


async def test_a_malformed_chunk_in_the_middle_breaks_the_client_connection() -> None:
    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            writer.write(START + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
            await writer.drain()
            await raw.head(reader)

        return follow

    async with upstream(script) as up, proxied(up.port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(get())
        assert (await reader.readuntil(b"2\r\nok\r\n")).startswith(START)
        [connection] = gateway.endpoint(up.port)._open
        connection.data_received(b"xx\r\n")
        assert await read_all(reader) == b""
        await hang_up(writer)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 50])
@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        START + b"Transfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
        START + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Trailer: 0\r\n\r\n",
    ],
)
async def test_answers_may_come_in_any_pieces_and_the_connection_stays_good(answer: bytes, step: int) -> None:
    async with upstream(answering(b"")) as up, proxied(up.port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        endpoint = gateway.endpoint(up.port)
        for number in range(2):
            writer.write(get(close=False))
            await until(lambda number=number: len(up.heads) == number + 1)
            [connection] = endpoint._open
            for at in range(0, len(answer), step):
                connection.data_received(answer[at : at + step])
            head = await reader.readuntil(b"\r\n\r\n")
            assert status_of(head) == 200
            if field_of(head, b"Content-Length"):
                assert await reader.readexactly(2) == b"ok"
            else:
                chunks = await reader.readuntil(b"\r\n\r\n")
                last = answer[answer.index(b"\r\n0\r\n") + 2 :]
                assert chunks in (b"2\r\nok\r\n" + last, b"1\r\no\r\n1\r\nk\r\n" + last)
        await hang_up(writer)
        assert up.connections == 1


async def test_an_upstream_that_closes_without_an_answer() -> None:
    got, up, _ = await through(b"", close=True)
    assert status_of(got) == 502
    assert up.connections == 2  # GET may be repeated, once
    got, up, _ = await through(b"", get("/api/x", "Content-Length: 0", method="POST"), close=True)
    assert status_of(got) == 502
    assert up.connections == 1
    got, up, _ = await through(b"HTTP/1.1 2", close=True)
    assert status_of(got) == 502
    assert up.connections == 1


@pytest.mark.parametrize(("method", "connections"), [("GET", 2), ("PUT", 2), ("POST", 1)])
async def test_a_connection_closed_while_idle_is_replaced_where_that_is_safe(method: str, connections: int) -> None:
    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await raw.head(reader)
            if b"/warm" in head:
                writer.write(OK)
                await raw.head(reader)  # and closes without a word
                return
            writer.write(OK)
            await read_all(reader)

        return follow

    async with upstream(script) as up, proxied(up.port) as gateway:
        await gateway.talk(get("/api/warm"))
        answer = await gateway.talk(get("/api/next", "Content-Length: 0", method=method))
        assert up.connections == connections
    assert status_of(answer) == (200 if connections == 2 else 502)


async def test_what_cannot_be_repeated_does_not_travel_on_an_old_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.proxy.endpoint.FRESH_SECONDS", -1.0)
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        for method in ("GET", "GET", "POST"):
            assert status_of(await gateway.talk(get("/api/x", "Content-Length: 0", method=method))) == 200
        assert up.connections == 2


async def test_refused_timed_out_and_unreachable() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        async with proxied(probe.getsockname()[1]) as gateway:
            refused = await gateway.talk(get())
    assert status_of(refused) == 502

    def silent(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            await read_all(reader)

        return follow

    async with upstream(silent) as up, proxied(routes_to(up.port, response_timeout=0.05)) as gateway:
        late = await gateway.talk(get())
        assert up.connections == 1
        spec = replace(gateway.proxy._policy.routes[0], upstreams=(UpstreamSpec("http://gateway.invalid"),))
    async with proxied([spec]) as gateway:
        unknown = await gateway.talk(get())
    assert (status_of(late), status_of(unknown)) == (504, 502)
    assert b"invalid" not in unknown.partition(b"\r\n\r\n")[2].replace(b"no valid", b"")


async def test_an_answer_that_falls_silent_breaks_the_client_connection() -> None:
    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            writer.write(START + b"Content-Length: 10\r\n\r\nhalf")
            await read_all(reader)

        return follow

    async with upstream(script) as up, proxied(routes_to(up.port, idle_timeout=0.05)) as gateway:
        got = await gateway.talk(get())
    assert got.endswith(b"half") or got == b""


@pytest.mark.parametrize(
    ("answer", "method", "status", "length", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", "HEAD", 200, b"1234", b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HEAD", 200, None, b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\nETag: x\r\n\r\n", "GET", 304, b"1234", b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "GET", 204, None, b""),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "GET", 204, None, b""),
        (b"HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n", "GET", 205, b"0", b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + OK, "GET", 200, b"2", b"ok"),
        (b"HTTP/1.1 299 \r\nContent-Length: 2\r\n\r\nok", "GET", 299, b"2", b"ok"),
    ],
)
async def test_answers_with_and_without_bodies_keep_the_connection(
    answer: bytes, method: str, status: int, length: bytes | None, body: bytes
) -> None:
    async with upstream(answering(answer)) as up, proxied(up.port) as gateway:
        got = await gateway.talk(get(method=method))
        again = await gateway.talk(get(method=method))
        # Without a length or an end the answer to HEAD leaves open whether the connection can be used again.
        assert up.connections == 1 or method == "HEAD"
    for each in (got, again):
        assert status_of(each) == status
        assert field_of(each, b"Content-Length") == length
        assert fields_of(each, b"Transfer-Encoding") == []
        assert each.partition(b"\r\n\r\n")[2] == body


async def test_a_body_behind_an_answer_to_head_is_not_an_answer() -> None:
    got, _, gateway = await through(OK, get(method="HEAD"))
    assert b"ok" not in got.partition(b"\r\n\r\n")[2]
    assert gateway.proxy.open_upstream_connections == 0


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_close_delimited_and_chunked_answers_for_old_and_new_clients(version: str) -> None:
    request = get().replace(b"/1.1\r\n", f"/{version}\r\n".encode())
    endless, _, _ = await through(START + b"\r\nall there is", request, close=True)
    chunked, _, _ = await through(START + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", request)
    if version == "1.1":
        assert endless.endswith(b"\r\n\r\nc\r\nall there is\r\n0\r\n\r\n")
        assert chunked.endswith(b"\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    else:
        assert endless.endswith(b"\r\n\r\nall there is")
        assert chunked.endswith(b"\r\n\r\nok")
    assert fields_of(chunked, b"Transfer-Encoding") == ([b"chunked"] if version == "1.1" else [])


async def test_hop_by_hop_headers_of_answers_stay_behind() -> None:
    answer = (
        START + b"Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: x\r\n"
        b"Trailer: X-T\r\nUpgrade: h2c\r\nX-Request-Id: theirs\r\nServer: theirs\r\nDate: now\r\n"
        b"Content-Length: 2\r\n\r\nok"
    )
    got, _, _ = await through(answer, get())
    names = [line.partition(b":")[0] for line in got.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]]
    assert names == [b"Server", b"Date", b"Content-Length", b"Connection", b"X-Request-Id"]
    assert field_of(got, b"X-Request-Id") != b"theirs"


async def test_an_early_answer_reaches_a_client_that_is_still_sending() -> None:
    early = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nstop"

    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            writer.write(early)
            await read_all(reader)

        return follow

    async with upstream(script) as up, proxied(up.port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(get("/api/x", "Content-Length: 1000000", method="POST", close=False) + b"a" * 1000)
        got = await reader.readuntil(b"stop")
        writer.write(b"a" * 1000)
        rest = await read_all(reader)
        await hang_up(writer)
        await until(lambda: gateway.proxy.open_upstream_connections == 0)
    assert status_of(got) == 403
    assert field_of(got, b"Connection") == b"close"
    assert rest == b""


async def test_a_client_that_leaves_takes_its_request_along() -> None:
    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            await read_all(reader)

        return follow

    async with upstream(script) as up, proxied(up.port) as gateway:
        for request in (get(), get("/api/x", "Content-Length: 100", method="POST") + b"abc"):
            seen = len(up.heads)
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(request)
            await until(lambda seen=seen: len(up.heads) == seen + 1)
            await hang_up(writer)
            await until(lambda: up.open == 0)
    assert [entry[2] for entry in gateway.notes.requests] == [499, 499]


async def test_a_reader_that_never_reads_holds_back_the_upstream_and_is_dropped() -> None:
    total = 200 * 1024 * 1024
    sent = 0

    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            await raw.head(reader)
            writer.write(START + b"Content-Length: %d\r\n\r\n" % total)
            while sent < total:
                writer.write(b"x" * 65536)
                await writer.drain()
                sent += 65536

        return follow

    limits = ClientLimits(stall=0.3)
    async with upstream(script) as up, proxied(up.port, limits=limits) as gateway:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            client.connect(("127.0.0.1", gateway.port))
            client.sendall(get())
            await until(lambda: any(each.congested for each in gateway.front.connections))
            [held] = gateway.front.connections
            assert held.transport is not None
            assert held.transport.get_write_buffer_size() < 1024 * 1024
            await until(lambda: not gateway.front.connections)
            await until(lambda: up.open == 0)
    assert sent < 32 * 1024 * 1024


async def test_an_upstream_that_does_not_read_holds_back_the_client() -> None:
    total = 64 * 1024 * 1024
    go = asyncio.Event()

    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            await go.wait()
            left = total
            while left:
                left -= len(await reader.read(1 << 20))
            writer.write(OK)
            await read_all(reader)

        return follow

    async with upstream(script) as up, proxied(routes_to(up.port)) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(get("/api/x", f"Content-Length: {total}", method="POST"))
        sent = 0

        async def send() -> None:
            nonlocal sent
            while sent < total:
                writer.write(b"x" * 65536)
                sent += 65536
                await writer.drain()

        sending = asyncio.ensure_future(send())
        endpoint = gateway.endpoint(up.port)
        await until(lambda: any(connection.congested for connection in endpoint._open))
        await until(lambda: gateway.front.connections[0]._reading_paused)
        assert sent < total // 2
        go.set()
        await sending
        assert status_of(await read_all(reader)) == 200
        await hang_up(writer)
    assert gateway.notes.requests[0][6] == total


async def test_large_bodies_arrive_whole_both_ways() -> None:
    body = bytes(range(256)) * 40960  # 10 MiB

    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await raw.head(reader)
            if field_of(head, b"Transfer-Encoding"):
                parts = []
                while size := int(await reader.readline(), 16):
                    parts.append((await reader.readexactly(size + 2))[:-2])
                await reader.readline()
                got = b"".join(parts)
            else:
                got = await reader.readexactly(len(body))
            writer.write(START + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(got) + got)
            await writer.drain()

        return follow

    async with upstream(script) as up, proxied(up.port) as gateway:
        plain = await gateway.talk(get("/api/x", f"Content-Length: {len(body)}", method="POST") + body)
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:7], body[7:5000], body[5000:]))
        chunked = await gateway.talk(get("/api/x", "Transfer-Encoding: chunked", method="POST") + chunks + b"0\r\n\r\n")
    assert plain.endswith(body)
    assert chunked.endswith(body)
    assert len(plain) < len(body) + 500


@pytest.mark.parametrize("by_user", [False, True])
async def test_streams_of_events_end_with_the_session(by_user: bool) -> None:
    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            writer.write(START + b"content-type: text/event-stream; charset=utf-8\r\n\r\ndata: 1\n\n")
            await read_all(reader)

        return follow

    async with upstream(script) as up, proxied(up.port) as gateway:
        gateway.index.subscribe(gateway.proxy.streams.revoked)
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(get(close=False))
        await reader.readuntil(b"data: 1\n\n\r\n")
        assert len(gateway.proxy.streams) == 1
        other = FeedEntry(1, FeedKind.SESSION, "another", 0, CLAIMS.expires_at)
        old = FeedEntry(2, FeedKind.USER, CLAIMS.subject, CLAIMS.user_epoch, CLAIMS.expires_at)
        gateway.index.apply([other, old])
        assert len(gateway.proxy.streams) == 1
        if by_user:
            gateway.index.apply([FeedEntry(3, FeedKind.USER, CLAIMS.subject, 1, CLAIMS.expires_at)])
        else:
            gateway.index.apply([FeedEntry(3, FeedKind.SESSION, CLAIMS.session_id, 0, CLAIMS.expires_at)])
        assert await read_all(reader) == b"0\r\n\r\n"
        await hang_up(writer)
        assert len(gateway.proxy.streams) == 0
        await until(lambda: up.open == 0)
