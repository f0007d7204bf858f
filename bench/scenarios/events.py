"""Server-sent events through many streams at a fixed rate: what one costs, and how long it is on its way."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import time
from dataclasses import dataclass, field

from bench.live import RATE
from bench.measured import Row, percentile
from bench.peers.peer import Peer
from bench.requests import get
from bench.scenarios.scenario import LeftOut
from bench.world import World

STREAMS = 50
_EVENT = re.compile(rb"data: (\d{19})")
_LONGEST = 64
"""More than what an event that came in two parts leaves for the second."""


@dataclass(slots=True)
class _Reader:
    """Open streams; an event's age is taken when it is read."""

    poll: select.epoll = field(default_factory=select.epoll)
    streams: dict[int, socket.socket] = field(default_factory=dict)
    rest: dict[int, bytes] = field(default_factory=dict)
    ages: list[float] = field(default_factory=list)

    def open(self, port: int, token: str) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", port), 10)
        connection.sendall(get("/live/events", token))
        head = connection.recv(4096)
        if not head.startswith(b"HTTP/1.1 200"):
            raise LeftOut(f"answers {head[9:12]!r} to a request for an event stream")
        self.streams[connection.fileno()], self.rest[connection.fileno()] = connection, b""
        self.poll.register(connection, select.EPOLLIN)
        return connection

    def read(self, seconds: float) -> int:
        """Read for so long; returns how many streams ended."""
        ends, ended = time.monotonic() + seconds, 0
        while (left := ends - time.monotonic()) > 0:
            for descriptor, _ in self.poll.poll(left):
                data = self.streams[descriptor].recv(65536)
                if not data:
                    self.poll.unregister(descriptor)
                    ended += 1
                self._take(descriptor, data)
        return ended

    def _take(self, descriptor: int, data: bytes) -> None:
        data, now = self.rest[descriptor] + data, time.monotonic_ns()
        end = 0
        for match in _EVENT.finditer(data):
            self.ages.append((now - int(match.group(1))) / 1e9)
            end = match.end()
        self.rest[descriptor] = data[end:][-_LONGEST:]


@dataclass(frozen=True, slots=True)
class Events:
    """CPU at a fixed rate: a faster origin's events would be carried several at a time and look cheap."""

    name: str = "sse"
    title: str = f"server-sent events, {STREAMS} streams with {RATE} a second each"
    needs: frozenset[str] = frozenset()
    only: frozenset[str] = frozenset()
    fresh: bool = False

    def measure(self, peer: Peer, world: World, seconds: float, *, warm_up: bool) -> Row:
        """`per_second` is what came through, `one_core` what the CPU per event makes of one core."""
        running, reader = world.running[peer.name], _Reader()
        with contextlib.closing(reader.poll), contextlib.ExitStack() as stack:
            for _ in range(STREAMS):
                stack.enter_context(reader.open(running.port, world.tokens[0]))
            reader.read(0.1)
            reader.ages.clear()
            before = running.cpu_seconds()
            ended = reader.read(seconds)
            spent = running.cpu_seconds() - before
        each = spent / max(len(reader.ages), 1)
        return {
            "cpu_us": each * 1e6,
            "per_second": len(reader.ages) / seconds,
            "one_core": 1 / each if each else 0.0,
            "p50_ms": percentile(reader.ages, 0.5) * 1e3,
            "p99_ms": percentile(reader.ages, 0.99) * 1e3,
            "errors": float(ended),
        }


SCENARIOS = (Events(),)
