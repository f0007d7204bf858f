"""The canary: what it measures, when it is late, when it is missed. On a clock that moves only when told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from support.clock import FrozenClock
from support.sessions import FaultyStore, Recorder

from gateway.errors import StoreUnavailable
from gateway.events import Name
from gateway.sessions.canary import GRACE, Canary, canary_key, sent_at
from gateway.sessions.denial import RevocationIndex
from gateway.sessions.ports import FeedEntry, FeedKind
from gateway.sessions.revocation import RevocationFollower
from gateway.stores.memory import open_memory

INTERVAL = 30.0


@dataclass
class Aviary:
    """Two processes on one store: `sender` sends, both watch."""

    clock: FrozenClock = field(default_factory=FrozenClock)
    sink: Recorder = field(default_factory=Recorder)

    def __post_init__(self) -> None:
        self.store = FaultyStore(open_memory(self.clock).sessions)
        self.indexes = [RevocationIndex(), RevocationIndex()]
        self.followers = [RevocationFollower(self.store, index, self.clock) for index in self.indexes]
        self.latencies: list[list[float]] = [[], []]
        self.sender, self.other = (
            Canary(self.store, index, self.clock, self.sink, latencies.append, interval=INTERVAL, sends=False)
            for index, latencies in zip(self.indexes, self.latencies, strict=True)
        )

    async def open(self) -> None:
        for follower in self.followers:
            await follower.load()
        self.sender.start()
        self.other.start()

    async def poll(self, which: int) -> None:
        await self.followers[which].poll()
        await (self.sender, self.other)[which].measure()


@pytest.fixture
async def aviary() -> AsyncIterator[Aviary]:
    made = Aviary()
    await made.open()
    yield made
    await made.sender.stop()
    await made.other.stop()


def test_no_session_has_such_an_id() -> None:
    key = canary_key("a1.7", 1_790_000_000.25)
    assert (key, sent_at(key)) == ("canary:a1.7:1790000000250000", 1_790_000_000.25)
    assert sent_at("6f1c2b58-7f0c-4f3e-a7f3-0d9b6f1f8a21") is None


async def test_every_process_measures_when_it_is_in_force_there(aviary: Aviary) -> None:
    await aviary.sender.send()
    aviary.clock.advance(0.125)
    await aviary.poll(0)
    aviary.clock.advance(0.5)
    await aviary.poll(1)
    assert aviary.latencies == [[pytest.approx(0.125)], [pytest.approx(0.625)]]
    assert (aviary.sender.age(), aviary.other.age()) == (0.5, 0.0)
    assert aviary.sink.events == []


async def test_nothing_is_measured_before_the_feed_brings_it(aviary: Aviary) -> None:
    await aviary.sender.send()
    await aviary.sender.measure()
    assert aviary.latencies == [[], []]
    assert len(aviary.indexes[0]) == 0


async def test_time_is_the_stores_and_waiting_to_ask_for_it_does_not_count(aviary: Aviary) -> None:
    aviary.clock.step(-3600)
    await aviary.sender.send()
    aviary.clock.advance(0.25)
    await aviary.followers[1].poll()
    aviary.clock.advance(2.0)
    await aviary.other.measure()
    assert aviary.latencies[1] == [pytest.approx(0.25)]


async def test_what_is_told_again_is_not_measured_again(aviary: Aviary) -> None:
    await aviary.sender.send()
    await aviary.poll(1)
    (entry,) = await aviary.store.feed(0)
    aviary.clock.advance(120)
    aviary.indexes[1].replace([entry])
    aviary.indexes[1].prune(entry.expires_at)
    aviary.indexes[1].apply([entry])
    await aviary.other.measure()
    assert aviary.latencies[1] == [0.0]
    assert aviary.other.age() == 120


async def test_what_was_in_the_feed_before_is_not_measured() -> None:
    aviary = Aviary()
    await aviary.sender.send()
    aviary.clock.advance(60)
    await aviary.open()
    await aviary.poll(1)
    assert aviary.latencies[1] == []
    await aviary.sender.stop()
    await aviary.other.stop()


async def test_real_ends_are_not_measured(aviary: Aviary) -> None:
    session = "6f1c2b58-7f0c-4f3e-a7f3-0d9b6f1f8a21"
    aviary.indexes[1].apply([FeedEntry(1, FeedKind.SESSION, session, 0, 2e9), FeedEntry(2, FeedKind.USER, "u", 3, 2e9)])
    await aviary.other.measure()
    assert aviary.latencies[1] == []


@pytest.mark.parametrize(("after", "late"), [(1.0, False), (1.25, True)])
async def test_one_that_took_over_a_second_is_told(aviary: Aviary, after: float, late: bool) -> None:
    await aviary.sender.send()
    aviary.clock.advance(after)
    await aviary.poll(1)
    told = [(event.name, event.fields) for event in aviary.sink.events]
    assert told == ([(Name.CANARY_LATE, {"latency_s": after})] if late else [])
    assert aviary.latencies[1] == [pytest.approx(after)]


async def test_one_that_does_not_come_is_told_once_until_the_next_has_come(aviary: Aviary) -> None:
    aviary.clock.advance(INTERVAL + GRACE)
    aviary.other.miss()
    assert aviary.sink.events == []
    aviary.clock.advance(0.5)
    for _ in range(3):
        aviary.other.miss()
    (told,) = aviary.sink.take()
    assert (told.name, told.fields) == (Name.CANARY_MISSED, {"silent_s": 35.5, "interval_s": 30.0})
    await aviary.sender.send()
    await aviary.poll(1)
    aviary.clock.advance(INTERVAL + GRACE + 1)
    aviary.other.miss()
    assert aviary.sink.names() == [Name.CANARY_MISSED]


async def test_nothing_is_missed_where_none_is_sent(aviary: Aviary) -> None:
    aviary.other.change(0.0)
    aviary.clock.advance(10_000)
    aviary.other.miss()
    assert aviary.other.age() is None
    assert aviary.sink.events == []
    aviary.other.change(60.0)
    assert aviary.other.age() == 0


async def test_a_canary_outlives_the_look_back_so_that_the_feed_is_not_read_whole(aviary: Aviary) -> None:
    for _ in range(12):
        await aviary.sender.send()
        for _ in range(6):
            await aviary.poll(1)
            aviary.clock.advance(5)
    starts = [args[0] for name, args in aviary.store.calls if name == "feed"]
    # While the first can be the one to start from, all of it is what is new.
    assert 0 not in starts[24:]
    assert max(starts) == 11


async def test_the_sender_sends_at_once_and_outlives_a_failing_store() -> None:
    clock, sink = FrozenClock(), Recorder()
    store = FaultyStore(open_memory(clock).sessions)
    store.fail["canary"] = StoreUnavailable(debug="gone")
    canary = Canary(store, RevocationIndex(), clock, sink, lambda _: None, interval=0.01, sends=True)
    canary.start()
    while store.count("canary") < 3:
        await asyncio.sleep(0)
    del store.fail["canary"]
    while not await store.feed(0):
        await asyncio.sleep(0)
    await canary.stop()
    assert sink.names() == [Name.STORE_FAILED]
    assert sink.events[0].fields == {"work": "canary", "error": "gone"}


async def test_the_watch_measures_by_itself_and_outlives_a_store_without_time() -> None:
    clock, sink, index = FrozenClock(), Recorder(), RevocationIndex()
    store = FaultyStore(open_memory(clock).sessions)
    latencies: list[float] = []
    canary = Canary(store, index, clock, sink, latencies.append, interval=INTERVAL, sends=False)
    canary.start()
    store.fail["now"] = StoreUnavailable(debug="gone")
    for name in ("a.1", "a.2"):
        asked = store.count("now")
        index.apply([await store.canary(name, life=180)])
        while store.count("now") == asked:
            await asyncio.sleep(0)
    del store.fail["now"]
    index.apply([await store.canary("a.3", life=180)])
    while not latencies:
        await asyncio.sleep(0)
    await canary.stop()
    assert (latencies, sink.names()) == ([0.0], [Name.STORE_FAILED])
