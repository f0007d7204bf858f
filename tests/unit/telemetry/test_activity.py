"""Security events on their way into the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from support.clock import FrozenClock

from gateway.errors import StoreUnavailable
from gateway.events import Event, Name
from gateway.stores.memory import open_memory
from gateway.telemetry.activity import Activity
from gateway.telemetry.ports import EventStore, StoredEvent


class Store:
    """The memory store, watched; fails or hangs when told."""

    def __init__(self) -> None:
        self.real: EventStore = open_memory(FrozenClock()).events
        self.batches: list[int] = []
        self.trims: list[int] = []
        self.fail = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def append_events(self, events: Sequence[StoredEvent]) -> None:
        await self.gate.wait()
        if self.fail:
            raise StoreUnavailable(debug="disk full")
        self.batches.append(len(events))
        await self.real.append_events(events)

    async def read_events(self, **options: Any) -> tuple[StoredEvent, ...]:
        return await self.real.read_events(**options)

    async def trim_events(self, *, keep: int) -> int:
        self.trims.append(keep)
        return await self.real.trim_events(keep=keep)

    async def names(self) -> list[str]:
        return [event.name for event in await self.real.read_events(limit=100_000)]


def row(name: str) -> StoredEvent:
    return StoredEvent(0, 1.0, name, "info", None, None, b"{}")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def instantly(_: float) -> None:
    await asyncio.sleep(0)


async def test_rows_arrive_in_order_in_one_batch() -> None:
    store = Store()
    activity = Activity(store, FrozenClock(), keep=1000)
    for number in range(5):
        activity.add(row(str(number)))
    assert store.batches == []
    await activity.close()
    assert await store.names() == ["0", "1", "2", "3", "4"]
    assert (store.batches, store.trims) == ([5], [1000])


async def test_a_full_batch_does_not_wait_for_the_timer() -> None:
    store = Store()
    activity = Activity(store, FrozenClock(), keep=100_000)
    for number in range(250):
        activity.add(row(str(number)))
    await until(lambda: sum(store.batches) >= 200)
    assert store.batches[:2] == [100, 100]
    await activity.close()
    assert await store.names() == [str(number) for number in range(250)]


async def test_the_timer_writes_what_waits() -> None:
    store = Store()
    activity = Activity(store, FrozenClock(), keep=10)
    activity.add(row("a"))
    await until(lambda: store.batches == [1])
    activity.add(row("b"))
    await until(lambda: store.batches == [1, 1])
    assert await store.names() == ["a", "b"]


async def test_a_failing_store_keeps_the_newest_rows_and_says_what_is_missing() -> None:
    store = Store()
    store.fail = True
    said: list[Event] = []
    activity = Activity(store, FrozenClock(), keep=1000, capacity=10, pause=instantly)
    activity.report = said.append
    for number in range(10):
        activity.add(row(str(number)))
    await until(lambda: bool(said))
    for number in range(10, 25):
        activity.add(row(str(number)))
    assert activity.dropped == 15
    store.fail = False
    await until(lambda: len(said) == 2)
    await activity.close()
    assert await store.names() == [str(number) for number in range(15, 25)]
    assert [(event.name, dict(event.fields)) for event in said] == [
        (Name.STORE_FAILED, {"work": "events", "error": "disk full"}),
        (Name.EVENTS_DROPPED, {"count": 15}),
    ]


async def test_an_outage_is_told_once_and_again_when_it_comes_back() -> None:
    store = Store()
    said: list[Event] = []
    activity = Activity(store, FrozenClock(), keep=1000, pause=instantly)
    activity.report = said.append
    for _ in range(2):
        store.fail = True
        activity.add(row("a"))
        await until(lambda: activity._failing)
        for _ in range(20):
            await asyncio.sleep(0)
        store.fail = False
        await until(lambda: not activity._failing)
    assert [event.name for event in said] == [Name.STORE_FAILED, Name.STORE_FAILED]


async def test_closing_gives_up_on_a_store_that_hangs_or_fails() -> None:
    for hang in (True, False):
        store = Store()
        store.fail = True
        if hang:
            store.gate.clear()
        said: list[Event] = []
        activity = Activity(store, FrozenClock(), keep=1000)
        activity.report = said.append
        activity.add(row("a"))
        await activity.close(patience=0.02)
        assert [event.name for event in said] == [Name.STORE_FAILED, Name.EVENTS_DROPPED]
        assert activity.dropped == 1


async def test_the_table_is_trimmed_now_and_then() -> None:
    store = Store()
    activity = Activity(store, FrozenClock(), keep=50)
    for number in range(1500):
        activity.add(row(str(number)))
    await activity.close()
    assert store.trims == [50, 50]


async def test_keeping_nothing_writes_nothing() -> None:
    store = Store()
    activity = Activity(store, FrozenClock(), keep=0)
    activity.add(row("a"))
    await activity.close()
    assert store.batches == []
