"""Limits on guessing passwords: one suite for this process's memory, for Redis, and for Redis with memory behind it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from support import redis
from support.clock import FrozenClock

from gateway.stores.redis.client import open_redis
from gateway.stores.redis.throttle import RedisLoginLimiter
from gateway.telemetry.events import EventLog
from gateway.throttle.gcra import Limit
from gateway.throttle.login import LoginThrottle
from gateway.throttle.memory import DebtTable
from gateway.throttle.policy import ThrottlePolicy
from gateway.throttle.ports import LoginLimiter, SharedLoginLimiter
from gateway.throttle.shared import FallbackLoginLimiter, Reach

HOME, CAFE = "192.0.2.0/24", "198.51.100.0/24"
POLICY = ThrottlePolicy(
    pair=Limit(3, 30.0),
    network=Limit(10, 100.0),
    account=Limit(6, 60.0),
    count_under_attack=2,
    longest_wait=60.0,
    memory=100,
)


@pytest.fixture
def clock() -> FrozenClock:
    """Time that moves only when told."""
    return FrozenClock()


@pytest.fixture(params=["memory", "redis", "both"])
async def throttle(request: pytest.FixtureRequest, clock: FrozenClock) -> AsyncIterator[SharedLoginLimiter]:
    """A limiter with small numbers."""
    here = LoginThrottle(clock, POLICY)
    if request.param == "memory":
        yield here
        return
    client = open_redis(redis.server().url(), deadline=10.0)
    shared = RedisLoginLimiter(client, os.urandom(32), POLICY, wall=clock, deadline=10.0)
    yield shared if request.param == "redis" else FallbackLoginLimiter(shared, here, Reach(clock, EventLog(clock)))
    await client.close()


async def fail(throttle: LoginLimiter, name: str, network: str, times: int = 1) -> None:
    """Let `times` attempts be wrong, whether or not they would have been let through."""
    for _ in range(times):
        await throttle.check(name, network)
        await throttle.failed(name, network)


async def test_a_few_failures_are_free_then_each_doubles_the_wait(
    throttle: SharedLoginLimiter, clock: FrozenClock
) -> None:
    waits = []
    for _ in range(8):
        delay = await throttle.check("alice", HOME)
        waits.append(delay)
        clock.advance(delay)
        assert delay == 0.0 or await throttle.check("alice", HOME) == 0.0
        await throttle.failed("alice", HOME)
    assert waits == [0.0, 0.0, 0.0, 10.0, 20.0, 40.0, 60.0, 60.0]


async def test_waiting_pays_everything_back(throttle: SharedLoginLimiter, clock: FrozenClock) -> None:
    await fail(throttle, "alice", HOME, 8)
    clock.advance(91.0)
    for _ in range(3):
        assert await throttle.check("alice", HOME) == 0.0
        await throttle.failed("alice", HOME)
    assert await throttle.check("alice", HOME) == pytest.approx(10.0)


async def test_a_throttled_attempt_costs_nothing(throttle: SharedLoginLimiter) -> None:
    await fail(throttle, "alice", HOME, 3)
    assert {await throttle.check("alice", HOME) for _ in range(50)} == {10.0}


async def test_success_forgives_the_pair(throttle: SharedLoginLimiter) -> None:
    await fail(throttle, "alice", HOME, 2)
    assert await throttle.check("alice", HOME) == 0.0
    await throttle.succeeded("alice", HOME)
    await fail(throttle, "alice", HOME, 2)
    assert await throttle.check("alice", HOME) == 0.0


async def test_another_network_is_not_shut_out(throttle: SharedLoginLimiter) -> None:
    await fail(throttle, "alice", CAFE, 30)
    for number in range(40):
        await fail(throttle, "alice", f"203.0.113.{number}/32")
    assert await throttle.check("alice", CAFE) > 0.0
    assert await throttle.check("alice", HOME) == 0.0


async def test_under_attack_from_everywhere_a_network_that_failed_gets_fewer_attempts(
    throttle: SharedLoginLimiter, clock: FrozenClock
) -> None:
    for number in range(8):
        await fail(throttle, "alice", f"203.0.113.{number}/32")
    await fail(throttle, "alice", HOME)
    assert await throttle.check("alice", HOME) == 0.0
    await throttle.failed("alice", HOME)
    assert await throttle.check("alice", HOME) == 10.0
    # What the others do after that makes the wait no longer.
    for number in range(8):
        await fail(throttle, "alice", f"203.0.113.{100 + number}/32")
    clock.advance(10.0)
    assert await throttle.check("alice", HOME) == 0.0


async def test_one_network_cannot_try_every_account(throttle: SharedLoginLimiter) -> None:
    for number in range(10):
        await fail(throttle, f"user{number}", CAFE)
    assert await throttle.check("someone", CAFE) > 0.0
    assert await throttle.check("someone", HOME) == 0.0


async def test_ones_own_account_does_not_pay_for_guesses_at_others(throttle: SharedLoginLimiter) -> None:
    for number in range(10):
        await fail(throttle, f"user{number}", CAFE)
        await throttle.succeeded("mallory", CAFE)
    assert await throttle.check("victim", CAFE) > 0.0


async def test_who_logged_in_from_here_before_is_not_shut_out_by_neighbours(throttle: SharedLoginLimiter) -> None:
    await throttle.check("alice", CAFE)
    await throttle.succeeded("alice", CAFE)
    for number in range(10):
        await fail(throttle, f"user{number}", CAFE)
    assert await throttle.check("alice", CAFE) == 0.0
    await fail(throttle, "alice", CAFE, 3)
    assert await throttle.check("alice", CAFE) > 0.0


async def test_guesses_side_by_side_count_while_they_run(throttle: SharedLoginLimiter, clock: FrozenClock) -> None:
    await fail(throttle, "alice", HOME)
    assert [await throttle.check("alice", HOME) > 0.0 for _ in range(4)] == [False, False, True, True]
    await throttle.abandoned("alice", HOME)
    assert await throttle.check("alice", HOME) == 0.0
    # Attempts whose end was never told do not count for ever.
    assert await throttle.check("alice", HOME) > 0.0
    clock.advance(5.0)
    await fail(throttle, "alice", HOME)
    clock.advance(30.0)
    await fail(throttle, "alice", HOME)
    assert await throttle.check("alice", HOME) == 0.0


async def test_honest_log_ins_side_by_side_are_not_throttled(throttle: SharedLoginLimiter) -> None:
    assert {await throttle.check("alice", HOME) for _ in range(40)} == {0.0}
    for _ in range(40):
        await throttle.succeeded("alice", HOME)
    assert await throttle.check("alice", HOME) == 0.0


async def test_abandoning_what_never_began_is_nothing(throttle: SharedLoginLimiter) -> None:
    await throttle.abandoned("alice", HOME)
    assert await throttle.check("alice", HOME) == 0.0


async def test_switched_off_it_never_waits(clock: FrozenClock) -> None:
    throttle = LoginThrottle(clock, ThrottlePolicy(enabled=False))
    await fail(throttle, "alice", HOME, 500)
    await throttle.succeeded("alice", HOME)
    assert await throttle.check("alice", HOME) == 0.0


async def test_keys_do_not_run_into_each_other(throttle: SharedLoginLimiter) -> None:
    await fail(throttle, "alice", HOME, 5)
    assert await throttle.check("alice" + HOME, "") == 0.0
    assert await throttle.check("\ud800", HOME) == 0.0


async def test_memory_is_bounded_and_the_latest_stay(clock: FrozenClock) -> None:
    throttle = LoginThrottle(clock, POLICY)
    for number in range(1000):
        await fail(throttle, f"user{number}", f"net{number}")
    await fail(throttle, "alice", HOME, 3)
    for number in range(50):
        await fail(throttle, f"more{number}", f"net{number}")
    assert await throttle.check("alice", HOME) > 0.0
    tables = [value for value in vars(throttle).values() if isinstance(value, DebtTable)]
    assert [len(table) <= POLICY.memory for table in tables] == [True] * 4


async def test_the_default_is_ten_in_a_quarter_of_an_hour(clock: FrozenClock) -> None:
    throttle = LoginThrottle(clock)
    await fail(throttle, "alice", HOME, 9)
    assert await throttle.check("alice", HOME) == 0.0
    await throttle.failed("alice", HOME)
    assert await throttle.check("alice", HOME) == pytest.approx(90.0)


async def test_other_limits_forgive_nothing(throttle: SharedLoginLimiter) -> None:
    await fail(throttle, "ada", HOME, 3)
    assert await throttle.check("ada", HOME) > 0
    throttle.change(replace(POLICY, pair=Limit(2, 30.0)))
    assert await throttle.check("ada", HOME) > 0
    throttle.change(replace(POLICY, pair=Limit(10, 100.0)))
    assert await throttle.check("ada", HOME) == 0


async def test_what_other_processes_saw_counts_here(clock: FrozenClock) -> None:
    here, there = LoginThrottle(clock, POLICY), LoginThrottle(clock, POLICY)
    here.tell, there.tell = there.hear, here.hear
    await fail(here, "ada", HOME, 3)
    assert await there.check("ada", HOME) == await here.check("ada", HOME) > 0
    assert await there.check("ada", CAFE) == 0
    await there.abandoned("ada", CAFE)
    await there.check("bob", HOME)
    await there.succeeded("bob", HOME)
    await fail(there, "eve", HOME, 10)
    assert await here.check("eve", HOME) > 0
    assert await here.check("bob", HOME) == 0  # known here, by what happened there


async def test_nothing_is_heard_while_the_throttle_is_off(clock: FrozenClock) -> None:
    off = LoginThrottle(clock, replace(POLICY, enabled=False))
    off.hear("failed", "ada", HOME)
    off.change(POLICY)
    assert await off.check("ada", HOME) == 0
    off.hear("heard of", "ada", HOME)
    assert await off.check("ada", HOME) == 0
