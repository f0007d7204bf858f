"""Limits on guessing passwords, in this process's memory; processes tell each other what they saw.

Only failures cost. Attempts under way count as failures while the key has failed before, so that sending them side by
side is no way round the limit. Keys are hashed with a secret of this process: no names in memory, and nobody can choose
names that collide.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import blake2b

from gateway.clock import Clock
from gateway.throttle.gcra import Limit, charge, wait
from gateway.throttle.memory import Debt, DebtTable
from gateway.throttle.policy import ThrottlePolicy

# No password check takes longer; what is still pending then was lost with its request.
PENDING_LIFE = 30.0
MOST_DOUBLINGS = 16
FAILED, SUCCEEDED = "failed", "succeeded"


class LoginThrottle:
    """The `LoginLimiter` of one process."""

    def __init__(
        self, clock: Clock, policy: ThrottlePolicy | None = None, *, random_bytes: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._clock = clock
        self._policy = policy or ThrottlePolicy()
        self._secret = random_bytes(16)
        self._pairs = DebtTable(self._policy.memory)
        self._networks = DebtTable(self._policy.memory)
        self._accounts = DebtTable(self._policy.memory)
        self._welcome = DebtTable(self._policy.memory)
        self.tell: Callable[[str, str, str], None] = lambda outcome, username_key, network: None
        """Called with what `hear` takes, for the processes beside this one."""

    def change(self, policy: ThrottlePolicy) -> None:
        """Go on under other limits; nobody's debt is forgotten. `memory` stays as it was."""
        self._policy = policy

    async def check(self, username_key: str, network: str) -> float:
        """Seconds to wait, 0 to go on: then the attempt counts as under way."""
        if not self._policy.enabled:
            return 0.0
        now = self._clock.monotonic()
        pair, place = self._key(username_key, network), self._key(network)
        delay = self._owed(self._pairs.find(pair), self._pair_limit(username_key, now), now)
        if self._welcome.find(pair) is None:
            # Someone who logged in from here before is not shut out by what the neighbours do.
            delay = max(delay, self._owed(self._networks.find(place), self._policy.network, now))
        if delay == 0.0:
            _begin(self._pairs.touch(pair), now)
            _begin(self._networks.touch(place), now)
        return delay

    async def failed(self, username_key: str, network: str) -> None:
        """Charge the pair, the network and the account."""
        if not self._policy.enabled:
            return
        self._close(self._pairs, self._key(username_key, network))
        self._close(self._networks, self._key(network))
        self._charge(username_key, network)
        self.tell(FAILED, username_key, network)

    async def succeeded(self, username_key: str, network: str) -> None:
        """Forgive the pair. The network keeps its debt: one's own account must not pay for guesses at others."""
        if not self._policy.enabled:
            return
        self._forgive(username_key, network)
        self._close(self._networks, self._key(network))
        self.tell(SUCCEEDED, username_key, network)

    def hear(self, outcome: str, username_key: str, network: str) -> None:
        """Another process saw this `outcome`, `FAILED` or `SUCCEEDED`: it counts here as well."""
        if not self._policy.enabled:
            return
        if outcome == FAILED:
            self._charge(username_key, network)
        elif outcome == SUCCEEDED:
            self._forgive(username_key, network)

    async def abandoned(self, username_key: str, network: str) -> None:
        """Take the attempt back."""
        self._close(self._pairs, self._key(username_key, network))
        self._close(self._networks, self._key(network))

    def _charge(self, username_key: str, network: str) -> None:
        now, policy = self._clock.monotonic(), self._policy
        self._fail(self._pairs.touch(self._key(username_key, network)), policy.pair, now, growing=True)
        self._fail(self._networks.touch(self._key(network)), policy.network, now)
        self._fail(self._accounts.touch(self._key(username_key)), policy.account, now)

    def _forgive(self, username_key: str, network: str) -> None:
        pair = self._key(username_key, network)
        self._pairs.forget(pair)
        self._welcome.touch(pair)

    def _pair_limit(self, username_key: str, now: float) -> Limit:
        account = self._accounts.find(self._key(username_key))
        under_attack = account is not None and wait(account.paid_at, now, self._policy.account) > 0
        return self._policy.pair_under_attack if under_attack else self._policy.pair

    def _owed(self, debt: Debt | None, limit: Limit, now: float) -> float:
        if debt is None or debt.paid_at <= now:
            return 0.0
        fresh = debt.pending if now - debt.pending_at < PENDING_LIFE else 0
        return wait(debt.paid_at + fresh * limit.interval, now, limit)

    def _fail(self, debt: Debt, limit: Limit, now: float, *, growing: bool = False) -> None:
        if debt.paid_at <= now:
            debt.failures = 0
        debt.failures += 1
        over = max(0, debt.failures - limit.count) if growing else 0
        cost = limit.interval * 2 ** min(over, MOST_DOUBLINGS)
        # Never more debt than the longest wait asks for: a key must not be shut for days.
        most = now + limit.period - limit.interval + self._policy.longest_wait
        debt.paid_at = min(charge(debt.paid_at, now, cost), most)

    def _close(self, table: DebtTable, key: bytes) -> None:
        if (debt := table.find(key)) is not None:
            _end(debt)

    def _key(self, *parts: str) -> bytes:
        text = "\0".join(parts).encode("utf-8", "surrogatepass")
        return blake2b(text, digest_size=16, key=self._secret).digest()


def _begin(debt: Debt, now: float) -> None:
    if now - debt.pending_at >= PENDING_LIFE:
        debt.pending = 0
    debt.pending += 1
    debt.pending_at = now


def _end(debt: Debt) -> None:
    debt.pending = max(0, debt.pending - 1)
