"""A reader that has stopped never stops the writer of lines."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from gateway.telemetry.writer import LineWriter


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        threading.Event().wait(0.005)
    return condition()


def read_into(descriptor: int, received: bytearray) -> None:
    while chunk := os.read(descriptor, 1 << 20):
        received.extend(chunk)


def test_lines_arrive_in_order_and_whole(pipe: tuple[int, int]) -> None:
    reader, descriptor = pipe
    writer = LineWriter(descriptor)
    sent = [b"line %d\n" % number for number in range(1000)]
    for line in sent:
        writer.write(line)
    assert writer.close()
    os.close(descriptor)
    received = bytearray()
    read_into(reader, received)
    assert bytes(received) == b"".join(sent)


def test_a_stopped_reader_costs_lines_never_time(pipe: tuple[int, int]) -> None:
    reader, descriptor = pipe
    writer = LineWriter(descriptor, dropped_line=lambda count: b"missing %d\n" % count, max_buffer=100_000)
    line = b"x" * 99 + b"\n"
    slowest = 0.0
    for _ in range(5000):
        started = time.monotonic()
        writer.write(line)
        slowest = max(slowest, time.monotonic() - started)
    assert slowest < 1.0
    assert writer.dropped > 0
    dropped = writer.dropped
    received = bytearray()
    drain = threading.Thread(target=read_into, args=(reader, received))
    drain.start()
    assert until(lambda: received.count(line) == 5000 - dropped)
    writer.write(b"after\n")
    assert writer.close(timeout=20)
    os.close(descriptor)
    drain.join(20)
    told = [int(count) for count in re.findall(rb"missing (\d+)\n", received)]
    assert sum(told) == dropped, "every lost line is accounted for, in its place"
    assert re.search(rb"missing \d+\nafter\n$", received)


def test_closing_does_not_wait_for_a_stopped_reader(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1])
    writer.write(b"x" * 1_000_000 + b"\n")
    started = time.monotonic()
    assert not writer.close(timeout=0.05)
    assert time.monotonic() - started < 10


def test_a_reader_that_went_away_is_no_error(pipe: tuple[int, int]) -> None:
    reader, descriptor = pipe
    os.close(reader)
    writer = LineWriter(descriptor)
    writer.write(b"lost\n")
    assert until(lambda: writer.dropped == 1)
    writer.write(b"lost too\n")
    assert writer.dropped == 2
    assert not writer.close()


def test_what_was_never_written_to_closes_at_once(pipe: tuple[int, int]) -> None:
    assert LineWriter(pipe[1]).close()


def test_batches_are_written_under_a_lock_where_others_write_too() -> None:
    inside: list[bool] = []
    reading, writing = os.pipe()

    @contextlib.contextmanager
    def exclusive() -> Iterator[None]:
        inside.append(True)
        yield
        inside.append(False)

    writer = LineWriter(writing, exclusive=exclusive)
    writer.write(b"one\n")
    assert writer.close()
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        assert stream.read() == b"one\n"
    assert inside == [True, False]
