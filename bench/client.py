"""A load generator on raw sockets: at a fixed rate (open loop) or one request after the other on each connection.

At a fixed rate, arrivals are Poisson and a request's latency counts from the moment it was due, not from when a
connection was free to send it: a server that stalls is charged for everything that waited (no coordinated omission).
"""

from __future__ import annotations

import gc
import itertools
import random
import select
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bench.exchanges import Exchange

_READ = select.EPOLLIN | select.EPOLLRDHUP
_BUFFER = 1 << 20
_PATIENCE = 5.0
"""Seconds after the last request was due until what has not been answered is an error."""


@dataclass(slots=True)
class Outcome:
    """Latencies in seconds, how late requests were sent though a connection was free, bytes received, what failed."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    received: int = 0
    wrong: int = 0
    broken: int = 0
    unanswered: int = 0

    @property
    def errors(self) -> int:
        """Wrong answers, connections that ended while an answer was due, and answers that never came."""
        return self.wrong + self.broken + self.unanswered

    def kinds(self) -> dict[str, float]:
        """The errors by kind, for a row of figures."""
        return {
            "wrong_count": float(self.wrong),
            "broken_count": float(self.broken),
            "unanswered_count": float(self.unanswered),
        }


class Client:
    """Connections to one port that send `payloads` in turn and judge answers by an `Exchange` each."""

    def __init__(self, port: int, payloads: Sequence[bytes], new_exchange: type[Exchange], connections: int) -> None:
        self._port, self._payloads, self._new = port, payloads, new_exchange
        self._poll = select.epoll()
        self._live: dict[int, tuple[socket.socket, Exchange]] = {}
        self._free: deque[int] = deque()
        self._due: dict[int, float] = {}
        self._unsent: dict[int, memoryview] = {}
        self._buffer = memoryview(bytearray(_BUFFER))
        for _ in range(connections):
            self._connect()

    def close(self) -> None:
        """Close every connection."""
        for connection, _ in self._live.values():
            connection.close()
        self._poll.close()

    def closed_loop(self, seconds: float) -> Outcome:
        """Keep every connection busy for `seconds`."""
        return self._run(_for(seconds), seconds)

    def open_loop(self, rate: float, seconds: float, seed: int = 7) -> Outcome:
        """Send `rate` requests a second for `seconds`."""
        return self._run(_arrivals(rate, seconds, seed), seconds)

    def _run(self, arrivals: Iterator[float], seconds: float) -> Outcome:
        gc.collect()
        gc.disable()
        try:
            return self._loop(arrivals, seconds)
        finally:
            gc.enable()

    def _loop(self, arrivals: Iterator[float], seconds: float) -> Outcome:
        clock, outcome, turn = time.perf_counter, Outcome(), itertools.cycle(self._payloads)
        began = clock()
        ends, was_free = began + seconds, True
        offset = next(arrivals, None)
        while True:
            now = clock()
            while self._free and offset is not None and (due := began + offset) <= now:
                if was_free and offset:
                    outcome.late.append(now - due)
                self._send(self._free.popleft(), due if offset else now, next(turn), outcome)
                offset = next(arrivals, None)
            was_free = bool(self._free)
            if (offset is None and not self._due) or now > ends + _PATIENCE:
                break
            wait = began + offset - now if offset is not None and was_free else 0.1
            if wait > 0:  # epoll's own wait counts in milliseconds, select's in microseconds
                select.select([self._poll], [], [], wait)
            for descriptor, event in self._poll.poll(0):
                self._ready(descriptor, event, outcome)
        outcome.seconds = clock() - began
        outcome.unanswered += len(self._due) + (offset is not None) + sum(1 for _ in arrivals)
        self._due.clear()
        return outcome

    def _send(self, descriptor: int, due: float, payload: bytes, outcome: Outcome) -> None:
        connection, exchange = self._live[descriptor]
        self._due[descriptor] = due
        exchange.begin()
        try:
            sent = connection.send(payload)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._replace(descriptor, outcome)
            return
        if sent < len(payload):
            self._unsent[descriptor] = memoryview(payload)[sent:]
            self._poll.modify(descriptor, _READ | select.EPOLLOUT)

    def _ready(self, descriptor: int, event: int, outcome: Outcome) -> None:
        connection, exchange = self._live[descriptor]
        if event & select.EPOLLOUT and descriptor in self._unsent:
            self._send_rest(descriptor, connection)
        if not event & ~select.EPOLLOUT:
            return
        try:
            count = connection.recv_into(self._buffer)
        except BlockingIOError:
            return
        except OSError:
            count = 0
        if not count:
            self._replace(descriptor, outcome)
            return
        outcome.received += count
        if exchange.feed(self._buffer[:count]):
            outcome.latencies.append(time.perf_counter() - self._due.pop(descriptor, 0.0))
            outcome.wrong += exchange.failed
            self._free.append(descriptor)

    def _send_rest(self, descriptor: int, connection: socket.socket) -> None:
        rest = self._unsent[descriptor]
        try:
            rest = rest[connection.send(rest) :]
        except OSError:  # what is wrong shows when reading
            return
        if rest:
            self._unsent[descriptor] = rest
        else:
            del self._unsent[descriptor]
            self._poll.modify(descriptor, _READ)

    def _replace(self, descriptor: int, outcome: Outcome) -> None:
        """A connection ended: an error when an answer was due on it."""
        connection, _ = self._live.pop(descriptor)
        self._unsent.pop(descriptor, None)
        outcome.broken += self._due.pop(descriptor, None) is not None
        if descriptor in self._free:
            self._free.remove(descriptor)
        self._poll.unregister(descriptor)
        connection.close()
        self._connect()

    def _connect(self) -> None:
        connection = socket.create_connection(("127.0.0.1", self._port), 10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        exchange = self._new()
        exchange.open(connection)
        connection.setblocking(False)
        self._live[connection.fileno()] = connection, exchange
        self._free.append(connection.fileno())
        self._poll.register(connection, _READ)


def _for(seconds: float) -> Iterator[float]:
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:
        yield 0.0


def _arrivals(rate: float, seconds: float, seed: int) -> Iterator[float]:
    chance, at = random.Random(seed), 1e-9
    while (at := at + chance.expovariate(rate)) < seconds:
        yield at
