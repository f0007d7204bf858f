"""Limits on guessing as a deployment wants them: counted by all gateways together where there is a Redis, else here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.clock import Clock
from gateway.events import EventSink
from gateway.throttle.login import LoginThrottle
from gateway.throttle.policy import ThrottlePolicy
from gateway.throttle.ports import SharedLoginLimiter, SharedRefreshLimiter
from gateway.throttle.refresh import RefreshThrottle
from gateway.throttle.shared import FallbackLoginLimiter, FallbackRefreshLimiter, Reach
from gateway.tokens.master import MasterKeys

if TYPE_CHECKING:
    from gateway.stores.redis.client import RedisClient

_SALT: Final = b"gateway throttle 1"


@dataclass(frozen=True, slots=True)
class Limits:
    """The limiters, and `here`: what this process counts in any case, and hears of from the processes beside it."""

    logins: SharedLoginLimiter
    refreshes: SharedRefreshLimiter
    here: LoginThrottle

    def change(self, policy: ThrottlePolicy) -> None:
        """Go on under other limits; nobody's debt is forgotten."""
        self.logins.change(policy)
        self.refreshes.change(policy)


def limits(
    clock: Clock, policy: ThrottlePolicy, events: EventSink, redis: RedisClient | None, master: MasterKeys
) -> Limits:
    """The limiters of this process. Keys in Redis are hashed under the lowest master key: new ones are added above."""
    logins, refreshes = LoginThrottle(clock, policy), RefreshThrottle(clock, policy)
    if redis is None:
        return Limits(logins, refreshes, logins)
    from gateway.stores.redis.throttle import RedisLoginLimiter, RedisRefreshLimiter

    secret, reach = master.derive(master.kids[0], b"keys", _SALT), Reach(clock, events)
    return Limits(
        FallbackLoginLimiter(RedisLoginLimiter(redis, secret, policy), logins, reach),
        FallbackRefreshLimiter(RedisRefreshLimiter(redis, secret, policy), refreshes, reach),
        logins,
    )
