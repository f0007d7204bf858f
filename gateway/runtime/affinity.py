"""Keeps a worker's threads on one CPU. They take turns under the interpreter's lock, so a second CPU gains them nothing
and costs them their caches: measured, a refresh costs a third more CPU when they wander (docs/performance.md).

Other processes may be bound to the same CPU or be busy on it, so its load is watched and the worker moves.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

Choose = Callable[[list[int]], int]

EVERY: Final = 2.0
_CROWDED: Final = 0.2
"""Share of a CPU taken by other processes from which on another CPU is looked for."""
_GAIN: Final = 0.15
"""How much less busy another CPU must be to be worth the move."""
_ALIKE: Final = 0.1
_STAT: Final = Path("/proc/stat")
_THREADS: Final = Path("/proc/self/task")
_TICKS: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def parse_busy(stat: str) -> dict[int, float]:
    """Busy seconds of each CPU since boot, from the text of /proc/stat (proc_stat(5)): all but idle and iowait."""
    busy = {}
    for line in stat.splitlines():
        name, *fields = line.split()
        if name.startswith("cpu") and name[3:].isdigit():
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
            busy[int(name[3:])] = (user + nice + system + irq + softirq + steal) / _TICKS
    return busy


def better_cpu(current: int, own: float, busy: Mapping[int, float], choose: Choose = random.choice) -> int:
    """The CPU to be on. `busy` is each usable CPU's busy share of the last moments, `own` this process's share.

    One of the calm ones by chance: workers that started together must not all move to the same one.
    """
    others = busy[current] - own
    if others <= _CROWDED:
        return current
    calm = [cpu for cpu in sorted(busy) if cpu != current and busy[cpu] <= others - _GAIN]
    least = min((busy[cpu] for cpu in calm), default=0.0)
    return choose([cpu for cpu in calm if busy[cpu] <= least + _ALIKE]) if calm else current


class OneCpu:
    """The CPU of this process's threads, but for those that were bound elsewhere on purpose (password hashing)."""

    def __init__(self, nth: int | None = None) -> None:
        self._usable = os.sched_getaffinity(0)
        self._seen = parse_busy(_STAT.read_text())
        self._at, self._own = time.monotonic(), time.process_time()
        usable = sorted(self._usable)
        self.cpu = random.choice(usable) if nth is None else usable[nth % len(usable)]  # noqa: S311 - no secret
        self._bind(self._usable, self.cpu)

    async def watch(self) -> None:
        """Move whenever another CPU is calmer; never returns."""
        while True:
            await asyncio.sleep(EVERY)
            self.reconsider()

    def reconsider(self) -> None:
        """Look at what the CPUs did since the last time."""
        busy, at, own = parse_busy(_STAT.read_text()), time.monotonic(), time.process_time()
        span = max(at - self._at, 1e-3)
        shares = {cpu: (busy[cpu] - self._seen.get(cpu, 0.0)) / span for cpu in busy if cpu in self._usable}
        if self.cpu in shares:
            target = better_cpu(self.cpu, (own - self._own) / span, shares)
            if target != self.cpu:
                self._bind({self.cpu}, target)
                self.cpu = target
        self._seen, self._at, self._own = busy, at, own

    @staticmethod
    def _bind(where: set[int], cpu: int) -> None:
        for thread in _THREADS.iterdir():
            try:
                if os.sched_getaffinity(int(thread.name)) == where:
                    os.sched_setaffinity(int(thread.name), {cpu})
            except ProcessLookupError:
                continue  # it has just ended


def one_cpu(nth: int | None = None) -> OneCpu | None:
    """Bind this process's threads to one CPU: the `nth` to begin with, or one by chance; None where that cannot be done
    or there is only one.
    """
    if sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2:
        return None
    try:
        return OneCpu(nth)
    except (OSError, ValueError):  # a container may hide /proc or forbid the call
        return None
