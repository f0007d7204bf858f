"""Limits on forged refresh tokens: one suite for memory, for Redis, and for Redis with memory behind it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
from support import redis
from support.clock import FrozenClock

from gateway.stores.redis.client import open_redis
from gateway.stores.redis.throttle import RedisRefreshLimiter
from gateway.telemetry.events import EventLog
from gateway.throttle.gcra import Limit
from gateway.throttle.policy import ThrottlePolicy
from gateway.throttle.ports import SharedRefreshLimiter
from gateway.throttle.refresh import RefreshThrottle
from gateway.throttle.shared import FallbackRefreshLimiter, Reach

HOME, CAFE = "192.0.2.0/24", "198.51.100.0/24"
POLICY = ThrottlePolicy(forged_refresh=Limit(3, 30.0))


@pytest.fixture
def clock() -> FrozenClock:
    """Time that moves only when told."""
    return FrozenClock()


@pytest.fixture(params=["memory", "redis", "both"])
async def throttle(request: pytest.FixtureRequest, clock: FrozenClock) -> AsyncIterator[SharedRefreshLimiter]:
    """A limiter with small numbers."""
    here = RefreshThrottle(clock, POLICY)
    if request.param == "memory":
        yield here
        return
    client = open_redis(redis.server().url(), deadline=10.0)
    shared = RedisRefreshLimiter(client, os.urandom(32), POLICY, wall=clock, deadline=10.0)
    yield shared if request.param == "redis" else FallbackRefreshLimiter(shared, here, Reach(clock, EventLog(clock)))
    await client.close()


async def test_forgeries_are_counted_by_network(throttle: SharedRefreshLimiter, clock: FrozenClock) -> None:
    for _ in range(3):
        assert await throttle.check(CAFE) == 0.0
        await throttle.forged(CAFE)
    assert await throttle.check(CAFE) == 10.0
    assert await throttle.check(HOME) == 0.0
    clock.advance(10.0)
    assert await throttle.check(CAFE) == 0.0


async def test_a_flood_shuts_nobody_out_for_long(throttle: SharedRefreshLimiter, clock: FrozenClock) -> None:
    for _ in range(300):
        await throttle.forged(CAFE)
    clock.advance(60.0)
    assert await throttle.check(CAFE) == 0.0


async def test_switched_off_it_never_waits(throttle: SharedRefreshLimiter) -> None:
    throttle.change(ThrottlePolicy(enabled=False, forged_refresh=Limit(1, 30.0)))
    await throttle.forged(CAFE)
    await throttle.forged(CAFE)
    assert await throttle.check(CAFE) == 0.0
