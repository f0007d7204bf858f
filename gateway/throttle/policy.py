"""How many failures are too many."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.throttle.gcra import Limit

_PAIR = Limit(10, 900.0)
_NETWORK = Limit(100, 900.0)
_ACCOUNT = Limit(100, 900.0)
_FORGED_REFRESH = Limit(30, 60.0)


@dataclass(frozen=True, slots=True)
class ThrottlePolicy:
    """Limits on failures; what succeeds costs nothing. Seconds.

    `pair`: one account from one network. Past it every further failure doubles the wait, up to `longest_wait`.
    `network`: one network, whatever the account. `account`: one account from all networks together; past it, a network
    that has failed on this account itself has `count_under_attack` attempts instead of `pair.count`. It closes nothing
    for a network that has not failed, so nobody can lock somebody else out. `forged_refresh`: forged refresh tokens
    from one network. `memory`: how many keys of a kind are remembered.
    """

    enabled: bool = True
    pair: Limit = _PAIR
    network: Limit = _NETWORK
    account: Limit = _ACCOUNT
    count_under_attack: int = 3
    forged_refresh: Limit = _FORGED_REFRESH
    longest_wait: float = 900.0
    memory: int = 50_000

    @property
    def pair_under_attack(self) -> Limit:
        """`pair` with fewer attempts; they come back at the same pace."""
        count = min(self.count_under_attack, self.pair.count)
        return Limit(count, count * self.pair.interval)
