"""TLS towards upstreams: whom to believe, and who the gateway is. Files that change are read again."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.errors import CannotStart

LOOK_EVERY: Final = 1.0
"""Seconds between two looks at the files."""


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    """Paths of PEM files. `ca_file` None: the system's authorities; `server_name` None: the host of the URL."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """Every file named."""
        return tuple(path for path in (self.ca_file, self.cert_file, self.key_file) if path is not None)


def context_of(tls: UpstreamTls) -> ssl.SSLContext:
    """A context that checks certificate and name, TLS 1.2 at least. Raises `CannotStart`."""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.cert_file is not None:
            # A password given here keeps OpenSSL from asking for one on the terminal.
            context.load_cert_chain(tls.cert_file, tls.key_file, password="")
    except (OSError, ValueError) as error:
        raise CannotStart(f"upstream TLS ({', '.join(tls.files) or 'defaults'}): {error}") from error
    return context


class TlsContexts:
    """The context in force. New connections use new files as soon as these are complete; until then the old stay.

    `failed` is told what is wrong with changed files, once for each change.
    """

    def __init__(self, tls: UpstreamTls, failed: Callable[[str], None] | None = None) -> None:
        self.tls = tls
        self._failed = failed
        self._seen = _stamps(tls)
        self._context = context_of(tls)
        self._looked = 0.0

    def current(self, now: float) -> ssl.SSLContext:
        """The context for a connection made now (monotonic seconds)."""
        if self.tls.files and now - self._looked >= LOOK_EVERY:
            self._looked = now
            seen = _stamps(self.tls)
            if seen != self._seen:
                self._seen = seen
                try:
                    self._context = context_of(self.tls)
                except CannotStart as error:
                    if self._failed is not None:
                        self._failed(error.detail or error.title)
        return self._context


def _stamps(tls: UpstreamTls) -> tuple[tuple[int, int, int] | None, ...]:
    return tuple(_stamp(path) for path in tls.files)


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
