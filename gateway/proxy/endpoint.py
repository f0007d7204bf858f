"""A backend: its address, the connections kept to it, and whether it is well."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from gateway.errors import BadGateway
from gateway.proxy.breaker import Breaker, State
from gateway.proxy.dial import dial
from gateway.proxy.resolver import DEFAULT_TTL, HostAddresses, Lookup, SocketAddress, is_literal, system_lookup
from gateway.proxy.response_head import ResponseRules
from gateway.proxy.upstream import UpstreamConnection
from gateway.proxy.upstream_tls import TlsContexts, UpstreamTls

if TYPE_CHECKING:
    from gateway.proxy.balancer import Balancer

MAX_IDLE: Final = 512
# A backend that closes a connection it kept idle may do so while a request travels. What cannot be sent twice only
# takes a connection used this recently.
FRESH_SECONDS: Final = 1.0
_UNIX: Final = "unix://"

Changed = Callable[["Endpoint", str | None], None]


class Address(NamedTuple):
    """Where a backend listens, and the path put before the request's. `unix`: the path of its socket, then `host` and
    `netloc` are only a name for it."""

    host: str
    port: int
    tls: bool
    netloc: str
    base_path: str
    unix: str | None = None


def parse_url(url: str) -> Address:
    """Take an upstream URL apart; raises ValueError for one that cannot be meant."""
    if url.startswith(_UNIX):
        path, _, base = url.removeprefix(_UNIX).partition(":")
        if not path.startswith("/") or path == "/" or (base and not base.startswith("/")):
            raise ValueError(f"upstream {url!r} is not unix:///path/of/socket or unix:///path/of/socket:/base")
        return Address("localhost", 0, False, "localhost", base.rstrip("/"), path)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"upstream {url!r} is not an http URL")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("an upstream URL has a host, a port and a path, nothing else")
    tls = parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    return Address(parts.hostname, port, tls, parts.netloc, parts.path.rstrip("/"))


class Endpoint:
    """A backend and the connections kept to it, the last used first. Their number is bounded by the clients'.

    `changed` is told why it is down, or None when it is up again: once per change.
    """

    def __init__(
        self,
        url: str,
        rules: ResponseRules,
        tls: TlsContexts | None = None,
        *,
        lookup: Lookup = system_lookup,
        dns_ttl: float = DEFAULT_TTL,
        changed: Changed | None = None,
    ) -> None:
        self.address = address = parse_url(url)
        self.url = url
        self.host_header = address.netloc.encode("ascii")
        self.rules = rules
        self.outstanding = 0
        """Requests under way, counted by those who send them."""
        self.up = True
        """Whether requests may go there without asking `admits`."""
        self.healthy = True
        """What the active checks say; True where there are none."""
        self.strained = False
        """Whether the next good answer is news."""
        self.breaker: Breaker | None = None
        self.check_interval = 0.0
        self.route = ""
        """A route that goes here, for the log."""
        self.watchers: list[Balancer] = []
        self._changed = changed
        self.unconnectable = False
        """Whether the last connection could not be made."""
        self._told_down = False
        self._retired = False
        self._tls = (tls or TlsContexts(UpstreamTls())) if address.tls else None
        self._idle: list[UpstreamConnection] = []
        self._open: set[UpstreamConnection] = set()
        self._leaving: set[UpstreamConnection] = set()
        self._literal: tuple[SocketAddress, ...] | None = None
        self._addresses: HostAddresses | None = None
        if address.unix is None and is_literal(address.host):
            self._literal = (SocketAddress(0, (address.host, address.port)),)
        elif address.unix is None:
            self._addresses = HostAddresses(
                address.host,
                address.port,
                ttl=dns_ttl,
                lookup=lookup,
                in_use=lambda: bool(self._open),
                changed=self._moved,
            )

    # -- connections

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
        try:
            async with asyncio.timeout(timeout):
                connection = await self._dial()
        except TimeoutError:
            raise BadGateway(debug=f"no connection to {self.url} in time") from None
        except OSError as error:
            raise BadGateway(debug=f"no connection to {self.url}: {error}") from error
        transport = connection.transport
        if transport is None or transport.is_closing():
            raise BadGateway(debug=f"no connection to {self.url}: closed as soon as it stood")
        return connection

    async def _dial(self) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        factory = partial(UpstreamConnection, self, loop)
        address = self.address
        if address.unix is not None:
            _, connection = await loop.create_unix_connection(factory, address.unix)
            return connection
        tls = self._tls
        context: ssl.SSLContext | None = None
        name: str | None = None
        if tls is not None:
            context = tls.current(loop.time())
            name = tls.tls.server_name or address.host
        return await dial(factory, self._literal or await self._named(), context, name)

    async def _named(self) -> tuple[SocketAddress, ...]:
        assert self._addresses is not None  # noqa: S101 - neither a literal nor a socket: it has a name
        return tuple(await self._addresses.get())

    def opened(self, connection: UpstreamConnection) -> None:
        """`connection` stands."""
        self._open.add(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        """`connection` is gone."""
        self._open.discard(connection)
        self._leaving.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def release(self, connection: UpstreamConnection) -> None:
        """`connection` may be used again."""
        if len(self._idle) >= MAX_IDLE or (self._leaving and connection in self._leaving):
            connection.discard()
        else:
            self._idle.append(connection)

    def retire(self) -> None:
        """No route goes here any more: what is under way may finish, and nobody is told how it went."""
        self._retired = True
        self._drain(self._open)
        if self._addresses is not None:
            self._addresses.close()

    def close(self) -> None:
        """Close every connection."""
        self._idle.clear()
        if self._addresses is not None:
            self._addresses.close()
        for connection in tuple(self._open):
            connection.discard()

    @property
    def down(self) -> bool:
        """Whether requests do not get there: what `changed` was told last."""
        return self._told_down

    @property
    def open_connections(self) -> int:
        """How many connections stand."""
        return len(self._open)

    def _moved(self, hosts: frozenset[str]) -> None:
        """The name has other addresses: connections to those it had are used no more."""
        self._drain({connection for connection in self._open if _peer(connection) not in hosts})

    def _drain(self, connections: set[UpstreamConnection]) -> None:
        self._leaving |= connections
        for connection in [connection for connection in self._idle if connection in connections]:
            self._idle.remove(connection)
            connection.discard()

    # -- state

    def admits(self, now: float) -> bool:
        """Whether a request may go there although it is not `up`."""
        return self.healthy and (self.breaker is None or self.breaker.admits(now))

    def wait(self, now: float) -> float:
        """Seconds after which asking again makes sense."""
        return max(self.check_interval if not self.healthy else 0.0, self.breaker.retry_at - now if self.breaker else 0)

    def reached(self) -> None:
        """A connection was made."""
        if self.unconnectable:
            self.unconnectable = False
            self._judge(None)

    def unreachable(self, now: float, reason: str) -> None:
        """No connection could be made."""
        self.unconnectable = True
        self.failed(now, reason)

    def failed(self, now: float, reason: str) -> None:
        """A request went unanswered."""
        if self.breaker is not None:
            self.breaker.failed(now)
        self._judge(reason)

    def answered(self, status: int, now: float) -> None:
        """A request was answered: to be called when it is news (`strained`) or may be bad news (5xx)."""
        breaker = self.breaker
        if breaker is None:
            return
        if status in breaker.policy.statuses:
            self.failed(now, f"answered {status}")
        elif self.strained:
            breaker.succeeded()
            self._judge(None)

    def checked(self, healthy: bool, reason: str | None) -> None:
        """The active checks have changed their mind."""
        self.healthy = healthy
        if healthy:
            self.unconnectable = False
            if self.breaker is not None:
                self.breaker.reset()
        self._judge(reason)

    def _judge(self, reason: str | None) -> None:
        breaker = self.breaker
        closed = breaker is None or breaker.state is State.CLOSED
        self.strained = breaker is not None and breaker.failures > 0
        up = self.healthy and closed
        if up is not self.up:
            self.up = up
            for watcher in self.watchers:
                watcher.refresh()
        down = self.unconnectable or not up
        if down is not self._told_down:
            self._told_down = down
            if self._changed is not None and not self._retired:
                self._changed(self, (reason or "not healthy") if down else None)


def _peer(connection: UpstreamConnection) -> str:
    transport = connection.transport
    peer = transport.get_extra_info("peername") if transport is not None else None
    return str(peer[0]) if isinstance(peer, tuple) else ""
