"""Certificate, key and authorities of a TLS listener: read whole, or refused with a reason."""

from __future__ import annotations

import datetime as dt
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_SUITES: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!SHA1"


@dataclass(frozen=True, slots=True)
class ServerFiles:
    """What a listener needs. `client_ca`: only clients with a certificate of these authorities may connect."""

    certificate: Path
    key: Path
    password: Path | None = None
    client_ca: Path | None = None
    only_1_3: bool = False

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file that is read."""
        return tuple(path for path in (self.certificate, self.key, self.password, self.client_ca) if path is not None)


class TlsProblem(Exception):
    """The files cannot be used; the message is one plain clause that holds nothing secret."""


def server_context(files: ServerFiles) -> ssl.SSLContext:
    """A context for HTTP/1.1 over TLS 1.2 or 1.3, forward secret suites only. Raises `TlsProblem`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if files.only_1_3 else ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_SUITES)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    for path in files.paths:
        _check_readable(path)
    password = _password(files.password)
    try:
        context.load_cert_chain(files.certificate, files.key, password=lambda: password)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise TlsProblem(_why(files, error)) from None
    if files.client_ca is not None:
        try:
            context.load_verify_locations(files.client_ca)
        except (ssl.SSLError, OSError, ValueError):
            raise TlsProblem(f"{files.client_ca} holds no certificates") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def expiry(certificate: Path) -> dt.datetime:
    """When the first certificate of a file ends. Raises `TlsProblem`."""
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        raise TlsProblem(f"{certificate} holds no certificate") from None


def _check_readable(path: Path) -> None:
    try:
        with path.open("rb"):
            return
    except OSError as error:
        raise TlsProblem(f"cannot read {path}: {error.strerror or type(error).__name__}") from None


def _password(path: Path | None) -> str:
    # Never None: OpenSSL would ask on the terminal for the password of an encrypted key.
    if path is None:
        return ""
    try:
        return path.read_text("utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError):
        raise TlsProblem(f"cannot read {path} as text") from None


def _why(files: ServerFiles, error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return f"the key in {files.key} does not belong to the certificate in {files.certificate}"
    try:
        expiry(files.certificate)
    except TlsProblem as problem:
        return str(problem)
    return f"{files.key} holds no private key in PEM that can be opened for this certificate"
