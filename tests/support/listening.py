"""A listener before a proxy that takes TLS, PROXY headers, or both; and certificates for it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.runtime.acceptor import Acceptor
from gateway.settings.certificates import ServerFiles
from support.proxying import Setup, hang_up, read_all, until

NOW = dt.datetime.now(dt.UTC)


def certificate(folder: Path, name: str = "localhost", *, days: float = 90, password: str | None = None) -> ServerFiles:
    """A self-signed certificate for `name` that ends in `days`, and its key; files of before are overwritten."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    end = NOW + dt.timedelta(days=days)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(NOW, end) - dt.timedelta(days=1))
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = ServerFiles(folder / "cert.pem", folder / "key.pem")
    files.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    encryption: Any = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password.encode())
    files.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    return files


def client_context(version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A client that looks at certificates without trusting anybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


@dataclass
class Listening:
    """A listener and its port."""

    acceptor: Acceptor
    port: int


@contextlib.asynccontextmanager
async def accepting(gateway: Setup, **options: Any) -> AsyncIterator[Listening]:
    """Another listener of `gateway`. Nothing is left open or counted after it."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    acceptor = Acceptor(gateway.front, listener, **options)
    try:
        yield Listening(acceptor, listener.getsockname()[1])
    finally:
        acceptor.close()
        await acceptor.wait_closed()
        await gateway.front.shutdown(0.5)
        await until(lambda: acceptor.pending == 0 and not gateway.front.connections)
        assert gateway.proxy.admission.count == 0


async def talk_tls(port: int, data: bytes, context: ssl.SSLContext | None = None) -> tuple[bytes, str]:
    """Send over TLS and read to the end; the answer and the name in the server's certificate."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context or client_context())
    try:
        found = writer.get_extra_info("ssl_object").getpeercert(True)
        writer.write(data)
        async with asyncio.timeout(5):
            answer = await read_all(reader)
    finally:
        await hang_up(writer)
    return answer, x509.load_der_x509_certificate(found).subject.rfc4514_string().removeprefix("CN=")
