"""Lazy deadlines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from gateway.proxy.timer import NEVER, LazyTimer


class Handle:
    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when, self.callback, self.cancelled = when, callback, False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """A loop whose time the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.handles: list[Handle] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Handle:
        self.handles.append(Handle(when, callback))
        return self.handles[-1]

    def run_to(self, now: float) -> None:
        self.now = now
        for handle in list(self.handles):
            if not handle.cancelled and handle.when <= now:
                self.handles.remove(handle)
                handle.callback()


def make() -> tuple[Any, LazyTimer, list[float]]:
    loop: Any = Loop()
    fired: list[float] = []
    return loop, LazyTimer(loop, lambda: fired.append(loop.now)), fired


def test_moving_a_deadline_later_arms_nothing_new() -> None:
    loop, timer, fired = make()
    for when in (10.0, 11.0, 12.0):
        timer.set(when)
    assert len(loop.handles) == 1
    loop.run_to(10.0)
    assert (fired, loop.handles[-1].when) == ([], 12.0)
    loop.run_to(12.0)
    assert fired == [12.0]
    loop.run_to(100.0)
    assert fired == [12.0]


def test_moving_it_earlier_arms_at_once() -> None:
    loop, timer, fired = make()
    timer.set(10.0)
    timer.set(5.0)
    loop.run_to(5.0)
    assert fired == [5.0]
    assert loop.handles[0].cancelled


def test_never_and_cancel() -> None:
    loop, timer, fired = make()
    timer.set(10.0)
    timer.set(NEVER)
    loop.run_to(10.0)
    timer.set(20.0)
    timer.cancel()
    timer.cancel()
    loop.run_to(30.0)
    assert fired == []
    assert timer.when == NEVER


async def test_on_a_real_loop() -> None:
    loop = asyncio.get_running_loop()
    fired = asyncio.Event()
    LazyTimer(loop, fired.set).set(loop.time() + 0.01)
    async with asyncio.timeout(5):
        await fired.wait()
    assert fired.is_set()
