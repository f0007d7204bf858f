"""A backend: its address, and the connections kept to it."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from gateway.errors import BadGateway
from gateway.proxy.response_head import ResponseRules
from gateway.proxy.upstream import UpstreamConnection

MAX_IDLE: Final = 512
# A backend that closes a connection it kept idle may do so while a request travels. What cannot be sent twice only
# takes a connection used this recently.
FRESH_SECONDS: Final = 1.0


class Address(NamedTuple):
    """Where a backend listens, and the path put before the request's."""

    host: str
    port: int
    tls: bool
    netloc: str
    base_path: str


def parse_url(url: str) -> Address:
    """Take an upstream URL apart; raises ValueError for one that cannot be meant."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"upstream {url!r} is not an http URL")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("an upstream URL has a host, a port and a path, nothing else")
    tls = parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    return Address(parts.hostname, port, tls, parts.netloc, parts.path.rstrip("/"))


class Endpoint:
    """A backend and the connections kept to it, the last used first. Their number is bounded by the clients'."""

    def __init__(self, url: str, rules: ResponseRules, tls: ssl.SSLContext | None = None) -> None:
        self.address = parse_url(url)
        self.url = url
        self.host_header = self.address.netloc.encode("ascii")
        self.rules = rules
        self.unreachable = False
        """Whether the last connection could not be made; told once per outage."""
        self._tls = (tls or ssl.create_default_context()) if self.address.tls else None
        self._idle: list[UpstreamConnection] = []
        self._most_idle = MAX_IDLE
        self._open: set[UpstreamConnection] = set()

    def take(self, now: float, *, repeatable: bool) -> UpstreamConnection | None:
        """An idle connection fit for the request, or None: then `connect`."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            transport = connection.transport
            if transport is None or transport.is_closing():
                continue
            if not repeatable and now - connection.used_at > FRESH_SECONDS:
                idle.append(connection)
                return None
            return connection
        return None

    async def connect(self, timeout: float) -> UpstreamConnection:
        """A new connection. Raises `BadGateway`."""
        loop = asyncio.get_running_loop()
        address = self.address
        try:
            async with asyncio.timeout(timeout):
                _, connection = await loop.create_connection(
                    lambda: UpstreamConnection(self, loop),
                    address.host,
                    address.port,
                    ssl=self._tls,
                    server_hostname=address.host if self._tls else None,
                )
        except TimeoutError:
            raise BadGateway(debug=f"no connection to {self.url} in time") from None
        except OSError as error:
            raise BadGateway(debug=f"no connection to {self.url}: {error}") from error
        return connection

    def opened(self, connection: UpstreamConnection) -> None:
        """`connection` stands."""
        self._open.add(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        """`connection` is gone."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def release(self, connection: UpstreamConnection) -> None:
        """`connection` may be used again."""
        if len(self._idle) >= self._most_idle:
            connection.discard()
        else:
            self._idle.append(connection)

    def retire(self) -> None:
        """Keep no connection from now on."""
        self._most_idle = 0
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.discard()

    def close(self) -> None:
        """Close every connection."""
        self._idle.clear()
        for connection in tuple(self._open):
            connection.discard()

    @property
    def open_connections(self) -> int:
        """How many connections stand."""
        return len(self._open)
