"""Messages through WebSockets: as many as go back and forth, then half as many at a fixed rate; what one costs open."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass

from bench import frames
from bench.client import Client
from bench.exchanges import Refusal, echo
from bench.measured import Row, add, percentile
from bench.peers.peer import Peer
from bench.scenarios.memory import OPEN, Memory
from bench.scenarios.scenario import LeftOut
from bench.world import World

CONNECTIONS = 64


@dataclass(frozen=True, slots=True)
class Messages:
    """A message of 64 bytes there and its echo back count as one."""

    name: str = "websocket"
    title: str = "WebSocket, echo of 64 bytes"
    needs: frozenset[str] = frozenset({"websocket"})
    only: frozenset[str] = frozenset()
    fresh: bool = False

    def measure(self, peer: Peer, world: World, seconds: float, *, warm_up: bool) -> Row:
        """Full load, then half of it, over the same connections."""
        running, exchange = world.running[peer.name], echo(world.tokens[0])
        try:
            client = Client(
                running.port, [frames.make(frames.TEXT, exchange.MESSAGE, masked=True)], exchange, CONNECTIONS
            )
        except Refusal as refusal:
            raise LeftOut(str(refusal)) from None
        with contextlib.closing(client):
            before = running.cpu_seconds()
            full = client.closed_loop(seconds)
            between = running.cpu_seconds()
            count = max(len(full.latencies), 1)
            per_second = count / full.seconds
            row = {"cpu_us": (between - before) / count * 1e6, "per_second": per_second, "errors": float(full.errors)}
            row |= full.kinds()
            if warm_up:
                return row
            half = client.open_loop(per_second / 2, seconds)
            spent = running.cpu_seconds() - between
        return add(
            row,
            {
                "half_cpu_us": spent / max(len(half.latencies), 1) * 1e6,
                "p50_ms": percentile(half.latencies, 0.5) * 1e3,
                "p99_ms": percentile(half.latencies, 0.99) * 1e3,
                "late_p99_ms": percentile(half.late, 0.99) * 1e3,
                "errors": float(half.errors),
                **half.kinds(),
            },
        )


def _open(port: int, token: str) -> socket.socket:
    connection, exchange = socket.create_connection(("127.0.0.1", port), 5), echo(token)()
    try:
        exchange.open(connection)
        connection.sendall(frames.make(frames.TEXT, exchange.MESSAGE, masked=True))
        while not exchange.feed(memoryview(connection.recv(4096) or b"\x88\x00")):
            pass
    except Refusal as refusal:
        raise LeftOut(str(refusal)) from None
    if exchange.failed:
        raise LeftOut("does not echo")
    return connection


SCENARIOS = (
    Memory("websockets", f"{OPEN:,} open WebSockets", _open, needs=frozenset({"websocket"})),
    Messages(),
)
