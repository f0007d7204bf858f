"""The generic cell rate algorithm: a rate limit that is one number, the time at which everything is paid back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limit:
    """`count` at once; they come back evenly over `period` seconds."""

    count: int
    period: float

    def __post_init__(self) -> None:
        """Refuse a limit that can't be computed with."""
        if self.count < 1 or self.period <= 0:
            raise ValueError("a limit needs a count of at least 1 and a period above 0")

    @property
    def interval(self) -> float:
        """Seconds in which one comes back."""
        return self.period / self.count


def wait(paid_at: float, now: float, limit: Limit) -> float:
    """Seconds until the next one is within `limit`; 0 when it is now. `paid_at` is what `charge` returned last."""
    return max(0.0, paid_at - now - (limit.period - limit.interval))


def charge(paid_at: float, now: float, cost: float) -> float:
    """The new time at which everything is paid back, after `cost` more seconds of debt."""
    return max(paid_at, now) + cost
