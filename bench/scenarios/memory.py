"""Resident memory at rest, and of what is open and idle."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.exchanges import Exchange, HttpExchange
from bench.measured import Row
from bench.peers.peer import Peer
from bench.processes import Server
from bench.requests import get
from bench.scenarios.scenario import LeftOut
from bench.world import World

OPEN = 5000
_FIRST = 300
_SETTLE = 0.3


@dataclass(frozen=True, slots=True)
class Memory:
    """`OPEN` connections, each used three times, in a process that had answered `_FIRST` requests before."""

    name: str
    title: str
    open_one: Callable[[int, str], socket.socket]
    needs: frozenset[str] = frozenset()
    only: frozenset[str] = frozenset()
    fresh: bool = True

    def measure(self, peer: Peer, world: World, seconds: float, *, warm_up: bool) -> Row:
        """Memory is the same in a short run; `seconds` does not count."""
        running = world.running[peer.name]
        token = world.tokens[0]
        _warm(running, token)
        time.sleep(_SETTLE)
        rest = running.rss_kib()
        with contextlib.ExitStack() as stack:
            for number in range(OPEN):
                try:
                    stack.enter_context(self.open_one(running.port, token))
                except OSError as problem:
                    raise LeftOut(f"opens no more than {number}: {problem}") from None
            time.sleep(_SETTLE)
            held = running.rss_kib()
        return {"rest_mb": rest * 1.024e-3, "kb_each": (held - rest) * 1.024 / OPEN, "errors": 0.0}


def _warm(running: Server, token: str) -> None:
    connection, exchange = socket.create_connection(("127.0.0.1", running.port), 10), HttpExchange()
    with connection:
        for _ in range(_FIRST):
            _once(connection, exchange, get("/api/small", token))


def _once(connection: socket.socket, exchange: Exchange, payload: bytes) -> None:
    exchange.begin()
    connection.sendall(payload)
    while True:
        data = connection.recv(65536)
        if not data:
            raise LeftOut("it closes the connection")
        if exchange.feed(memoryview(data)):
            break
    if exchange.failed:
        raise LeftOut(f"it answers {data[:60]!r}")


def _idle(port: int, token: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 5)
    for _ in range(3):  # what a proxy remembers of a client that comes again counts too
        _once(connection, HttpExchange(), get("/api/small", token))
    return connection


SCENARIOS = (Memory("idle", f"{OPEN:,} idle keep-alive connections", _idle),)
