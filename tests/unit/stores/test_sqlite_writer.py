"""The writer: shared transactions, failures that stay with their own job, locks, and the end."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from support.clock import FrozenClock
from support.gate import Gate
from support.stores import a_user, log_in

from gateway.errors import Conflict, GatewayError, InvalidRequest, StoreBusy, StoreUnavailable
from gateway.sessions.session import RevokeReason
from gateway.stores.bundle import Stores
from gateway.stores.sqlite import Point, open_sqlite
from gateway.stores.sqlite.connection import open_writer
from gateway.stores.sqlite.lane import Transaction
from gateway.stores.sqlite.writer import Writer


def insert(value: int, then: Callable[[], None] | None = None) -> Callable[[Transaction], int]:
    def work(transaction: Transaction) -> int:
        transaction.execute("INSERT INTO numbers VALUES (?)", (value,))
        if then is not None:
            then()
        return value

    return work


def fails() -> None:
    raise LookupError("on purpose")


@pytest.fixture
def trace() -> Gate:
    return Gate()


@pytest.fixture
async def writer(tmp_path: Path, trace: Gate) -> AsyncIterator[Writer]:
    opened = open_writer(tmp_path / "gateway.db", busy_timeout=0.2, now=0.0)
    opened.execute("CREATE TABLE numbers (value INTEGER PRIMARY KEY)")
    started = Writer(opened, "writer", on_feed=lambda: None, observer=trace)
    yield started
    trace.open()
    await started.close()


async def numbers(writer: Writer) -> list[int]:
    return await writer.run(lambda t: [row[0] for row in t.execute("SELECT value FROM numbers ORDER BY value")])


async def batched(writer: Writer, trace: Gate, *works: Callable[[Transaction], int]) -> list[int | BaseException]:
    """Let `works` queue up behind a held transaction, so that they share the next one."""
    trace.held_at = Point.BEFORE_BEGIN
    first = asyncio.ensure_future(writer.run(lambda _: 0))
    await trace.reached()
    waiting = [asyncio.ensure_future(writer.run(work)) for work in works]
    await asyncio.sleep(0)
    trace.points.clear()
    trace.open()
    await first
    return await asyncio.gather(*waiting, return_exceptions=True)


async def test_jobs_that_queue_share_one_commit(writer: Writer, trace: Gate) -> None:
    assert await batched(writer, trace, *(insert(number) for number in range(20))) == list(range(20))
    assert trace.points.count(Point.AFTER_COMMIT) == 2
    assert trace.points.count(Point.AFTER_JOB) == 21
    assert await numbers(writer) == list(range(20))


async def test_one_that_fails_takes_back_only_its_own(writer: Writer, trace: Gate) -> None:
    results = await batched(writer, trace, insert(1), insert(2, fails), insert(1), insert(3))
    assert [type(result) for result in results] == [int, LookupError, Conflict, int]
    assert trace.points.count(Point.AFTER_COMMIT) == 2
    assert await numbers(writer) == [1, 3]


async def test_one_that_fails_alone_leaves_nothing(writer: Writer) -> None:
    with pytest.raises(LookupError):
        await writer.run(insert(1, fails))
    assert await numbers(writer) == []


async def test_a_commit_that_fails_fails_everyone(writer: Writer, trace: Gate) -> None:
    def breaks(point: Point) -> None:
        if point is Point.BEFORE_COMMIT and trace.points.count(Point.BEFORE_COMMIT) == 1:
            raise sqlite3.OperationalError("disk I/O error")

    original = trace.__call__

    def observe(point: Point) -> None:
        original(point)
        breaks(point)

    writer._observe = observe
    with pytest.raises(StoreUnavailable):
        await writer.run(insert(1))
    assert await writer.run(insert(2)) == 2
    assert await numbers(writer) == [2]


async def test_a_refusal_that_rests_on_what_was_never_committed_is_not_given(writer: Writer, trace: Gate) -> None:
    original = trace.__call__

    def observe(point: Point) -> None:
        original(point)
        if point is Point.BEFORE_COMMIT and trace.points.count(point) == 2:
            raise sqlite3.OperationalError("disk I/O error")

    writer._observe = observe
    results = await batched(writer, trace, insert(1), insert(1))
    assert [type(result) for result in results] == [StoreUnavailable, StoreUnavailable]
    assert await writer.run(insert(1)) == 1


async def test_when_sqlite_takes_everything_back_nothing_is_acknowledged(writer: Writer, trace: Gate) -> None:
    def takes_all_back(transaction: Transaction) -> int:
        transaction.execute("ROLLBACK")
        raise sqlite3.OperationalError("database or disk is full")

    results = await batched(writer, trace, insert(1), takes_all_back, insert(2))
    assert [type(result) for result in results] == [StoreUnavailable] * 3
    assert await numbers(writer) == []
    assert await writer.run(insert(3)) == 3


async def test_a_lock_held_elsewhere_is_busy_and_passes(writer: Writer, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy) as caught:
            await writer.run(insert(1))
        assert caught.value.retry_after == 1
        other.execute("ROLLBACK")
        assert await writer.run(insert(1)) == 1
    finally:
        other.close()


async def test_who_no_longer_waits_is_not_served(writer: Writer, trace: Gate) -> None:
    trace.held_at = Point.BEFORE_BEGIN
    first = asyncio.ensure_future(writer.run(insert(1)))
    await trace.reached()
    second = asyncio.ensure_future(writer.run(insert(2)))
    await asyncio.sleep(0)
    first.cancel()
    second.cancel()
    await asyncio.wait([first, second])
    trace.open()
    # The first had begun and is written; nobody can tell its caller any more.
    assert await numbers(writer) == [1]


async def test_what_was_accepted_is_finished_before_the_end(writer: Writer, trace: Gate) -> None:
    trace.held_at = Point.BEFORE_BEGIN
    accepted = [asyncio.ensure_future(writer.run(insert(number))) for number in range(3)]
    await trace.reached()
    closing = [asyncio.ensure_future(writer.close()) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable, match="closed"):
        await writer.run(insert(9))
    trace.open()
    assert await asyncio.gather(*accepted) == [0, 1, 2]
    await asyncio.gather(*closing)


async def test_values_that_no_column_holds_are_the_callers_mistake(writer: Writer) -> None:
    with pytest.raises(InvalidRequest):
        await writer.run(insert(2**63))
    with pytest.raises(InvalidRequest):
        await writer.run(lambda t: t.execute("SELECT ?", ("\ud800",)).fetchone())
    assert await numbers(writer) == []


def test_a_loop_that_is_gone_stops_nobody(tmp_path: Path) -> None:
    opened = open_writer(tmp_path / "gateway.db", busy_timeout=0.2, now=0.0)
    begun, release = threading.Event(), threading.Event()

    def slow(_: Transaction) -> None:
        begun.set()
        assert release.wait(10)

    async def leave() -> Writer:
        writer = Writer(opened, "writer", on_feed=lambda: None)
        task = asyncio.ensure_future(writer.run(slow))
        await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        writer._queue.put(None)
        return writer

    writer = asyncio.run(leave())
    release.set()
    writer._thread.join(10)
    assert not writer._thread.is_alive()


async def open_store(folder: Path) -> Stores:
    return await open_sqlite(folder / "gateway.db", clock=FrozenClock(), busy_timeout=0.4)


async def test_ping_tells_when_writes_or_reads_fail(tmp_path: Path) -> None:
    stores = await open_store(tmp_path)
    await stores.database.ping()
    other = sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy):
            await stores.database.ping()
        other.execute("DELETE FROM schema_migrations")
        other.execute("COMMIT")
        with pytest.raises(StoreUnavailable):
            await stores.database.ping()
    finally:
        other.close()
        await stores.database.close()
    await stores.database.close()
    with pytest.raises(StoreUnavailable):
        await stores.database.ping()


async def test_a_damaged_page_is_unavailable_not_a_crash(tmp_path: Path) -> None:
    stores = await open_store(tmp_path)
    user = a_user()
    await stores.users.add(user)
    await stores.database.close()
    path = tmp_path / "gateway.db"
    content = bytearray(path.read_bytes())
    connected = sqlite3.connect(path)
    root = connected.execute("SELECT rootpage FROM sqlite_master WHERE name = 'users'").fetchone()[0]
    connected.close()
    content[(root - 1) * 4096 : root * 4096] = b"\x7f" * 4096
    path.write_bytes(content)
    stores = await open_store(tmp_path)
    with pytest.raises(StoreUnavailable):
        await stores.users.by_id(user.user_id)
    with pytest.raises(StoreUnavailable):
        await stores.users.set_active(user.user_id, False)
    assert await stores.sessions.list_live() == ()
    await stores.database.close()


async def test_another_process_wakes_those_who_follow_the_feed(tmp_path: Path) -> None:
    here, there = await open_store(tmp_path), await open_store(tmp_path)
    user = a_user()
    await here.users.add(user)
    client = await log_in(here, user)
    await here.sessions.feed(0)
    await here.sessions.feed_changed(0)
    waiting = asyncio.ensure_future(here.sessions.feed_changed(30))
    await asyncio.sleep(0)
    # A commit that is no revocation wakes nobody.
    await there.users.upgrade_hash(user.user_id, "old-hash", "new")
    done, _ = await asyncio.wait([waiting], timeout=0.25)
    assert not done
    await there.sessions.end(client.sid, RevokeReason.LOGOUT)
    done, _ = await asyncio.wait([waiting], timeout=5)
    assert done
    assert [entry.key for entry in await here.sessions.feed(0)] == [client.sid]
    await here.database.close()
    await there.database.close()


@pytest.mark.parametrize("kind", [StoreBusy, StoreUnavailable, Conflict])
def test_errors_keep_the_drivers_words_to_themselves(kind: type[GatewayError]) -> None:
    error = kind(debug="SQLITE_BUSY: database is locked")
    assert error.detail is None
    assert "SQLITE" in str(error)
