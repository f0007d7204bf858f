"""Limits on forged refresh tokens, in this process's memory. A token with a good MAC never comes here."""

from __future__ import annotations

from gateway.clock import Clock
from gateway.throttle.gcra import charge, wait
from gateway.throttle.memory import DebtTable
from gateway.throttle.policy import ThrottlePolicy


class RefreshThrottle:
    """The `RefreshLimiter` of one process."""

    def __init__(self, clock: Clock, policy: ThrottlePolicy | None = None) -> None:
        self._clock = clock
        self._policy = policy or ThrottlePolicy()
        self._networks = DebtTable(self._policy.memory)

    def change(self, policy: ThrottlePolicy) -> None:
        """Go on under other limits; nobody's debt is forgotten."""
        self._policy = policy

    async def check(self, network: str) -> float:
        """Seconds to wait before another forged token is answered as such; 0: answer."""
        debt = self._networks.find(network.encode())
        if debt is None or not self._policy.enabled:
            return 0.0
        return wait(debt.paid_at, self._clock.monotonic(), self._policy.forged_refresh)

    async def forged(self, network: str) -> None:
        """A token with a bad MAC came from `network`."""
        debt = self._networks.touch(network.encode())
        now = self._clock.monotonic()
        limit = self._policy.forged_refresh
        debt.paid_at = min(charge(debt.paid_at, now, limit.interval), now + 2 * limit.period)
