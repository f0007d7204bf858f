"""TLS on the public listener: real handshakes, and everything that is not one."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest
import uvloop
from support.listening import accepting, certificate, client_context, talk_tls
from support.proxying import (
    Notes,
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
    talk,
    until,
    upstream,
)

from gateway.proxy.ports import ClientLimits
from gateway.runtime.tls import TlsKeeper
from gateway.settings.certificates import server_context

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_the_backend_is_told_https_whatever_the_client_says(tmp_path: Path) -> None:
    context = server_context(certificate(tmp_path))
    async with (
        upstream(answering(OK)) as up,
        proxied(up.port) as gateway,
        accepting(gateway, context=lambda: context) as listening,
    ):
        answer, _ = await talk_tls(listening.port, get("/api/x", "X-Forwarded-Proto: http"))
    assert status_of(answer) == 200
    assert field_of(up.heads[0], b"X-Forwarded-Proto") == b"https"
    assert field_of(up.heads[0], b"X-Forwarded-For") == b"127.0.0.1"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_both_versions_and_http_1_1_only(version: ssl.TLSVersion, tmp_path: Path) -> None:
    context = server_context(certificate(tmp_path))
    client = client_context(version)
    client.set_alpn_protocols(["h2", "http/1.1"])
    async with (
        upstream(answering(OK)) as up,
        proxied(up.port) as gateway,
        accepting(gateway, context=lambda: context) as listening,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.port, ssl=client)
        tls = writer.get_extra_info("ssl_object")
        assert tls.selected_alpn_protocol() == "http/1.1"
        assert "GCM" in tls.cipher()[0] or "CHACHA20" in tls.cipher()[0]
        assert tls.compression() is None
        writer.write(get())
        assert status_of(await read_all(reader)) == 200
        await hang_up(writer)


async def test_older_versions_of_tls_are_refused(tmp_path: Path) -> None:
    files = certificate(tmp_path)
    only_new = server_context(type(files)(files.certificate, files.key, only_1_3=True))
    weak = client_context()
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        weak.minimum_version = weak.maximum_version = ssl.TLSVersion.TLSv1_1
    weak.set_ciphers("ALL:@SECLEVEL=0")
    contexts = [server_context(files)]
    async with proxied(1) as gateway, accepting(gateway, context=lambda: contexts[0]) as listening:
        with pytest.raises(OSError):
            await talk_tls(listening.port, get(), weak)
        contexts[0] = only_new
        with pytest.raises(OSError):
            await talk_tls(listening.port, get(), client_context(ssl.TLSVersion.TLSv1_2))
        assert status_of((await talk_tls(listening.port, get("/none", token=None)))[0]) == 404


@pytest.mark.parametrize("data", [get(), b"\x16\x03\x01\x00\x05hello", b"PROXY UNKNOWN\r\n", b"\0" * 5000])
async def test_what_is_no_tls_reaches_nobody(data: bytes, tmp_path: Path) -> None:
    context = server_context(certificate(tmp_path))
    async with (
        upstream(answering(OK)) as up,
        proxied(up.port) as gateway,
        accepting(gateway, context=lambda: context) as listening,
    ):
        answer = await talk(listening.port, data)
        assert status_of((await talk_tls(listening.port, get()))[0]) == 200
    assert b"HTTP" not in answer
    assert len(up.heads) == 1


async def test_a_handshake_has_a_time_limit_and_counts_as_a_connection(tmp_path: Path) -> None:
    context = server_context(certificate(tmp_path))
    limits = ClientLimits(connections=2)
    async with (
        proxied(1, limits=limits) as gateway,
        accepting(gateway, context=lambda: context, handshake_time=0.2) as listening,
    ):
        open_now = [await asyncio.open_connection("127.0.0.1", listening.port) for _ in range(2)]
        open_now[1][1].write(b"\x16\x03\x01")
        await until(lambda: listening.acceptor.pending == 2)
        with pytest.raises(OSError):
            await talk_tls(listening.port, get())
        for reader, writer in open_now:
            assert await read_all(reader) == b""
            await hang_up(writer)
        await until(lambda: gateway.proxy.admission.count == 0)
        assert status_of((await talk_tls(listening.port, get("/none", token=None)))[0]) == 404
    assert [event.name for event in gateway.notes.events] == ["connections.limited"]


async def test_who_leaves_answers_those_whose_handshake_was_under_way(tmp_path: Path) -> None:
    context = server_context(certificate(tmp_path))
    async with (
        upstream(answering(OK)) as up,
        proxied(up.port) as gateway,
        accepting(gateway, context=lambda: context) as listening,
    ):
        sock = socket.create_connection(("127.0.0.1", listening.port))
        await until(lambda: listening.acceptor.pending == 1)
        listening.acceptor.stop()
        leaving = asyncio.ensure_future(gateway.front.leave(5.0))
        await asyncio.sleep(0)
        assert not leaving.done()
        reader, writer = await asyncio.open_connection(sock=sock, ssl=client_context(), server_hostname="gateway.test")
        writer.write(get(close=False))
        answer = await read_all(reader)
        assert (status_of(answer), field_of(answer, b"Connection")) == (200, b"close")
        await hang_up(writer)
        async with asyncio.timeout(5):
            await leaving


async def test_stopping_drops_handshakes_that_are_under_way(tmp_path: Path) -> None:
    context = server_context(certificate(tmp_path))
    async with proxied(1) as gateway:
        async with accepting(gateway, context=lambda: context, proxies=("127.0.0.1",)) as listening:
            half, header = socket.create_connection(("127.0.0.1", listening.port)), None
            half.sendall(b"PROXY UNKNOWN\r\n\x16")
            header = socket.create_connection(("127.0.0.1", listening.port))
            await until(lambda: listening.acceptor.pending == 2 and gateway.proxy.admission.count == 1)
            listening.acceptor.close()
            await listening.acceptor.wait_closed()
            assert listening.acceptor.pending == 0
            await until(lambda: gateway.proxy.admission.count == 0)
        half.close()
        header.close()


async def test_a_renewed_certificate_is_used_for_new_connections_and_old_ones_go_on(tmp_path: Path) -> None:
    files, notes = certificate(tmp_path, "one"), Notes()
    keeper = TlsKeeper(files, notes)
    async with (
        upstream(answering(OK)) as up,
        proxied(up.port) as gateway,
        accepting(gateway, context=lambda: keeper.context) as listening,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.port, ssl=client_context())
        writer.write(get(close=False))
        await reader.readuntil(b"ok")
        certificate(tmp_path, "two")
        keeper.poll()
        assert (await talk_tls(listening.port, get()))[1] == "one"
        keeper.poll()
        assert (await talk_tls(listening.port, get()))[1] == "two"
        files.key.write_text("rubbish")
        keeper.poll()
        keeper.poll()
        answer, name = await talk_tls(listening.port, get())
        writer.write(get())
        old = await read_all(reader)
        await hang_up(writer)
    assert (status_of(answer), name, status_of(old)) == (200, "two", 200)
    assert [event.name for event in notes.events] == ["tls.reloaded", "tls.reload_failed"]


async def test_clients_without_a_certificate_are_refused_where_one_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "client").mkdir()
    files, own = certificate(tmp_path), certificate(tmp_path / "client", "client")
    context = server_context(type(files)(files.certificate, files.key, client_ca=own.certificate))
    known, stranger = client_context(), client_context()
    known.load_cert_chain(own.certificate, own.key)
    stranger.load_cert_chain(files.certificate, files.key)
    async with (
        upstream(answering(OK)) as up,
        proxied(up.port) as gateway,
        accepting(gateway, context=lambda: context) as listening,
    ):
        assert status_of((await talk_tls(listening.port, get(), known))[0]) == 200
        for client in (client_context(), stranger):
            assert await refused(listening.port, client)
    assert len(up.heads) == 1


async def refused(port: int, context: ssl.SSLContext) -> bool:
    """Whether nothing is answered; with TLS 1.3 a client learns only then that its certificate is missing."""
    try:
        answer, _ = await talk_tls(port, get(), context)
    except OSError:
        return True
    return answer == b""


async def test_large_bodies_both_ways_and_an_answer_torn_half_way(tmp_path: Path) -> None:
    size = 3_000_000

    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            body = await reader.readexactly(size)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + body)
            await raw.head(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            await writer.drain()

        return follow

    context = server_context(certificate(tmp_path))
    async with (
        upstream(script) as up,
        proxied(routes_to(up.port)) as gateway,
        accepting(gateway, context=lambda: context) as listening,
    ):
        request = get("/api/x", f"Content-Length: {size}", method="POST") + b"y" * size
        whole, _ = await talk_tls(listening.port, request)
        half, _ = await talk_tls(listening.port, get())
    assert whole.endswith(b"\r\n\r\n" + b"y" * size)
    assert half.endswith(b"half")
    assert field_of(half, b"Content-Length") == b"10"


def test_all_of_it_on_uvloop_too(tmp_path: Path) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for test in (
            test_a_renewed_certificate_is_used_for_new_connections_and_old_ones_go_on,
            test_a_handshake_has_a_time_limit_and_counts_as_a_connection,
            test_stopping_drops_handshakes_that_are_under_way,
            test_large_bodies_both_ways_and_an_answer_torn_half_way,
        ):
            folder = tmp_path / test.__name__
            folder.mkdir()
            runner.run(test(folder))
        runner.run(test_what_is_no_tls_reaches_nobody(get(), tmp_path))
    assert (tmp_path / "cert.pem").exists()
