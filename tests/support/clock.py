"""A clock that moves only when told."""

from __future__ import annotations


class FrozenClock:
    """Wall and monotonic time under the test's control. Starts at a round instant in 2026."""

    def __init__(self, now: float = 1_790_000_000.0) -> None:
        self.wall = now
        self.mono = 1000.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.mono

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both clocks."""
        self.wall += seconds
        self.mono += seconds

    def step(self, seconds: float) -> None:
        """Move the wall clock alone, as an operator or NTP would."""
        self.wall += seconds
