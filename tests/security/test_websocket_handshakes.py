"""WebSocket handshakes in raw bytes: what is refused, what reaches the upstream, and what never does."""

from __future__ import annotations

import asyncio

import pytest
from support.proxying import (
    CLAIMS,
    TOKEN,
    RawUpstream,
    Script,
    answering,
    field_of,
    fields_of,
    get,
    hang_up,
    proxied,
    read_all,
    status_of,
    until,
    upstream,
)
from support.websockets import ACCEPT, KEY, SWITCHING, connect, frame, handshake, switching

JWT = b"eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl"


async def test_a_handshake_is_authenticated_like_any_request() -> None:
    async with upstream(switching()) as up, proxied(up.port) as gateway:
        lines = ("X-User-Id: evil", "x_user_id: evil", "Cookie: a=b; __Host-gw_refresh=secret")
        client = await connect(
            gateway.port, handshake("/api/ws?a=b", *lines, connection="keep-alive, Upgrade, X-Session-Id")
        )
        await hang_up(client.writer)
        refused = await gateway.talk(handshake(token=b"no-good-token"))
        missing = await gateway.talk(handshake(token=None))
        await until(lambda: len(gateway.notes.requests) == 3)
    assert status_of(client.head) == 101
    assert field_of(client.head, b"Sec-WebSocket-Accept") == ACCEPT
    assert (field_of(client.head, b"Upgrade"), field_of(client.head, b"Connection")) == (b"websocket", b"Upgrade")
    assert (status_of(refused), status_of(missing)) == (401, 401)
    [head] = up.heads
    assert head.startswith(b"GET /api/ws?a=b HTTP/1.1\r\nHost: gateway.test\r\n")
    assert fields_of(head, b"X-User-Id") == [CLAIMS.subject.encode()]
    assert fields_of(head, b"X-Session-Id") == [CLAIMS.session_id.encode()]
    assert b"evil" not in head
    assert (field_of(head, b"Cookie"), field_of(head, b"Authorization")) == (b"a=b", None)
    assert (field_of(head, b"Connection"), field_of(head, b"Upgrade")) == (b"Upgrade", b"websocket")
    assert (field_of(head, b"Sec-WebSocket-Key"), field_of(head, b"Sec-WebSocket-Version")) == (KEY, b"13")
    assert gateway.notes.receipts == [(CLAIMS, False)]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (handshake("/api/ws", "Content-Length: 4") + b"abcd", 400),
        (handshake("/api/ws", "Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
        (handshake().replace(b"GET ", b"POST ", 1), 400),
        (handshake().replace(b"HTTP/1.1", b"HTTP/1.0", 1), 400),
        (handshake().replace(b": websocket", b": websocket, h2c"), 400),
        (handshake("/api/ws", "Upgrade: h2c"), 400),
        (handshake("/api/ws", "Upgrade: websocket"), 400),
        (handshake().replace(b"Version: 13", b"Version: 8"), 426),
        (handshake("/api/ws", "Sec-WebSocket-Version: 13"), 426),
        (handshake().replace(b"Sec-WebSocket-Version: 13\r\n", b""), 426),
        (handshake("/api/ws", f"Sec-WebSocket-Key: {KEY.decode()}"), 400),
        (handshake().replace(b"Sec-WebSocket-Key", b"X-Key"), 400),
        (handshake().replace(b"Sec-WebSocket-Key", b"Sec_WebSocket_Key"), 400),
        (handshake().replace(KEY, b"AAAA"), 400),
        (handshake().replace(KEY, KEY[:-3] + b"x=="), 400),
        (handshake("/api/ws", "Sec-WebSocket-Protocol: chat, chat"), 400),
        (handshake("/api/ws", "Sec-WebSocket-Protocol: chat,, other"), 400),
        (handshake("/api/ws", "Sec-WebSocket-Protocol: chat\x0b"), 400),
        (handshake("/api/ws", "Sec-WebSocket-Protocol: ch at"), 400),
        (handshake("/api/ws", "Sec-WebSocket-Protocol: a\rX-User-Id: evil"), 400),
        (handshake("/api/ws", "Sec-WebSocket-Protocol: " + ", ".join(f"p{n}" for n in range(65))), 400),
        (handshake("/api/ws", "Sec-WebSocket-Protocol: " + "p" * 9000), 431),
        (handshake("/api/ws", "Sec-WebSocket-Protocol: bearer, good-token"), 400),
        (handshake("/api/ws", "Sec-WebSocket-Protocol: bearer", token=None), 401),
        (handshake("/api/ws", "Sec-WebSocket-Protocol: bearer, bad-token", token=None), 401),
        (handshake("/optional/ws", "Sec-WebSocket-Protocol: bearer, bad-token", token=None), 401),
        (handshake("/api/ws?access_token=x", "Sec-WebSocket-Protocol: bearer, good-token", token=None), 400),
        (handshake("/api/ws", "Sec-WebSocket-Protocol: bearer, explode", token=None), 503),
        (handshake("/nowhere"), 404),
    ],
)
async def test_a_refused_handshake_is_the_last_request_and_reaches_nobody(data: bytes, status: int) -> None:
    async with upstream(switching()) as up, proxied(up.port) as gateway:
        answer = await gateway.talk(data + get("/public/smuggled", token=None))
    assert status_of(answer) == status
    assert answer.count(b"HTTP/1.1 ") == 1
    assert (field_of(answer, b"Connection"), up.connections) == (b"close", 0)
    assert field_of(answer, b"Sec-WebSocket-Version") == (b"13" if status == 426 else None)


