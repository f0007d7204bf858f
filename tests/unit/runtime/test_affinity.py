"""Which CPU a worker's threads are on."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.runtime import affinity
from gateway.runtime.affinity import OneCpu, better_cpu, one_cpu, parse_busy

STAT = """cpu  10 0 10 80 0 0 0 0 0 0
cpu0 100 20 30 4000 500 1 2 3 0 0
cpu11 200 0 0 9999 0 0 0 0 7 7
intr 12345 0 0
ctxt 1
"""


def test_busy_is_all_but_idle_and_waiting() -> None:
    assert parse_busy(STAT) == {0: pytest.approx(156 / affinity._TICKS), 11: pytest.approx(200 / affinity._TICKS)}


@pytest.mark.parametrize(
    ("own", "busy", "expected"),
    [
        (0.9, {0: 1.0, 1: 0.0}, 0),  # busy with ourselves
        (0.1, {0: 0.3, 1: 0.0}, 0),  # others are there, but not many
        (0.1, {0: 0.9, 1: 0.1}, 1),
        (0.1, {0: 0.9, 1: 0.7}, 0),  # no better elsewhere
        (0.1, {0: 0.9, 1: 0.5, 2: 0.2}, 2),
        (0.0, {0: 1.0}, 0),
    ],
)
def test_moves_where_it_is_calmer(own: float, busy: dict[int, float], expected: int) -> None:
    assert better_cpu(0, own, busy) == expected


def test_calm_cpus_are_chosen_from_by_chance() -> None:
    offered: list[list[int]] = []

    def last(cpus: list[int]) -> int:
        offered.append(cpus)
        return cpus[-1]

    assert better_cpu(0, 0.0, {0: 1.0, 1: 0.05, 2: 0.5, 3: 0.1}, last) == 3
    assert offered == [[1, 3]]


@pytest.fixture
def cpus() -> Iterator[set[int]]:
    usable = os.sched_getaffinity(0)
    yield usable
    for thread in (entry.name for entry in Path("/proc/self/task").iterdir()):
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.sched_setaffinity(int(thread), usable)


@pytest.fixture
def other_thread() -> Iterator[int]:
    """A thread that was bound elsewhere before."""
    leave, arrived = threading.Event(), threading.Event()

    def stay() -> None:
        arrived.set()
        leave.wait(30)

    thread = threading.Thread(target=stay)
    thread.start()
    arrived.wait(30)
    assert thread.native_id is not None
    yield thread.native_id
    leave.set()
    thread.join()


def test_threads_are_bound_and_move_together(
    cpus: set[int], other_thread: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = OneCpu()
    assert os.sched_getaffinity(0) == os.sched_getaffinity(other_thread) == {bound.cpu}
    os.sched_setaffinity(other_thread, cpus)
    target = max(cpus)
    monkeypatch.setattr(affinity, "better_cpu", lambda *_: target)
    bound.reconsider()
    assert bound.cpu == target
    assert os.sched_getaffinity(0) == {target}
    assert os.sched_getaffinity(other_thread) == cpus


def test_nothing_is_bound_where_it_cannot_be(cpus: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert one_cpu() is None
    monkeypatch.undo()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert one_cpu() is None
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(affinity, "_STAT", affinity._STAT / "hidden")
    assert one_cpu() is None
