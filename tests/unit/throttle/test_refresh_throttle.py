"""Limits on forged refresh tokens."""

from __future__ import annotations

from support.clock import FrozenClock

from gateway.throttle.gcra import Limit
from gateway.throttle.policy import ThrottlePolicy
from gateway.throttle.refresh import RefreshThrottle

HOME, CAFE = "192.0.2.0/24", "198.51.100.0/24"


def test_forgeries_are_counted_by_network() -> None:
    clock = FrozenClock()
    throttle = RefreshThrottle(clock, ThrottlePolicy(forged_refresh=Limit(3, 30.0)))
    for _ in range(3):
        assert throttle.check(CAFE) == 0.0
        throttle.forged(CAFE)
    assert throttle.check(CAFE) == 10.0
    assert throttle.check(HOME) == 0.0
    clock.advance(10.0)
    assert throttle.check(CAFE) == 0.0


def test_a_flood_shuts_nobody_out_for_long() -> None:
    clock = FrozenClock()
    throttle = RefreshThrottle(clock, ThrottlePolicy(forged_refresh=Limit(3, 30.0)))
    for _ in range(10_000):
        throttle.forged(CAFE)
    clock.advance(60.0)
    assert throttle.check(CAFE) == 0.0


def test_switched_off_it_never_waits() -> None:
    throttle = RefreshThrottle(FrozenClock(), ThrottlePolicy(enabled=False, forged_refresh=Limit(1, 30.0)))
    throttle.forged(CAFE)
    throttle.forged(CAFE)
    assert throttle.check(CAFE) == 0.0
