"""PROXY headers on the public listener: from load balancers that are named, and from nobody else."""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from pathlib import Path

import pytest
from aiohttp import web
from support.listening import accepting, certificate, client_context
from support.proxying import answering, field_of, get, hang_up, proxied, read_all, status_of, talk, until, upstream

from gateway.clock import SystemClock
from gateway.proxy.entropy import PooledEntropy
from gateway.proxy.ports import ClientLimits
from gateway.settings.certificates import server_context
from gateway.web.client_ip import ClientAddress
from gateway.web.context import RequestContexts
from gateway.web.request_id import RequestIds

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LOCAL = ("127.0.0.0/8",)
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
TEXT = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n"
PAIR = ipaddress.ip_address("192.0.2.7").packed * 2 + struct.pack("!HH", 4711, 443)
BINARY = SIGNATURE + b"\x21\x11\x00\x0c" + PAIR


@pytest.mark.parametrize("header", [TEXT, BINARY])
async def test_the_client_is_the_one_the_load_balancer_names(header: bytes) -> None:
    async with (
        upstream(answering(OK)) as up,
        proxied(up.port) as gateway,
        accepting(gateway, proxies=LOCAL) as listening,
    ):
        answer = await talk(listening.port, header + get("/api/x", "X-Forwarded-For: 203.0.113.9"))
    assert status_of(answer) == 200
    assert field_of(up.heads[0], b"X-Forwarded-For") == b"192.0.2.7"
    assert gateway.notes.requests[0][11] == "192.0.2.7"


