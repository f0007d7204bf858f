"""How several processes share new connections, and what is lost when one of them leaves.

usage: python -m bench.accepting     prints a table; needs Linux. The figures are in docs/decisions/0011-workers.md
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, ClassVar, cast

import uvloop

from gateway.runtime.acceptor import Acceptor
from gateway.runtime.turns import Counts, Turns, make_counts

WORKERS, CONNECTIONS, ROUNDS = 2, 64, 10
COUNTS, NUMBERS = make_counts(WORKERS), os.pipe()


def listener(*, port: int = 0, reuse_port: bool = False) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(2048)
    sock.setblocking(False)
    return sock


class Echo(asyncio.Protocol):
    """Answers each byte with its process id."""

    open: ClassVar[set[Echo]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.open.discard(self)

    def data_received(self, data: bytes) -> None:
        deadline = time.perf_counter() + 50e-6  # a request's worth of work
        while time.perf_counter() < deadline:
            pass
        self.transport.write(b"%d\n" % os.getpid())  # type: ignore[attr-defined]


class AllAdmitted:
    """In the place of the front."""

    def admit(self, peer: str | None, named: object) -> Echo:
        client = Echo()
        Echo.open.add(client)
        return client

    def give_up(self, client: Echo) -> None:
        Echo.open.discard(client)


async def serve_by_loop(sock: socket.socket) -> None:
    await asyncio.get_running_loop().create_server(Echo, sock=sock)
    await asyncio.Event().wait()


async def serve_one_by_one(sock: socket.socket) -> None:
    """One accept each time the loop comes round."""
    loop = asyncio.get_running_loop()
    tasks = set()

    def accept() -> None:
        try:
            connection, _ = sock.accept()
        except BlockingIOError:
            return
        task = loop.create_task(loop.connect_accepted_socket(Echo, connection))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    loop.add_reader(sock, accept)
    await asyncio.Event().wait()


async def serve_in_turn(sock: socket.socket) -> None:
    """As the gateway does it."""
    counts, number = Counts(COUNTS), int.from_bytes(os.read(NUMBERS[0], 1))
    Acceptor(cast("Any", AllAdmitted()), sock, turns=Turns(lambda: len(Echo.open), counts, number))
    await asyncio.Event().wait()


def start(serve: Callable[[socket.socket], object], sock: socket.socket) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(serve(sock))  # type: ignore[arg-type]
        finally:
            os._exit(0)
    return pid


async def shares(port: int) -> list[int]:
    """How many of CONNECTIONS, opened at once and used for a moment, each process got."""
    pairs = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS)))
    counts: dict[bytes, int] = {}

    async def use(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(20):
            writer.write(b"x")
            pid = await reader.readline()
        counts[pid] = counts.get(pid, 0) + 1
        writer.close()

    await asyncio.gather(*(use(*pair) for pair in pairs))
    return sorted([*counts.values(), *([0] * WORKERS)], reverse=True)[:WORKERS]


def balance(name: str, serve: Callable[[socket.socket], object], *, reuse_port: bool) -> None:
    os.write(NUMBERS[1], bytes(range(1, WORKERS + 1)))
    first = listener(reuse_port=reuse_port)
    port = first.getsockname()[1]
    others = [listener(port=port, reuse_port=True) if reuse_port else first for _ in range(WORKERS - 1)]
    pids = [start(serve, sock) for sock in (first, *others)]
    for sock in {first, *others}:
        sock.close()
    time.sleep(0.3)
    largest = [asyncio.run(shares(port))[0] / CONNECTIONS for _ in range(ROUNDS)]
    print(f"{name:34} largest share: median {statistics.median(largest):4.0%}, worst {max(largest):4.0%}")
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def lost(name: str, *, reuse_port: bool) -> None:
    """Connections that wait while one process is busy and then leaves: how many are never answered."""
    first = listener(reuse_port=reuse_port)
    port = first.getsockname()[1]
    second = listener(port=port, reuse_port=True) if reuse_port else first
    leaving, staying = start(serve_by_loop, first), start(serve_by_loop, second)
    for sock in {first, second}:
        sock.close()
    time.sleep(0.3)
    os.kill(leaving, signal.SIGSTOP)
    clients = [socket.create_connection(("127.0.0.1", port), 0.5) for _ in range(CONNECTIONS)]
    os.kill(leaving, signal.SIGKILL)
    os.waitpid(leaving, 0)
    answered = 0
    for client in clients:
        try:
            client.sendall(b"x")
            answered += bool(client.recv(16))
        except OSError:
            pass
        client.close()
    print(f"{name:34} lost when one leaves: {CONNECTIONS - answered} of {CONNECTIONS}")
    os.kill(staying, signal.SIGKILL)
    os.waitpid(staying, 0)


if __name__ == "__main__":
    print(f"{WORKERS} processes, {CONNECTIONS} connections at once, {ROUNDS} rounds, {sys.platform}")
    balance("one socket, the loop's accept", serve_by_loop, reuse_port=False)
    balance("one socket, one accept at a time", serve_one_by_one, reuse_port=False)
    balance("one socket, in turn", serve_in_turn, reuse_port=False)
    balance("SO_REUSEPORT, a socket each", serve_by_loop, reuse_port=True)
    lost("one socket", reuse_port=False)
    lost("SO_REUSEPORT, a socket each", reuse_port=True)
