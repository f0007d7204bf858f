"""An upstream over TLS: its certificate is checked against the trusted ones and its name."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support.proxying import get, hang_up, proxied, read_all, routes_to, status_of, until
from support.websockets import SWITCHING, close_code, connect, echo, frame

from gateway.proxy.route_table import RouteSpec, UpstreamSpec


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


@pytest.mark.parametrize(
    ("host", "trusted", "status"), [("localhost", True, 200), ("localhost", False, 502), ("127.0.0.1", True, 502)]
)
async def test_https_upstreams_are_verified(
    host: str, trusted: bool, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = self_signed(tmp_path)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    open_now = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now
        open_now += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await read_all(reader)
        writer.transport.abort()
        open_now -= 1

    server = await asyncio.start_server(serve, host, 0, ssl=context, family=2)
    port = server.sockets[0].getsockname()[1]
    route: RouteSpec = routes_to(port)[0]
    secured = RouteSpec(route.name, route.path, (UpstreamSpec(f"https://{host}:{port}"),))
    try:
        async with proxied([secured]) as gateway:
            answer = await gateway.talk(get())
        await until(lambda: open_now == 0)
    finally:
        server.close()
    assert status_of(answer) == status


async def test_websockets_pass_to_https_upstreams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCHING + b"\r\n" + frame(b"hello"))
        await echo(reader, writer)
        await hang_up(writer)
        ended.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    big = frame(bytes(1_000_000), mask=True)
    async with proxied(
        [replace(routes_to(port)[0], upstreams=(UpstreamSpec(f"https://localhost:{port}"),))]
    ) as gateway:
        client = await connect(gateway.port)
        assert await client.reader.readexactly(7) == frame(b"hello")
        client.writer.write(big)
        assert await client.reader.readexactly(len(big)) == big
        gateway.front.drain()
        assert close_code(await client.reader.read()) == 1001
        await hang_up(client.writer)
        await asyncio.wait_for(ended.wait(), 5)
    server.close()
    await server.wait_closed()