async def test_nothing_follows_an_upgrade_that_the_upstream_declines() -> None:
    declined = answering(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
    async with upstream(declined) as up, proxied(up.port) as gateway:
        answer = await gateway.talk(handshake() + get("/public/smuggled", token=None))
        await until(lambda: len(up.heads) == 1)
    assert answer.endswith(b"\r\n\r\nno")
    assert (status_of(answer), field_of(answer, b"Connection"), answer.count(b"HTTP/1.1")) == (403, b"close", 1)
    assert len(up.heads) == 1


@pytest.mark.parametrize("in_one", [True, False])
async def test_who_does_not_wait_for_the_101_is_refused_and_nothing_was_passed_on(in_one: bool) -> None:
    held = asyncio.Event()
    seen: list[bytes] = []

    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            await held.wait()
            writer.write(SWITCHING + b"\r\n")
            seen.append(await read_all(reader))

        return follow

    async with upstream(script) as up, proxied(up.port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        smuggled = get("/public/smuggled", token=None)
        writer.write(handshake() + (smuggled if in_one else b""))
        await until(lambda: len(up.heads) == 1)
        if not in_one:
            writer.write(smuggled)
            [client] = gateway.front.connections
            await until(lambda: client.early)  # type: ignore[attr-defined]
        held.set()
        answer = await read_all(reader)
        await hang_up(writer)
        await until(lambda: len(seen) == 1)
    assert (status_of(answer), answer.count(b"HTTP/1.1")) == (400, 1)
    assert (seen, len(up.heads)) == ([b""], 1)


@pytest.mark.parametrize(
    "head",
    [
        SWITCHING.replace(ACCEPT, b"AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        SWITCHING.replace(b"Sec-WebSocket-Accept", b"X-Accept"),
        SWITCHING + b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n",
        SWITCHING.replace(b"Upgrade: websocket", b"X: y"),
        SWITCHING.replace(b"Upgrade: websocket", b"Upgrade: h2c"),
        SWITCHING.replace(b"Connection: Upgrade", b"Connection: keep-alive"),
        SWITCHING + b"Sec-WebSocket-Protocol: unasked\r\n",
        SWITCHING + b"Sec-WebSocket-Protocol: bearer\r\n",
        SWITCHING + b"Content-Length: 5\r\n",
        SWITCHING + b"Transfer-Encoding: chunked\r\n",
        SWITCHING + b"X: a\rb\r\n",
    ],
)
async def test_a_101_that_does_not_answer_the_handshake_is_502(head: bytes) -> None:
    async with upstream(switching(head=head)) as up, proxied(up.port) as gateway:
        answer = await gateway.talk(handshake())
    assert (status_of(answer), field_of(answer, b"Connection")) == (502, b"close")
    assert len(gateway.proxy.tunnels) == 0


@pytest.mark.parametrize("lines", [(), ("Connection: Upgrade", "Upgrade: h2c"), ("Upgrade: websocket",)])
async def test_a_101_that_nobody_asked_for_is_502(lines: tuple[str, ...]) -> None:
    async with upstream(answering(SWITCHING + b"\r\n")) as up, proxied(up.port) as gateway:
        answer = await gateway.talk(get("/api/x", *lines))
        assert len(up.heads) == 1
        assert field_of(up.heads[0], b"Upgrade") is None
    assert status_of(answer) == 502


@pytest.mark.parametrize(
    ("path", "offered", "sent", "chosen", "answered"),
    [
        ("/api/ws", "bearer, good-token", None, None, b"bearer"),
        ("/api/ws", "bearer, good-token, chat, other", b"chat, other", b"other", b"other"),
        ("/api/ws", "chat, Bearer, good-token", b"chat", None, b"Bearer"),
        ("/optional/ws", "bearer, good-token, chat", b"chat", b"chat", b"chat"),
        ("/optional/ws", "bearer", b"bearer", b"bearer", b"bearer"),
        ("/optional/ws", "chat", b"chat", None, None),
        ("/public/ws", "bearer, chat", b"bearer, chat", b"bearer", b"bearer"),
        ("/public/ws", f"bearer, {JWT.decode()}, chat", b"chat", None, b"bearer"),
    ],
)
async def test_the_token_among_the_subprotocols(
    path: str, offered: str, sent: bytes | None, chosen: bytes | None, answered: bytes | None
) -> None:
    head = SWITCHING + (b"Sec-WebSocket-Protocol: " + chosen + b"\r\n" if chosen else b"")
    async with upstream(switching(head=head)) as up, proxied(up.port, forward_authorization=True) as gateway:
        client = await connect(gateway.port, handshake(path, f"Sec-WebSocket-Protocol: {offered}", token=None))
        await hang_up(client.writer)
    assert status_of(client.head) == 101
    assert field_of(client.head, b"Sec-WebSocket-Protocol") == answered
    assert field_of(up.heads[0], b"Sec-WebSocket-Protocol") == sent
    assert TOKEN not in up.heads[0]
    assert JWT not in up.heads[0]
    known = "good-token" in offered
    assert field_of(up.heads[0], b"X-User-Id") == (CLAIMS.subject.encode() if known else None)


@pytest.mark.parametrize("name", ["Sec-WebSocket-Protocol", "Sec_WebSocket_Protocol", "sec-websocket-protocol"])
async def test_a_token_in_a_handshake_that_lost_its_upgrade_goes_no_further(name: str) -> None:
    async with upstream(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as up, proxied(up.port) as gateway:
        answer = await gateway.talk(get("/public/x", f"{name}: bearer, good-token", token=None))
    assert status_of(answer) == 200
    assert TOKEN not in up.heads[0]


async def test_extensions_and_what_comes_with_the_101_pass_end_to_end() -> None:
    deflate = b"permessage-deflate; client_max_window_bits=15"
    head = SWITCHING + b"Sec-WebSocket-Extensions: " + deflate + b"\r\nSet-Cookie: __Host-gw_refresh=evil\r\n"
    first = frame(b"hello") + frame(b"x" * 70_000)
    async with upstream(switching(head=head, rest=first)) as up, proxied(up.port) as gateway:
        offer = "permessage-deflate; client_max_window_bits"
        client = await connect(gateway.port, handshake("/api/ws", f"Sec-WebSocket-Extensions: {offer}"))
        assert await client.reader.readexactly(len(first)) == first
        client.writer.write(frame(b"there", mask=True))
        back = await client.reader.readexactly(11)
        await hang_up(client.writer)
        await until(lambda: len(gateway.notes.requests) == 1)
    assert back == frame(b"there", mask=True)
    assert field_of(up.heads[0], b"Sec-WebSocket-Extensions") == offer.encode()
    assert field_of(client.head, b"Sec-WebSocket-Extensions") == deflate
    assert field_of(client.head, b"Set-Cookie") is None
    method, path, status, route, _, duration, sent, received, *_ = gateway.notes.requests[0]
    assert (method, path, status, route, sent, received) == ("GET", "/api/ws", 101, "api", 11, len(first) + 11)
    assert duration > 0
    assert TOKEN.decode() not in str(gateway.notes.requests)
