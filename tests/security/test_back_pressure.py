"""A slow side holds the fast one back: between the two there is less than a megabyte, however large the body."""

from __future__ import annotations

import asyncio
import socket

import pytest
from support.proxying import RawUpstream, Script, get, hang_up, proxied, read_all, status_of, until, upstream

TOTAL = 64 * 1024 * 1024
PIECE = b"x" * 65536
MOST = 1024 * 1024
BUFFER = 65536
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


def small_buffers(writer: asyncio.StreamWriter) -> None:
    """Keep the kernel out of the count, as far as it lets."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)


def shrink(transport: asyncio.Transport) -> None:
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_slow_reader_of_a_large_answer(chunked: bool) -> None:
    piece = b"10000\r\n" + PIECE + b"\r\n" if chunked else PIECE
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % TOTAL

    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            small_buffers(writer)
            await raw.head(reader)
            writer.write(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
            for _ in range(TOTAL // len(PIECE)):
                writer.write(piece)
                await writer.drain()
            if chunked:
                writer.write(b"0\r\n\r\n")
            await read_all(reader)

        return follow

    loop = asyncio.get_running_loop()
    async with upstream(script) as up, proxied(up.port) as gateway:
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            await loop.sock_connect(sock, ("127.0.0.1", gateway.port))
            await until(lambda: bool(gateway.front.connections))
            [client] = gateway.front.connections
            assert client.transport is not None
            shrink(client.transport)
            await loop.sock_sendall(sock, get())
            got = most = most_kept = 0
            while data := await loop.sock_recv(sock, 256 * 1024):
                got += len(data)
                if client.exchange is not None and client.transport is not None:
                    most = max(most, client.exchange.response_size - got)  # type: ignore[attr-defined]
                    most_kept = max(most_kept, client.transport.get_write_buffer_size())
    assert got > TOTAL
    assert 0 < most < MOST
    assert most_kept < MOST // 2


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_large_upload_to_a_slow_upstream(chunked: bool) -> None:
    taken = 0
    held: list[int] = []

    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal taken
            small_buffers(writer)
            await raw.head(reader)
            for connection in gateway.endpoint(raw.port)._open:
                assert connection.transport is not None
                shrink(connection.transport)
            while taken < TOTAL:
                taken += len(await reader.read(256 * 1024))
                exchanges = [client.exchange for client in gateway.front.connections if client.exchange is not None]
                held.extend(exchange.request_size - taken for exchange in exchanges)  # type: ignore[attr-defined]
            writer.write(OK)
            await read_all(reader)

        return follow

    async with upstream(script) as up, proxied(up.port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        small_buffers(writer)
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {TOTAL}"
        writer.write(get("/api/x", framing, method="POST"))
        for _ in range(TOTAL // len(PIECE)):
            writer.write(b"10000\r\n" + PIECE + b"\r\n" if chunked else PIECE)
            await writer.drain()
        if chunked:
            writer.write(b"0\r\n\r\n")
        assert status_of(await read_all(reader)) == 200
        await hang_up(writer)
    assert taken >= TOTAL
    assert max(held) < MOST
