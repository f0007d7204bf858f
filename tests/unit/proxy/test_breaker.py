"""The circuit breaker: closed, open, half-open, on the test's own time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.breaker import Breaker, BreakerPolicy, State

POLICY = BreakerPolicy(failures=3, open_for=10.0, longest=35.0)


def opened(at: float = 100.0) -> Breaker:
    breaker = Breaker(POLICY)
    for _ in range(3):
        breaker.failed(at)
    assert breaker.state is State.OPEN
    return breaker


def test_failures_in_a_row_open_it_and_a_success_between_starts_again() -> None:
    breaker = Breaker(POLICY)
    for _ in range(5):
        breaker.failed(1.0)
        breaker.failed(2.0)
        breaker.succeeded()
    assert breaker.state is State.CLOSED
    assert breaker.admits(2.0)
    breaker.failed(3.0)
    breaker.failed(3.0)
    breaker.failed(3.0)
    assert breaker.state is State.OPEN
    assert not breaker.admits(3.0)
    assert breaker.retry_at == 13.0


def test_one_request_tries_and_its_success_closes() -> None:
    breaker = opened()
    assert not breaker.admits(109.999)
    assert breaker.admits(110.0)
    assert breaker.state is State.HALF_OPEN
    assert [breaker.admits(110.0), breaker.admits(119.9)] == [False, False]
    breaker.succeeded()
    assert breaker.state is State.CLOSED
    assert breaker.failures == 0
    assert breaker.admits(119.9)


def test_a_probe_that_never_reports_gives_way_to_another() -> None:
    breaker = opened()
    assert breaker.admits(110.0)
    assert breaker.admits(120.0)


def test_each_failed_probe_doubles_the_time_up_to_the_longest() -> None:
    breaker, now, waits = opened(), 110.0, []
    for _ in range(4):
        assert breaker.admits(now)
        breaker.failed(now)
        assert breaker.state is State.OPEN
        waits.append(breaker.retry_at - now)
        now = breaker.retry_at
    assert waits == [20.0, 35.0, 35.0, 35.0]
    assert breaker.admits(now)
    breaker.succeeded()
    for _ in range(3):
        breaker.failed(now)
    assert breaker.retry_at - now == 10.0


def test_what_was_sent_before_it_opened_changes_nothing() -> None:
    breaker = opened()
    breaker.succeeded()
    breaker.failed(105.0)
    assert breaker.state is State.OPEN
    assert breaker.retry_at == 110.0


def test_reset_closes_from_every_state() -> None:
    breaker = opened()
    breaker.reset()
    assert breaker.admits(100.0)
    assert breaker.failures == 0


@given(steps=st.lists(st.tuples(st.sampled_from(["ask", "good", "bad"]), st.floats(0, 30)), max_size=60))
def test_an_open_breaker_admits_one_request_per_wait_at_most(steps: list[tuple[str, float]]) -> None:
    breaker, now, last = Breaker(POLICY), 0.0, -1e9
    for what, passed in steps:
        now += passed
        if what == "good":
            breaker.succeeded()
        elif what == "bad":
            breaker.failed(now)
        else:
            closed = breaker.state is State.CLOSED
            if breaker.admits(now) and not closed:
                assert now - last >= POLICY.open_for
                last = now
        if breaker.state is State.CLOSED:
            last = -1e9
            assert breaker.failures < POLICY.failures
        else:
            assert breaker.retry_at <= now + POLICY.longest + 1e-6
