"""Addresses of a host name: looked up off the request's path, again and again, the last good answer kept."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain, zip_longest
from typing import Final, NamedTuple

from gateway import tasks

DEFAULT_TTL: Final = 30.0


class SocketAddress(NamedTuple):
    """Where to connect to: an address family and what `socket.connect` takes."""

    family: int
    where: tuple[str | int | bytes, ...]


Lookup = Callable[[str, int], Awaitable[Sequence[SocketAddress]]]


async def system_lookup(host: str, port: int) -> Sequence[SocketAddress]:
    """The system's answer, asked for in a thread. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(SocketAddress(family, tuple(where)) for family, _, _, _, where in found)


def is_literal(host: str) -> bool:
    """Whether `host` is an address and no name."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


class HostAddresses:
    """The addresses of one host, families taking turns (RFC 8305 4).

    While `in_use` says so the name is looked up every `ttl` seconds; after that, when it is needed next. A failed
    lookup leaves the last good answer in force. `changed` is told the addresses whenever there are others.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        ttl: float,
        lookup: Lookup,
        in_use: Callable[[], bool],
        changed: Callable[[frozenset[str]], None],
    ) -> None:
        self._host = host
        self._port = port
        self._ttl = ttl
        self._lookup = lookup
        self._in_use = in_use
        self._changed = changed
        self._answer: tuple[SocketAddress, ...] = ()
        self._fresh = False
        self._asking: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._error: OSError | None = None

    async def get(self) -> Sequence[SocketAddress]:
        """At least one address. Raises OSError when there never was an answer."""
        if not self._fresh:
            asking = self._asking or self._ask()
            await asyncio.wait([asking])  # shared: one waiter that gives up must not end it for the others
        if not self._answer:
            raise self._error or OSError(f"{self._host} has no address")
        return self._answer

    def close(self) -> None:
        """Look up nothing any more."""
        self._cancel_timer()
        if self._asking is not None:
            self._asking.cancel()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _ask(self) -> asyncio.Task[object]:
        self._asking = tasks.spawn(self._renew(), name="look up an upstream")
        return self._asking

    async def _renew(self) -> None:
        try:
            answer = _alternating(await self._lookup(self._host, self._port))
        except OSError as error:
            self._error = error
        else:
            self._take(answer)
        finally:
            self._asking = None
        if self._answer:
            self._cancel_timer()
            self._timer = asyncio.get_running_loop().call_later(self._ttl, self._expire)

    def _take(self, answer: tuple[SocketAddress, ...]) -> None:
        if not answer:
            self._error = OSError(f"{self._host} has no address")
            return
        before, self._answer = frozenset(self._answer), answer
        self._fresh = True
        if before and before != frozenset(answer):
            self._changed(frozenset(str(address.where[0]) for address in answer))

    def _expire(self) -> None:
        if not self._in_use():
            self._fresh = False
        elif self._asking is None:
            self._ask()


def _alternating(found: Sequence[SocketAddress]) -> tuple[SocketAddress, ...]:
    found = tuple(dict.fromkeys(found))
    if not found:
        return ()
    first = [address for address in found if address.family == found[0].family]
    rest = [address for address in found if address.family != found[0].family]
    return tuple(address for address in chain.from_iterable(zip_longest(first, rest)) if address is not None)
