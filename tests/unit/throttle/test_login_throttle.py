"""Limits on guessing passwords."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.clock import FrozenClock

from gateway.throttle.gcra import Limit
from gateway.throttle.login import LoginThrottle
from gateway.throttle.memory import DebtTable
from gateway.throttle.policy import ThrottlePolicy
from gateway.throttle.ports import LoginLimiter

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


@pytest.fixture
def throttle(clock: FrozenClock) -> LoginThrottle:
    """A limiter with small numbers."""
    return LoginThrottle(clock, POLICY)


def fail(throttle: LoginLimiter, name: str, network: str, times: int = 1) -> None:
    """Let `times` attempts be wrong, whether or not they would have been let through."""
    for _ in range(times):
        throttle.check(name, network)
        throttle.failed(name, network)


def test_a_few_failures_are_free_then_each_doubles_the_wait(throttle: LoginThrottle, clock: FrozenClock) -> None:
    waits = []
    for _ in range(8):
        delay = throttle.check("alice", HOME)
        waits.append(delay)
        clock.advance(delay)
        assert delay == 0.0 or throttle.check("alice", HOME) == 0.0
        throttle.failed("alice", HOME)
    assert waits == [0.0, 0.0, 0.0, 10.0, 20.0, 40.0, 60.0, 60.0]


def test_waiting_pays_everything_back(throttle: LoginThrottle, clock: FrozenClock) -> None:
    fail(throttle, "alice", HOME, 8)
    clock.advance(91.0)
    for _ in range(3):
        assert throttle.check("alice", HOME) == 0.0
        throttle.failed("alice", HOME)
    assert throttle.check("alice", HOME) == pytest.approx(10.0)


def test_a_throttled_attempt_costs_nothing(throttle: LoginThrottle) -> None:
    fail(throttle, "alice", HOME, 3)
    assert {throttle.check("alice", HOME) for _ in range(50)} == {10.0}


def test_success_forgives_the_pair(throttle: LoginThrottle) -> None:
    fail(throttle, "alice", HOME, 2)
    assert throttle.check("alice", HOME) == 0.0
    throttle.succeeded("alice", HOME)
    fail(throttle, "alice", HOME, 2)
    assert throttle.check("alice", HOME) == 0.0


def test_another_network_is_not_shut_out(throttle: LoginThrottle) -> None:
    fail(throttle, "alice", CAFE, 30)
    for number in range(40):
        fail(throttle, "alice", f"203.0.113.{number}/32")
    assert throttle.check("alice", CAFE) > 0.0
    assert throttle.check("alice", HOME) == 0.0


def test_under_attack_from_everywhere_a_network_that_failed_gets_fewer_attempts(
    throttle: LoginThrottle, clock: FrozenClock
) -> None:
    for number in range(8):
        fail(throttle, "alice", f"203.0.113.{number}/32")
    fail(throttle, "alice", HOME)
    assert throttle.check("alice", HOME) == 0.0
    throttle.failed("alice", HOME)
    assert throttle.check("alice", HOME) == 10.0
    # What the others do after that makes the wait no longer.
    for number in range(8):
        fail(throttle, "alice", f"203.0.113.{100 + number}/32")
    clock.advance(10.0)
    assert throttle.check("alice", HOME) == 0.0


def test_one_network_cannot_try_every_account(throttle: LoginThrottle) -> None:
    for number in range(10):
        fail(throttle, f"user{number}", CAFE)
    assert throttle.check("someone", CAFE) > 0.0
    assert throttle.check("someone", HOME) == 0.0


def test_ones_own_account_does_not_pay_for_guesses_at_others(throttle: LoginThrottle) -> None:
    for number in range(10):
        fail(throttle, f"user{number}", CAFE)
        throttle.succeeded("mallory", CAFE)
    assert throttle.check("victim", CAFE) > 0.0


def test_who_logged_in_from_here_before_is_not_shut_out_by_neighbours(throttle: LoginThrottle) -> None:
    throttle.check("alice", CAFE)
    throttle.succeeded("alice", CAFE)
    for number in range(10):
        fail(throttle, f"user{number}", CAFE)
    assert throttle.check("alice", CAFE) == 0.0
    fail(throttle, "alice", CAFE, 3)
    assert throttle.check("alice", CAFE) > 0.0


def test_guesses_side_by_side_count_while_they_run(throttle: LoginThrottle, clock: FrozenClock) -> None:
    fail(throttle, "alice", HOME)
    assert [throttle.check("alice", HOME) > 0.0 for _ in range(4)] == [False, False, True, True]
    throttle.abandoned("alice", HOME)
    assert throttle.check("alice", HOME) == 0.0
    # Attempts whose end was never told do not count for ever.
    assert throttle.check("alice", HOME) > 0.0
    clock.advance(5.0)
    fail(throttle, "alice", HOME)
    clock.advance(30.0)
    fail(throttle, "alice", HOME)
    assert throttle.check("alice", HOME) == 0.0


def test_honest_log_ins_side_by_side_are_not_throttled(throttle: LoginThrottle) -> None:
    assert {throttle.check("alice", HOME) for _ in range(40)} == {0.0}
    for _ in range(40):
        throttle.succeeded("alice", HOME)
    assert throttle.check("alice", HOME) == 0.0


def test_abandoning_what_never_began_is_nothing(throttle: LoginThrottle) -> None:
    throttle.abandoned("alice", HOME)
    assert throttle.check("alice", HOME) == 0.0


def test_switched_off_it_never_waits(clock: FrozenClock) -> None:
    throttle = LoginThrottle(clock, ThrottlePolicy(enabled=False))
    fail(throttle, "alice", HOME, 500)
    throttle.succeeded("alice", HOME)
    assert throttle.check("alice", HOME) == 0.0


def test_keys_do_not_run_into_each_other(throttle: LoginThrottle) -> None:
    fail(throttle, "alice", HOME, 5)
    assert throttle.check("alice" + HOME, "") == 0.0
    assert throttle.check("\ud800", HOME) == 0.0


def test_memory_is_bounded_and_the_latest_stay(clock: FrozenClock) -> None:
    throttle = LoginThrottle(clock, POLICY)
    for number in range(1000):
        fail(throttle, f"user{number}", f"net{number}")
    fail(throttle, "alice", HOME, 3)
    for number in range(50):
        fail(throttle, f"more{number}", f"net{number}")
    assert throttle.check("alice", HOME) > 0.0
    tables = [value for value in vars(throttle).values() if isinstance(value, DebtTable)]
    assert [len(table) <= POLICY.memory for table in tables] == [True] * 4


def test_the_default_is_ten_in_a_quarter_of_an_hour(clock: FrozenClock) -> None:
    throttle = LoginThrottle(clock)
    fail(throttle, "alice", HOME, 9)
    assert throttle.check("alice", HOME) == 0.0
    throttle.failed("alice", HOME)
    assert throttle.check("alice", HOME) == pytest.approx(90.0)


def test_other_limits_forgive_nothing(throttle: LoginThrottle) -> None:
    fail(throttle, "ada", HOME, 3)
    assert throttle.check("ada", HOME) > 0
    throttle.change(replace(POLICY, pair=Limit(2, 30.0)))
    assert throttle.check("ada", HOME) > 0
    throttle.change(replace(POLICY, pair=Limit(10, 100.0)))
    assert throttle.check("ada", HOME) == 0


def test_what_other_processes_saw_counts_here(clock: FrozenClock) -> None:
    here, there = LoginThrottle(clock, POLICY), LoginThrottle(clock, POLICY)
    here.tell, there.tell = there.hear, here.hear
    fail(here, "ada", HOME, 3)
    assert there.check("ada", HOME) == here.check("ada", HOME) > 0
    assert there.check("ada", CAFE) == 0
    there.abandoned("ada", CAFE)
    there.check("bob", HOME)
    there.succeeded("bob", HOME)
    fail(there, "eve", HOME, 10)
    assert here.check("eve", HOME) > 0
    assert here.check("bob", HOME) == 0  # known here, by what happened there


def test_nothing_is_heard_while_the_throttle_is_off(clock: FrozenClock) -> None:
    off = LoginThrottle(clock, replace(POLICY, enabled=False))
    off.hear("failed", "ada", HOME)
    off.change(POLICY)
    assert off.check("ada", HOME) == 0
    off.hear("heard of", "ada", HOME)
    assert off.check("ada", HOME) == 0
