"""The circuit breaker of an endpoint: what it does in requests decides whether it gets more of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

_GROWTH: Final = 2.0


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When an endpoint is left alone, and for how long. Seconds.

    `failures` in a row open the breaker for `open_for`, each further time twice as long up to `longest`. Failures are
    connections that cannot be made, requests without an answer, and answers with one of `statuses`. `last`: the last
    endpoint that is left to a route is left alone too.
    """

    failures: int = 5
    open_for: float = 10.0
    longest: float = 60.0
    statuses: frozenset[int] = frozenset()
    last: bool = False


class State(Enum):
    """CLOSED: requests pass. OPEN: none does. HALF_OPEN: one is under way to find out."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """A pure state machine: the caller brings the monotonic time.

    The one request of the half-open state may never report (its client leaves): after the time the breaker was open
    another one may try.
    """

    __slots__ = ("_open_for", "failures", "policy", "retry_at", "state")

    def __init__(self, policy: BreakerPolicy) -> None:
        self.policy = policy
        self.state = State.CLOSED
        self.failures = 0
        self.retry_at = 0.0
        self._open_for = policy.open_for

    def admits(self, now: float) -> bool:
        """Whether a request may go now; past the open time this one is the probe."""
        if self.state is State.CLOSED:
            return True
        if now < self.retry_at:
            return False
        self.state = State.HALF_OPEN
        self.retry_at = now + self._open_for
        return True

    def succeeded(self) -> None:
        """A request was answered. Those sent before the breaker opened prove nothing."""
        if self.state is not State.OPEN:
            self.reset()

    def failed(self, now: float) -> None:
        """A request was not."""
        if self.state is State.OPEN:
            return
        self.failures += 1
        if self.state is State.HALF_OPEN:
            self._open_for = min(self._open_for * _GROWTH, self.policy.longest)
        elif self.failures < self.policy.failures:
            return
        self.state = State.OPEN
        self.retry_at = now + self._open_for

    def reset(self) -> None:
        """Forget everything: the endpoint is known to be well."""
        self.state = State.CLOSED
        self.failures = 0
        self._open_for = self.policy.open_for
