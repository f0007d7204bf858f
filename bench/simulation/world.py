"""Simulated time: a queue of things to do, one source of chance, and a network that loses and delays."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

Action = Callable[[], None]

MINUTE = 60.0
HOUR = 3600.0
DAY = 24 * HOUR


class World:
    """Discrete events in order of time; nothing happens between them."""

    def __init__(self, seed: str) -> None:
        self.now = 0.0
        self.random = Random(seed)
        self.stopped = False
        self._queue: list[tuple[float, int, Action]] = []
        self._count = 0

    def after(self, delay: float, action: Action) -> None:
        """Do `action` in `delay` seconds."""
        self._count += 1
        heapq.heappush(self._queue, (self.now + delay, self._count, action))

    def run(self, until: float) -> None:
        """Let time pass until `until`, or until something sets `stopped`."""
        while self._queue and not self.stopped:
            at, _, action = self._queue[0]
            if at > until:
                break
            heapq.heappop(self._queue)
            self.now = at
            action()
        if not self.stopped:
            self.now = until


@dataclass(frozen=True, slots=True)
class Network:
    """What happens to a message. Latency is log-normal, one way; shares are probabilities.

    `late`: requests that arrive up to `late_by` seconds after they were sent. `stalled`: requests that wait for the
    store's lock. `roams`: mean seconds between changes of the network prefix, which a lost message may cause too.
    """

    median: float = 0.04
    sigma: float = 0.8
    lost_requests: float = 0.002
    lost_answers: float = 0.002
    late: float = 0.0
    late_by: float = 170.0
    stalled: float = 0.01
    stall: float = 5.0
    roams: float | None = None

    def latency(self, random: Random) -> float:
        """Seconds one way."""
        return self.median * random.lognormvariate(0.0, self.sigma)

    def delay(self, random: Random) -> float | None:
        """Seconds until a request arrives; None when it never does."""
        chance = random.random()
        if chance < self.lost_requests:
            return None
        if chance < self.lost_requests + self.late:
            return random.uniform(5.0, self.late_by)
        return self.latency(random)

    def wait(self, random: Random) -> float:
        """Seconds a request waits for the lock."""
        return random.uniform(0.0, self.stall) if random.random() < self.stalled else 0.0