async def test_a_header_in_single_bytes_and_the_request_right_behind_it() -> None:
    async with (
        upstream(answering(OK)) as up,
        proxied(up.port) as gateway,
        accepting(gateway, proxies=LOCAL) as listening,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
        for byte in TEXT:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(get())
        answer = await read_all(reader)
        await hang_up(writer)
    assert status_of(answer) == 200
    assert field_of(up.heads[0], b"X-Forwarded-For") == b"192.0.2.7"


@pytest.mark.parametrize("trusted", [(), LOCAL])
async def test_trust_is_asked_about_the_address_named_not_about_the_load_balancer(trusted: tuple[str, ...]) -> None:
    """The load balancer is a trusted proxy too, and still its client's X-Forwarded-For is not believed."""
    async with (
        upstream(answering(OK)) as up,
        proxied(up.port, trusted=trusted) as gateway,
        accepting(gateway, proxies=LOCAL) as listening,
    ):
        for header in (TEXT, b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x21\x00\x00\x00"):
            await talk(listening.port, header + get("/api/x", "X-Forwarded-For: 203.0.113.9"))
    assert [field_of(head, b"X-Forwarded-For") for head in up.heads] == [b"192.0.2.7", None, None]
    assert [fields[11] for fields in gateway.notes.requests] == ["192.0.2.7", "unix", "unix"]


async def test_a_trusted_proxy_behind_the_load_balancer_is_still_believed() -> None:
    async with (
        upstream(answering(OK)) as up,
        proxied(up.port, trusted=("192.0.2.0/24",)) as gateway,
        accepting(gateway, proxies=LOCAL) as listening,
    ):
        await talk(listening.port, TEXT + get("/api/x", "X-Forwarded-For: 203.0.113.9"))
    assert gateway.notes.requests[0][11] == "203.0.113.9"


async def test_a_check_of_the_load_balancer_itself_keeps_its_own_address() -> None:
    async with (
        upstream(answering(OK)) as up,
        proxied(up.port) as gateway,
        accepting(gateway, proxies=LOCAL) as listening,
    ):
        answer = await talk(listening.port, SIGNATURE + b"\x20\x00\x00\x00" + get())
    assert status_of(answer) == 200
    assert gateway.notes.requests[0][11] == "127.0.0.1"


@pytest.mark.parametrize("header", [TEXT, BINARY])
async def test_a_header_from_anybody_else_is_no_http(header: bytes) -> None:
    async with (
        upstream(answering(OK)) as up,
        proxied(up.port) as gateway,
        accepting(gateway, proxies=("192.0.2.1",)) as listening,
    ):
        spoofed = await talk(listening.port, header + get())
        plain = await talk(listening.port, get())
    assert (status_of(spoofed), status_of(plain)) == (400, 200)
    assert len(up.heads) == 1


@pytest.mark.parametrize(
    "start",
    [
        get(),
        b"PROXY TCP4 1.2.3.4\r\n" + get(),
        SIGNATURE + b"\x21\x11\x00\x05abcde" + get(),
        SIGNATURE + b"\x21\x11\xff\xff",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_a_load_balancer_that_sends_no_header_gets_no_answer(start: bytes) -> None:
    async with (
        upstream(answering(OK)) as up,
        proxied(up.port) as gateway,
        accepting(gateway, proxies=LOCAL) as listening,
    ):
        assert await talk(listening.port, start) == b""
    assert up.heads == []
    assert gateway.notes.requests == []


async def test_a_header_must_come_in_time_and_not_stop_half_way() -> None:
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        async with accepting(gateway, proxies=LOCAL, header_time=0.05) as listening:
            assert await talk(listening.port, TEXT[:10]) == b""
            assert await talk(listening.port, b"") == b""
        async with accepting(gateway, proxies=LOCAL) as listening:
            _, writer = await asyncio.open_connection("127.0.0.1", listening.port)
            writer.write(TEXT[:10])
            await until(lambda: listening.acceptor.pending == 1)
            await hang_up(writer)
            await until(lambda: listening.acceptor.pending == 0)
    assert up.heads == []


async def test_the_own_api_sees_the_same_client() -> None:
    seen = []

    async def tell(request: web.Request) -> web.Response:
        contexts = RequestContexts(ClientAddress(LOCAL), RequestIds(PooledEntropy()), SystemClock())
        seen.append(contexts.of(request).facts.address)
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_get("/auth/x", tell)
    async with (
        upstream(answering(OK)) as up,
        proxied(up.port, app=app, trusted=LOCAL) as gateway,
        accepting(gateway, proxies=LOCAL) as listening,
    ):
        for header in (TEXT, b"PROXY UNKNOWN\r\n"):
            await talk(listening.port, header + get("/auth/x", "X-Forwarded-For: 203.0.113.9"))
    assert seen == ["192.0.2.7", "unix"]


async def test_a_header_before_the_handshake(tmp_path: Path) -> None:
    context = server_context(certificate(tmp_path))
    async with (
        upstream(answering(OK)) as up,
        proxied(up.port) as gateway,
        accepting(gateway, proxies=LOCAL, context=lambda: context) as listening,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
        writer.write(BINARY)
        await writer.start_tls(client_context())
        writer.write(get())
        answer = await read_all(reader)
        await hang_up(writer)
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", listening.port, ssl=client_context())
    assert status_of(answer) == 200
    assert field_of(up.heads[0], b"X-Forwarded-For") == b"192.0.2.7"
    assert field_of(up.heads[0], b"X-Forwarded-Proto") == b"https"


async def test_limits_count_the_client_that_is_named() -> None:
    limits = ClientLimits(connections_per_client=1, connections=3)
    other = TEXT.replace(b"192.0.2.7", b"192.0.2.8")
    async with (
        upstream(answering(OK)) as up,
        proxied(up.port, limits=limits) as gateway,
        accepting(gateway, proxies=LOCAL) as listening,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
        writer.write(TEXT + get(close=False))
        await reader.readuntil(b"ok")
        assert await talk(listening.port, TEXT + get()) == b""
        assert status_of(await talk(listening.port, other + get())) == 200
        await hang_up(writer)
        await until(lambda: gateway.proxy.admission.count == 0)
        assert status_of(await talk(listening.port, TEXT + get())) == 200
        waiting = [await asyncio.open_connection("127.0.0.1", listening.port) for _ in range(3)]
        await until(lambda: listening.acceptor.pending == 3)
        assert await talk(listening.port, b"") == b""
        for _, each in waiting:
            await hang_up(each)
    assert [event.fields["limit"] for event in gateway.notes.events] == ["client"]
