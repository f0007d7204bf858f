"""Connections to an upstream: of several addresses the first that answers (RFC 8305), TLS on top."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from gateway import tasks
from gateway.proxy.resolver import SocketAddress

ATTEMPT_DELAY: Final = 0.25
"""Seconds an address has before the next one is tried beside it (RFC 8305 5)."""

_Protocol = TypeVar("_Protocol", bound=asyncio.Protocol)


async def dial(
    factory: Callable[[], _Protocol],
    addresses: Sequence[SocketAddress],
    tls: ssl.SSLContext | None,
    server_hostname: str | None,
) -> _Protocol:
    """A connection to one of `addresses`. Raises OSError (ssl.SSLError is one)."""
    loop = asyncio.get_running_loop()
    if len(addresses) == 1:
        host, port = addresses[0].where[:2]
        _, protocol = await loop.create_connection(
            factory, str(host), int(port), ssl=tls, server_hostname=server_hostname
        )
        return protocol
    sock = await _first(loop, addresses)
    try:
        _, protocol = await loop.create_connection(factory, sock=sock, ssl=tls, server_hostname=server_hostname)
    except BaseException:
        sock.close()
        raise
    return protocol


async def _first(loop: asyncio.AbstractEventLoop, addresses: Sequence[SocketAddress]) -> socket.socket:
    waiting = list(addresses)
    pending: set[asyncio.Task[object]] = set()
    error: BaseException = OSError("there is no address")
    try:
        while waiting or pending:
            if waiting:
                pending.add(tasks.spawn(_connect(loop, waiting.pop(0)), name="upstream address", on_error=_ignore))
            delay = ATTEMPT_DELAY if waiting else None
            done, pending = await asyncio.wait(pending, timeout=delay, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                failure = task.exception()
                if failure is None:
                    return _winner(task, done)
                error = failure
    finally:
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending)
            _winner(None, pending)
    raise error


def _winner(task: asyncio.Task[object] | None, done: set[asyncio.Task[object]]) -> socket.socket:
    """The socket of `task`; those of the others that stand as well are closed."""
    chosen: socket.socket | None = None
    for other in done:
        if other.cancelled() or other.exception() is not None:
            continue
        sock = other.result()
        assert isinstance(sock, socket.socket)  # noqa: S101 - for the type checker
        if other is task:
            chosen = sock
        else:
            sock.close()
    return chosen  # type: ignore[return-value] # None only where nobody asked


async def _connect(loop: asyncio.AbstractEventLoop, address: SocketAddress) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, address.where)
    except BaseException:
        sock.close()
        raise
    return sock


def _ignore(_: BaseException) -> None:
    """The next address is tried."""
