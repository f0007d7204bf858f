"""Accepts connections one by one where something comes before HTTP (a PROXY header, a TLS handshake, or both), or where
several workers take turns.

A plain listener of one process needs none of this and is served by the loop itself.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from ssl import SSLContext
from typing import Final

from gateway import tasks
from gateway.proxy.aiohttp_private import ClientConnection
from gateway.proxy.front import Front
from gateway.proxy.proxy_protocol import LONGEST, MalformedHeader, Source, length_of, parse
from gateway.risk.network import canonical_address
from gateway.runtime.turns import Turns

HEADER_TIME: Final = 5.0
HANDSHAKE_TIME: Final = 10.0
SHUTDOWN_TIME: Final = 5.0
_AT_ONCE: Final = 64
_LAST: Final = 4096
"""Waiting connections that are taken before the listener is closed."""
_PAUSE: Final = 0.5
"""Seconds without accepting after the process ran out of descriptors."""


class Acceptor:
    """Serves `listener` until it is closed.

    `proxies`: peers (CIDRs, and `unix`) whose connections begin with a PROXY header; nobody else's is read as one.
    `context` gives the TLS context of the next handshake, None: plain HTTP. `turns`: whose turn it is at a listener
    that other workers have too.
    """

    def __init__(
        self,
        front: Front,
        listener: socket.socket,
        *,
        proxies: Sequence[str] = (),
        context: Callable[[], SSLContext] | None = None,
        turns: Turns | None = None,
        header_time: float = HEADER_TIME,
        handshake_time: float = HANDSHAKE_TIME,
    ) -> None:
        self._front = front
        self._listener = listener
        self._unix = "unix" in proxies
        self._networks = tuple(ip_network(name) for name in proxies if name != "unix")
        self._context = context
        self._turns = turns
        self._at_once = _AT_ONCE if turns is None else 1
        self._header_time = header_time
        self._handshake_time = handshake_time
        self._loop = asyncio.get_running_loop()
        self._waiting: set[_Header] = set()
        self._starting: set[asyncio.Task[object]] = set()
        self._resume: asyncio.TimerHandle | None = None
        self._closed = False
        self._loop.add_reader(listener.fileno(), self._accept)

    @property
    def pending(self) -> int:
        """Connections that are not HTTP yet."""
        return len(self._waiting) + len(self._starting)

    def stop(self) -> None:
        """Accept what waits already and no more; what was accepted goes on. Closing would reset those that wait."""
        if self._closed:
            return
        self._closed = True
        if self._resume is not None:
            self._resume.cancel()
        self._loop.remove_reader(self._listener.fileno())
        with suppress(OSError):
            for _ in range(_LAST):
                self._accept_one()
        self._listener.close()

    def close(self) -> None:
        """Accept no more, and drop what is not HTTP yet."""
        self.stop()
        for header in list(self._waiting):
            header.drop()
        for task in list(self._starting):
            task.cancel()

    async def wait_closed(self) -> None:
        """Until nothing is under way any more."""
        if self._starting:
            await asyncio.wait(self._starting)

    def _accept(self) -> None:
        if self._turns is not None and (pause := self._turns.wait(self._loop.time())):
            self._look_away(pause)
            return
        for _ in range(self._at_once):
            try:
                self._accept_one()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptors left: the listener stays readable
                complaint = {"message": "a connection could not be accepted", "exception": error}
                self._loop.call_exception_handler(complaint)
                self._look_away(_PAUSE)
                return

    def _accept_one(self) -> None:
        sock, peer = self._listener.accept()
        sock.setblocking(False)
        if isinstance(peer, tuple):  # an accepted socket has no protocol number, so that asyncio does not do it
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._accepted(sock, peer[0] if isinstance(peer, tuple) else None)

    def _look_away(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._resume = self._loop.call_later(seconds, self._listen_again)

    def _listen_again(self) -> None:
        self._resume = None
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def _accepted(self, sock: socket.socket, peer: str | None) -> None:
        if not self._speaks_proxy(peer):
            self._start(sock, peer, None)
        elif self._front.admission.full(len(self._waiting)):
            self._front.admission.refused(peer or "", "all")
            sock.close()
        else:
            self._waiting.add(_Header(self, sock, peer, self._header_time))

    def _speaks_proxy(self, peer: str | None) -> bool:
        if peer is None:
            return self._unix
        text = canonical_address(peer) if self._networks else None
        return text is not None and _within(text, self._networks)

    def header_read(self, header: _Header, source: Source | None) -> None:
        """Called by `header`, which gave its socket away."""
        self._waiting.discard(header)
        self._start(header.sock, header.peer, source)

    def header_gone(self, header: _Header) -> None:
        """Called by `header`, which closed its socket."""
        self._waiting.discard(header)

    def _start(self, sock: socket.socket, peer: str | None, named: Source | None) -> None:
        client = self._front.admit(peer, named)
        if client is None:
            sock.close()
            return
        task = tasks.spawn(self._serve(sock, client), name="accepted connection")
        self._starting.add(task)
        # Not in the task itself: one that is cancelled before its first step runs nothing.
        task.add_done_callback(lambda done: self._started(done, sock, client))

    async def _serve(self, sock: socket.socket, client: ClientConnection) -> bool:
        context = self._context() if self._context is not None else None
        try:
            if context is None:
                await self._loop.connect_accepted_socket(lambda: client, sock)
            else:
                await self._loop.connect_accepted_socket(
                    lambda: client,
                    sock,
                    ssl=context,
                    ssl_handshake_timeout=self._handshake_time,
                    ssl_shutdown_timeout=SHUTDOWN_TIME,
                )
        except (OSError, EOFError):  # no TLS, a handshake that failed or took too long, a client that left
            return False
        return True

    def _started(self, task: asyncio.Task[object], sock: socket.socket, client: ClientConnection) -> None:
        self._starting.discard(task)
        if task.cancelled() or task.exception() is not None or not task.result():
            self._front.give_up(client)
            sock.close()


def _within(text: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    address = ip_address(text)
    return any(address in network for network in networks)


class _Header:
    """A connection whose PROXY header is still to come. Bytes behind it are left for whoever reads next."""

    def __init__(self, acceptor: Acceptor, sock: socket.socket, peer: str | None, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self.sock = sock
        self.peer = peer
        self._acceptor = acceptor
        self._loop = loop
        self._read = b""
        self._timer = loop.call_later(seconds, self.drop)
        loop.add_reader(sock.fileno(), self._readable)

    def drop(self) -> None:
        """Close without an answer: nobody there speaks this language."""
        self._let_go()
        self.sock.close()
        self._acceptor.header_gone(self)

    def _readable(self) -> None:
        try:
            found = self._advance()
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, MalformedHeader):
            self.drop()
            return
        if found is not None:
            self._let_go()
            self._acceptor.header_read(self, found[0])

    def _advance(self) -> tuple[Source | None] | None:
        """Take what belongs to the header; its meaning once it is whole."""
        peeked = self.sock.recv(LONGEST, socket.MSG_PEEK)
        if not peeked:
            raise MalformedHeader("left")
        length = length_of(self._read + peeked)
        mine = len(peeked) if length is None else length - len(self._read)
        self._read += self.sock.recv(mine)
        return (parse(self._read),) if length is not None else None

    def _let_go(self) -> None:
        self._timer.cancel()
        self._loop.remove_reader(self.sock.fileno())
