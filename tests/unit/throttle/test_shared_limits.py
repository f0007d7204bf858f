"""What all gateways count together, and what each does while Redis is away."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator

import pytest
from support import redis
from support.clock import FrozenClock

from gateway.events import Event, Name
from gateway.stores.redis.client import RedisClient, open_redis
from gateway.stores.redis.throttle import RedisLoginLimiter, RedisRefreshLimiter
from gateway.throttle.gcra import Limit
from gateway.throttle.login import LoginThrottle
from gateway.throttle.policy import ThrottlePolicy
from gateway.throttle.refresh import RefreshThrottle
from gateway.throttle.shared import ASK_AGAIN, FallbackLoginLimiter, FallbackRefreshLimiter, Reach

HOME = "192.0.2.0/24"
POLICY = ThrottlePolicy(pair=Limit(3, 300.0), forged_refresh=Limit(3, 300.0))
SECRET = os.urandom(32)


class Told:
    """Keeps events."""

    def __init__(self) -> None:
        self.names: list[Name] = []

    def emit(self, event: Event) -> None:
        self.names.append(event.name)


@pytest.fixture
async def client() -> AsyncIterator[RedisClient]:
    """One to the shared server."""
    made = open_redis(redis.server().url(), deadline=10.0)
    yield made
    await made.close()


async def guess(limiter: FallbackLoginLimiter | RedisLoginLimiter, times: int) -> list[bool]:
    """Whether each of `times` wrong attempts was let through."""
    passed = []
    for _ in range(times):
        passed.append(await limiter.check("alice", HOME) == 0)
        if passed[-1]:
            await limiter.failed("alice", HOME)
    return passed


async def test_gateways_count_together_and_by_the_servers_time(client: RedisClient) -> None:
    here, there = (RedisLoginLimiter(client, SECRET, POLICY, deadline=10.0) for _ in range(2))
    assert await guess(here, 2) == [True, True]
    assert await guess(there, 2) == [True, False]
    assert 90 < await here.check("alice", HOME) <= 100
    assert await RedisLoginLimiter(client, os.urandom(32), POLICY, deadline=10.0).check("alice", HOME) == 0


async def test_redis_learns_no_names_and_every_key_ends(client: RedisClient) -> None:
    limiter = RedisLoginLimiter(client, os.urandom(32), POLICY, deadline=10.0)
    await guess(limiter, 4)
    await limiter.check("bob", HOME)
    await limiter.succeeded("bob", HOME)
    await RedisRefreshLimiter(client, SECRET, POLICY, deadline=10.0).forged(HOME)
    keys = (await client.call("SCAN", 0, "COUNT", 10_000))[1]
    assert any(key.endswith(b":welcome") for key in keys)
    for key in keys:
        assert key.startswith(b"gw:throttle:{")
        assert b"alice" not in key and b"192.0" not in key
        assert await client.call("PTTL", key) > 0


async def test_an_outage_is_never_no_limit_and_is_told_twice() -> None:
    clock, told = FrozenClock(), Told()
    with redis.own_server() as server:
        client = open_redis(server.url())
        reach = Reach(clock, told)
        logins = FallbackLoginLimiter(
            RedisLoginLimiter(client, SECRET, POLICY, deadline=5.0), LoginThrottle(clock, POLICY), reach
        )
        forged = FallbackRefreshLimiter(
            RedisRefreshLimiter(client, SECRET, POLICY, deadline=5.0), RefreshThrottle(clock, POLICY), reach
        )
        assert await guess(logins, 2) == [True, True]
        server.stop(signal.SIGKILL)
        assert await guess(logins, 5) == [True, False, False, False, False]  # what was known before still counts
        for _ in range(3):
            assert await forged.check(HOME) == 0
            await forged.forged(HOME)
        assert await forged.check(HOME) > 0
        assert told.names == [Name.THROTTLE_LOCAL]
        server.start()
        clock.advance(ASK_AGAIN)
        assert await guess(logins, 2) == [True, False]  # Redis kept what it had acknowledged: two of three
        assert told.names == [Name.THROTTLE_LOCAL, Name.THROTTLE_SHARED]
        await client.close()


async def test_a_silent_redis_holds_up_one_call_in_a_second() -> None:
    clock, told, asked = FrozenClock(), Told(), 0
    with redis.own_server() as server:
        client = open_redis(server.url())
        shared = RedisLoginLimiter(client, SECRET, POLICY, deadline=0.05)
        await client.ping()
        os.kill(server.pid, signal.SIGSTOP)
        try:
            inner = shared.check

            async def counted(username_key: str, network: str) -> float:
                nonlocal asked
                asked += 1
                return await inner(username_key, network)

            shared.check = counted  # type: ignore[method-assign]
            limiter = FallbackLoginLimiter(shared, LoginThrottle(clock, POLICY), Reach(clock, told))
            for _ in range(20):
                await limiter.check("bob", HOME)
            assert asked == 1
        finally:
            os.kill(server.pid, signal.SIGCONT)
            await client.close()
    assert told.names == [Name.THROTTLE_LOCAL]
