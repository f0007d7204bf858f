"""The bounded set of connections, without a server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.errors import StoreBusy, StoreUnavailable
from gateway.stores.bundle import Load
from gateway.stores.postgres.connections import Connections


class Connection:
    def __init__(self) -> None:
        self.closed = False

    def is_closed(self) -> bool:
        return self.closed

    async def close(self, *, timeout: float | None = None) -> None:
        self.closed = True

    def terminate(self) -> None:
        self.closed = True


class Maker:
    def __init__(self, size: int = 2, patience: float = 0.05) -> None:
        self.made: list[Connection] = []
        self.fail: Exception | None = None
        self.pool: Any = Connections(self.connect, size=size, patience=patience)  # type: ignore[arg-type]

    async def connect(self) -> Connection:
        await asyncio.sleep(0)
        if self.fail is not None:
            raise self.fail
        self.made.append(Connection())
        return self.made[-1]


async def test_one_is_used_again_and_more_are_made_when_needed() -> None:
    maker = Maker()
    one = await maker.pool.take()
    maker.pool.give(one)
    assert await maker.pool.take() is one
    two = await maker.pool.take()
    assert maker.made == [one, two]
    maker.pool.give(one)
    maker.pool.give(two)
    assert await maker.pool.take() is two


async def test_a_full_set_is_waited_for_in_turn_and_not_for_ever() -> None:
    maker = Maker(size=1, patience=5.0)
    one = await maker.pool.take()
    waiting = [asyncio.ensure_future(maker.pool.take()) for _ in range(2)]
    await asyncio.sleep(0)
    maker.pool.give(one)
    assert await waiting[0] is one
    assert not waiting[1].done()
    maker.pool.give(one)
    assert await waiting[1] is one
    maker.pool._patience = 0.01
    with pytest.raises(StoreBusy):
        await maker.pool.take()
    maker.pool.give(one)
    assert await maker.pool.take() is one


async def test_what_is_broken_or_closed_is_not_lent_again() -> None:
    maker = Maker(size=1, patience=5.0)
    one = await maker.pool.take()
    maker.pool.give(one, broken=True)
    assert one.closed
    two = await maker.pool.take()
    assert two is not one
    maker.pool.give(two)
    two.closed = True  # the server went away meanwhile
    three = await maker.pool.take()
    assert three is not two
    waiting = asyncio.ensure_future(maker.pool.take())
    await asyncio.sleep(0)
    maker.pool.give(three, broken=True)
    four = await waiting
    assert four not in (one, two, three)
    assert len(maker.made) == 4


async def test_one_that_dies_while_it_is_handed_over_is_replaced() -> None:
    maker = Maker(size=1, patience=5.0)
    one = await maker.pool.take()
    waiting = asyncio.ensure_future(maker.pool.take())
    await asyncio.sleep(0)
    maker.pool.give(one)
    one.closed = True
    assert await waiting is maker.made[1]


async def test_a_server_that_is_away_costs_no_room() -> None:
    maker = Maker(size=1, patience=5.0)
    maker.fail = ConnectionRefusedError("no")
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await maker.pool.take()
    attempts = [asyncio.ensure_future(maker.pool.take()) for _ in range(3)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * 3
    maker.fail = None
    assert await maker.pool.take() is maker.made[0]


async def test_who_gives_up_leaves_the_connection_to_the_next() -> None:
    maker = Maker(size=1, patience=5.0)
    one = await maker.pool.take()
    first, second = [asyncio.ensure_future(maker.pool.take()) for _ in range(2)]
    await asyncio.sleep(0)
    first.cancel()
    maker.pool.give(one)  # in the same turn: handed to the first, or past it
    assert await second is one
    third, fourth = [asyncio.ensure_future(maker.pool.take()) for _ in range(2)]
    await asyncio.sleep(0)
    maker.pool.give(one)
    third.cancel()  # handed over already, and never taken
    assert await fourth is one
    fifth, sixth = [asyncio.ensure_future(maker.pool.take()) for _ in range(2)]
    await asyncio.sleep(0)
    maker.pool.give(one, broken=True)
    fifth.cancel()
    assert await sixth is maker.made[1]


async def test_what_is_idle_on_a_lost_server_is_dropped_and_makes_room() -> None:
    maker = Maker(patience=5.0)
    one, two = await maker.pool.take(), await maker.pool.take()
    maker.pool.give(one)
    waiting = asyncio.ensure_future(maker.pool.take())
    assert await waiting is one
    maker.pool.give(one)
    maker.pool.drop_idle()
    assert one.closed and not two.closed
    assert await maker.pool.take() is maker.made[2]
    maker.pool.give(two, broken=True)
    maker.pool.give(maker.made[2])
    await maker.pool.close()


async def test_closing_waits_for_what_is_lent() -> None:
    maker = Maker(patience=5.0)
    one, two = await maker.pool.take(), await maker.pool.take()
    maker.pool.give(one)
    closing = asyncio.ensure_future(maker.pool.close())
    await asyncio.sleep(0)
    assert not closing.done()
    with pytest.raises(StoreUnavailable):
        await maker.pool.take()
    maker.pool.give(two)
    await closing
    await maker.pool.close()
    assert one.closed and two.closed


async def test_how_busy_it_is() -> None:
    maker = Maker(size=1, patience=5.0)
    assert maker.pool.load() == Load(open=0, used=0, waiting=0)
    one = await maker.pool.take()
    waiting = [asyncio.ensure_future(maker.pool.take()) for _ in range(2)]
    await asyncio.sleep(0)
    assert maker.pool.load() == Load(open=1, used=1, waiting=2)
    waiting[0].cancel()
    await asyncio.wait([waiting[0]])
    assert maker.pool.load() == Load(open=1, used=1, waiting=1)
    maker.pool.give(one)
    maker.pool.give(await waiting[1])
    assert maker.pool.load() == Load(open=1, used=0, waiting=0)
