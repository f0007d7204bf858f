"""Receipts: what counts as one, how often it is written, and that none is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from support.sessions import Pauses, Recorder, SessionBench, until
from support.tokens import make_claims

from gateway.errors import StoreBusy, StoreUnavailable
from gateway.events import Name
from gateway.sessions.ports import Receipt
from gateway.sessions.receipts import FLUSH_AFTER, ReceiptQueue


class QueueBench(SessionBench):
    """A queue whose background task goes on only when released."""

    def written(self) -> list[Receipt]:
        return [receipt for name, args in self.store.calls if name == "confirm" for receipt in args[0]]

    def note(self, sid: str = "s1", *, passive: bool = False, **changes: object) -> None:
        self.receipts.note(make_claims(self.clock, session_id=sid, **{"receipt_at": self.at, **changes}), passive)

    @property
    def at(self) -> int:
        """When use starts to count: a minute after the bench was made."""
        return 1_790_000_060


@pytest.fixture
async def bench() -> AsyncIterator[QueueBench]:
    bench = QueueBench()
    yield bench
    bench.store.fail.clear()
    await bench.receipts.close()


async def test_use_before_the_window_moves_the_time_of_last_use_only(bench: QueueBench) -> None:
    bench.clock.advance(59.9)
    bench.note()
    await bench.receipts.flush("s1")
    assert bench.written() == [Receipt("s1", 3, bench.clock.now(), confirm=False, passive=False)]


async def test_use_after_the_window_confirms(bench: QueueBench) -> None:
    bench.clock.advance(60)
    bench.note()
    await bench.receipts.flush("s1")
    assert bench.written() == [Receipt("s1", 3, bench.clock.now(), confirm=True, passive=False)]


async def test_each_kind_is_written_once_per_rotation(bench: QueueBench) -> None:
    for _ in range(70):
        bench.note()
        bench.note(passive=True)
        await bench.receipts.flush("s1")
        bench.clock.advance(1)
    kinds = [(receipt.confirm, receipt.passive) for receipt in bench.written()]
    assert kinds == [(False, False), (False, True), (True, False)]
    bench.note(generation=4)
    await bench.receipts.flush("s1")
    assert bench.written()[-1].generation == 4


async def test_a_passive_request_confirms_and_leaves_active_use_to_be_told(bench: QueueBench) -> None:
    bench.clock.advance(60)
    bench.note(passive=True)
    bench.note(passive=True)
    bench.note()
    bench.note()
    await bench.receipts.flush("s1")
    assert [(r.confirm, r.passive) for r in bench.written()] == [(False, False), (True, True)]


async def test_the_losers_token_is_no_receipt(bench: QueueBench) -> None:
    bench.clock.advance(61)
    bench.note(generation=2, delivery=-1, receipt_at=0)
    bench.note(generation=3, delivery=0, receipt_at=0)
    await bench.receipts.flush("s1")
    assert [receipt.confirm for receipt in bench.written()] == [False]


async def test_an_older_token_says_nothing_about_the_newer_generation(bench: QueueBench) -> None:
    bench.note(generation=5)
    bench.clock.advance(61)
    bench.note(generation=4)
    bench.note(generation=4, passive=True)
    await bench.receipts.flush("s1")
    assert [(r.generation, r.confirm, r.passive) for r in bench.written()] == [(5, False, False), (4, False, True)]


async def test_a_race_token_is_news_of_its_own(bench: QueueBench) -> None:
    bench.note(generation=3)
    await bench.receipts.flush("s1")
    bench.clock.advance(5)
    bench.note(generation=3, delivery=-1)
    await bench.receipts.flush("s1")
    assert [receipt.seen_at for receipt in bench.written()] == [1_790_000_000.0, 1_790_000_005.0]


async def test_a_later_delivery_is_news_of_its_own(bench: QueueBench) -> None:
    bench.note(delivery=1)
    bench.note(delivery=2)
    bench.note(delivery=1)
    await bench.receipts.flush("s1")
    assert len(bench.written()) == 1
    assert len(bench.receipts) == 0


async def test_waiting_receipts_of_a_session_become_one(bench: QueueBench) -> None:
    bench.note()
    bench.clock.advance(61)
    bench.note()
    assert len(bench.receipts) == 1
    await bench.receipts.flush("s1")
    assert bench.written() == [Receipt("s1", 3, bench.clock.now(), confirm=True, passive=False)]


async def test_a_merged_receipt_confirms_only_its_own_generation(bench: QueueBench) -> None:
    bench.clock.advance(61)
    bench.note(generation=3)
    bench.note(generation=4, receipt_at=bench.at + 60)
    await bench.receipts.flush("s1")
    assert bench.written() == [Receipt("s1", 4, bench.clock.now(), confirm=False, passive=False)]


async def test_an_older_generation_never_hides_a_newer_confirmation(bench: QueueBench) -> None:
    bench.clock.advance(61)
    bench.note(generation=5, passive=True)
    bench.note(generation=4, passive=True)
    await bench.receipts.flush("s1")
    assert [(receipt.generation, receipt.confirm) for receipt in bench.written()] == [(5, True)]
    small = ReceiptQueue(bench.store, bench.clock, bench.events, remembered=2, pause=Pauses(held=True))
    for sid in ("a", "b", "c"):
        small.note(make_claims(bench.clock, session_id=sid, generation=5, receipt_at=0), False)
    small.note(make_claims(bench.clock, session_id="a", generation=4, receipt_at=0), False)
    await small.close()
    assert {(r.sid, r.generation, r.confirm) for r in bench.written()[1:]} == {(s, 5, True) for s in "abc"}


async def test_it_is_flushed_in_the_background_within_its_time(bench: QueueBench) -> None:
    bench.note("s1")
    bench.note("s2")
    assert bench.written() == []
    bench.pauses.release()
    await until(lambda: len(bench.receipts) == 0)
    assert FLUSH_AFTER < 0.1
    assert bench.pauses.seconds == [FLUSH_AFTER]
    assert bench.store.count("confirm") == 1
    bench.note("s3")
    await until(lambda: len(bench.receipts) == 0)
    assert [receipt.sid for receipt in bench.written()] == ["s1", "s2", "s3"]


async def test_a_backlog_is_written_in_batches_without_waiting(bench: QueueBench) -> None:
    for number in range(1200):
        bench.note(f"s{number}")
    bench.pauses.release()
    await until(lambda: len(bench.receipts) == 0)
    assert [len(args[0]) for name, args in bench.store.calls if name == "confirm"] == [500, 500, 200]
    assert bench.pauses.seconds == [FLUSH_AFTER, 0.0, 0.0]


@pytest.mark.parametrize("error", [StoreBusy(debug="locked"), RuntimeError("a bug")])
async def test_what_cannot_be_written_is_kept_and_tried_again(bench: QueueBench, error: Exception) -> None:
    bench.store.fail["confirm"] = error
    bench.note()
    bench.pauses.release()
    await until(lambda: len(bench.pauses.seconds) > 8)
    assert len(bench.receipts) == 1
    assert bench.pauses.seconds[:7] == [FLUSH_AFTER, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0]
    assert bench.events.names() == [Name.STORE_FAILED]
    bench.store.fail.clear()
    await until(lambda: len(bench.receipts) == 0)
    assert bench.written()[-1] == Receipt("s1", 3, bench.clock.now(), confirm=False, passive=False)


async def test_a_failed_flush_is_told_and_keeps_the_receipt(bench: QueueBench) -> None:
    bench.store.fail["confirm"] = StoreUnavailable()
    bench.note()
    with pytest.raises(StoreUnavailable):
        await bench.receipts.flush("s1")
    assert len(bench.receipts) == 1
    bench.store.fail.clear()
    await bench.receipts.flush("s1")
    assert len(bench.receipts) == 0


async def test_flushing_a_session_without_news_asks_the_store_nothing(bench: QueueBench) -> None:
    bench.note("other")
    await bench.receipts.flush("s1")
    assert bench.store.calls == []


async def test_flushing_waits_for_a_batch_that_holds_the_session(bench: QueueBench) -> None:
    gate = asyncio.Event()
    bench.store.before["confirm"] = gate.wait
    bench.note()
    bench.pauses.release()
    await until(lambda: bench.store.count("confirm") == 1)
    flushing = asyncio.ensure_future(bench.receipts.flush("s1"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not flushing.done()
    gate.set()
    await flushing
    assert bench.store.count("confirm") == 1


async def test_news_during_a_write_is_written_after_it(bench: QueueBench) -> None:
    gate = asyncio.Event()
    bench.store.before["confirm"] = gate.wait
    bench.note()
    bench.pauses.release()
    await until(lambda: bench.store.count("confirm") == 1)
    bench.clock.advance(61)
    bench.note()
    gate.set()
    await until(lambda: len(bench.receipts) == 0)
    assert [receipt.confirm for receipt in bench.written()] == [False, True]


async def test_a_refresh_in_between_leaves_nothing_to_do_for_the_task(bench: QueueBench) -> None:
    bench.note()
    await until(lambda: len(bench.pauses.seconds) == 1)
    await bench.receipts.flush("s1")
    bench.pauses.release()
    for _ in range(20):
        await asyncio.sleep(0)
    assert bench.store.count("confirm") == 1


async def test_closing_writes_what_waits(bench: QueueBench) -> None:
    for number in range(700):
        bench.note(f"s{number}")
    await bench.receipts.close()
    assert len(bench.written()) == 700
    await bench.receipts.close()
    assert len(bench.receipts) == 0


async def test_memory_of_sessions_is_bounded_and_keeps_those_in_use(bench: QueueBench) -> None:
    queue = ReceiptQueue(bench.store, bench.clock, Recorder(), remembered=10, pause=Pauses(held=True))
    busy = make_claims(bench.clock, session_id="busy")
    queue.note(busy, False)
    for number in range(100):
        queue.note(make_claims(bench.clock, session_id=f"s{number}"), False)
        queue.note(busy, False)
    assert len(queue._young) + len(queue._old) <= 10
    await queue.close()
    assert [receipt.sid for receipt in bench.written()].count("busy") == 1
