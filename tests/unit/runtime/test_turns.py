"""Workers that take turns at one socket. They are two in one process here; the memory they share is the same."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any, cast

import pytest

from gateway.runtime.acceptor import Acceptor
from gateway.runtime.turns import Counts, Turns, make_counts


class Worker:
    """Stands for the front too: admits everybody, and counts them from then on."""

    def __init__(self, listener: socket.socket, descriptor: int, number: int) -> None:
        self.open: set[asyncio.BaseTransport] = set()
        self.admitted = 0
        turns = Turns(lambda: self.admitted, Counts(descriptor), number)
        self.acceptor = Acceptor(cast("Any", self), listener.dup(), turns=turns)

    def admit(self, peer: str | None, named: object) -> asyncio.Protocol:
        assert (peer, named) == ("127.0.0.1", None)
        worker = self
        self.admitted += 1

        class Greeting(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                worker.open.add(transport)
                transport.write(b"x")  # type: ignore[attr-defined]

        return Greeting()

    def close(self) -> None:
        self.acceptor.close()
        for transport in self.open:
            transport.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.setblocking(False)
        yield made


@pytest.fixture
def counts() -> Iterator[int]:
    descriptor = make_counts(2)
    yield descriptor
    os.close(descriptor)


async def connect(listener: socket.socket, times: int) -> None:
    """Open connections, each greeted."""
    address = listener.getsockname()
    async with asyncio.timeout(10):
        pairs = await asyncio.gather(*(asyncio.open_connection(*address) for _ in range(times)))
        for reader, writer in pairs:
            assert await reader.readexactly(1) == b"x"
            writer.close()


async def test_they_share_evenly(listener: socket.socket, counts: int) -> None:
    one, two = Worker(listener, counts, 1), Worker(listener, counts, 2)
    with contextlib.closing(one), contextlib.closing(two):
        await connect(listener, 40)
        assert abs(len(one.open) - len(two.open)) <= 6
        assert len(one.open) + len(two.open) == 40


async def test_a_worker_that_is_gone_is_not_waited_for(listener: socket.socket, counts: int) -> None:
    memory = Counts(counts)
    assert memory.least() > 2**31
    memory.has(2, 0)
    with contextlib.closing(Worker(listener, counts, 1)) as one:
        await connect(listener, 10)  # the other one hangs: patience has an end
        assert len(one.open) == 10
        memory.vacant(2)
        assert 0 < memory.least() <= 10
        memory.has(2, 0)
        memory.workers(1)
        assert 0 < memory.least() <= 10
        memory.vacant(2)
        await connect(listener, 5)
        assert len(one.open) == 15


async def test_one_that_leaves_accepts_no_more(listener: socket.socket, counts: int) -> None:
    one, two = Worker(listener, counts, 1), Worker(listener, counts, 2)
    with contextlib.closing(two):
        one.close()
        Counts(counts).vacant(1)
        await connect(listener, 8)
        assert (len(one.open), len(two.open)) == (0, 8)


def test_whose_turn_it_is(counts: int) -> None:
    own = [5]
    memory = Counts(counts)
    turns = Turns(lambda: own[0], memory, 1)
    assert turns.wait(0.0) == 0.0  # nobody else is there
    memory.has(2, 5)
    assert turns.wait(0.0) == 0.0
    own[0] = 6
    pauses = [turns.wait(1.0) for _ in range(6)]
    assert pauses == [0.001] * 5 + [0.0]
    assert [turns.wait(1.05), turns.wait(1.2)] == [0.0, 0.001]  # the other one hangs, it seems: for a while no courtesy
    memory.has(2, 6)
    assert turns.wait(1.2) == 0.0
    own[0] = 106  # a few more make no difference
    memory.has(2, 100)
    assert turns.wait(9.0) == 0.0
