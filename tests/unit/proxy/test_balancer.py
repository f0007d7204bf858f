"""Which endpoint gets a request: shares by weight, the least busy first, the unwell never."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import TemporarilyUnavailable
from gateway.proxy.balancer import Balancer, Member
from gateway.proxy.breaker import Breaker, BreakerPolicy
from gateway.proxy.endpoint import Endpoint
from gateway.proxy.response_head import ResponseRules

WEIGHTS = st.lists(st.integers(1, 12), min_size=1, max_size=5)


def balancer(*weights: int, policy: BreakerPolicy | None = None) -> tuple[Balancer, list[Endpoint]]:
    endpoints = [Endpoint(f"http://127.0.0.1:{9000 + n}", ResponseRules()) for n in range(len(weights))]
    for endpoint in endpoints:
        endpoint.breaker = Breaker(policy) if policy is not None else None
    members = [Member(endpoint, weight) for endpoint, weight in zip(endpoints, weights, strict=True)]
    return Balancer(members, strict=policy is not None and policy.last), endpoints


def choose(one: Balancer, now: float = 0.0) -> Endpoint:
    return one.only or one.choose(now)


@given(weights=WEIGHTS, rounds=st.integers(1, 3))
def test_one_after_the_other_shares_follow_the_weights(weights: list[int], rounds: int) -> None:
    one, endpoints = balancer(*weights)
    total, counts = sum(weights), Counter[str]()
    for turn in range(1, total * rounds + 1):
        counts[choose(one).url] += 1
        for endpoint, weight in zip(endpoints, weights, strict=True):
            assert counts[endpoint.url] - Fraction(turn * weight, total) < 1  # never more than one ahead
            if turn % total == 0:
                assert counts[endpoint.url] * total == turn * weight  # and after each round exact


def test_turns_are_mixed() -> None:
    one, endpoints = balancer(5, 1, 1)
    names = {endpoint.url: name for endpoint, name in zip(endpoints, "abc", strict=True)}
    assert "".join(names[choose(one).url] for _ in range(7)) == "aabacaa"


@given(data=st.data(), weights=WEIGHTS)
def test_the_least_busy_for_its_weight_is_chosen(data: st.DataObject, weights: list[int]) -> None:
    one, endpoints = balancer(*weights)
    for endpoint in endpoints:
        endpoint.outstanding = data.draw(st.integers(0, 20))
    chosen = choose(one)
    loads = [Fraction(e.outstanding, weight) for e, weight in zip(endpoints, weights, strict=True)]
    assert loads[endpoints.index(chosen)] == min(loads)


@given(weights=WEIGHTS, count=st.integers(1, 200))
def test_requests_that_stay_under_way_spread_within_one_of_their_shares(weights: list[int], count: int) -> None:
    one, endpoints = balancer(*weights)
    for _ in range(count):
        choose(one).outstanding += 1
    for endpoint, weight in zip(endpoints, weights, strict=True):
        for other, others in zip(endpoints, weights, strict=True):
            assert Fraction(endpoint.outstanding - 1, weight) <= Fraction(other.outstanding, others)


def test_a_slow_one_gets_fewer() -> None:
    one, (slow, quick) = balancer(1, 1)
    for _ in range(3):
        if choose(one) is slow:
            slow.outstanding += 1  # never answers
    assert slow.outstanding == 1
    assert {choose(one) for _ in range(10)} == {quick}


def test_a_single_endpoint_is_an_attribute_and_follows_its_health() -> None:
    one, (endpoint,) = balancer(3)
    assert one.only is endpoint
    endpoint.checked(False, "down")
    assert one.only is None
    endpoint.check_interval = 7.5
    with pytest.raises(TemporarilyUnavailable) as caught:
        one.choose(0.0)
    assert caught.value.retry_after == 8
    endpoint.checked(True, None)
    assert one.only is endpoint


def test_a_single_endpoint_is_not_left_alone_for_its_failures_unless_configured() -> None:
    one, (endpoint,) = balancer(1, policy=BreakerPolicy(failures=2))
    for _ in range(5):
        endpoint.failed(100.0, "no answer")
    assert choose(one, 100.0) is endpoint
    one, (endpoint,) = balancer(1, policy=BreakerPolicy(failures=2, last=True))
    for _ in range(2):
        endpoint.failed(100.0, "no answer")
    with pytest.raises(TemporarilyUnavailable) as caught:
        choose(one, 100.5)
    assert caught.value.retry_after == 10
    assert choose(one, 110.0) is endpoint


def test_open_breakers_are_passed_over_and_tried_with_one_request() -> None:
    one, (first, second) = balancer(1, 1, policy=BreakerPolicy(failures=1))
    first.failed(100.0, "no answer")
    assert {choose(one, 105.0) for _ in range(4)} == {second}
    assert [choose(one, 110.0) for _ in range(3)] == [first, second, second]
    first.answered(200, 110.5)
    assert first.up
    assert {choose(one, 110.5) for _ in range(4)} == {first, second}


def test_without_any_healthy_one_it_is_503_with_the_nearest_time_to_try() -> None:
    one, (first, second) = balancer(1, 1, policy=BreakerPolicy(failures=1, open_for=10.0))
    first.unreachable(100.0, "refused")
    second.unreachable(104.0, "refused")
    with pytest.raises(TemporarilyUnavailable) as caught:
        choose(one, 106.5)
    assert caught.value.retry_after == 4
    assert choose(one, 110.0) is first


def test_failed_requests_alone_do_not_end_a_route() -> None:
    policy = BreakerPolicy(failures=1)
    one, (first, second) = balancer(1, 1, policy=policy)
    first.failed(100.0, "no answer")
    second.failed(100.0, "no answer")
    assert {choose(one, 101.0) for _ in range(4)} == {first, second}
    first.unreachable(101.0, "refused")
    assert {choose(one, 102.0) for _ in range(4)} == {second}
    second.checked(False, "down")
    with pytest.raises(TemporarilyUnavailable):
        choose(one, 103.0)
    strict, endpoints = balancer(1, 1, policy=BreakerPolicy(failures=1, last=True))
    for endpoint in endpoints:
        endpoint.failed(100.0, "no answer")
    with pytest.raises(TemporarilyUnavailable):
        choose(strict, 101.0)


def test_what_failed_goes_to_another() -> None:
    one, (first, second) = balancer(1, 1, policy=BreakerPolicy(failures=1))
    assert one.another(first, 0.0) is second
    second.checked(False, "down")
    assert one.another(first, 0.0) is None
    second.checked(True, None)
    second.failed(0.0, "no answer")
    assert one.another(first, 1.0) is None
    assert one.another(first, 10.0) is second
    alone, (only,) = balancer(1)
    assert alone.another(only, 0.0) is None


def test_health_opens_the_way_at_once() -> None:
    one, (first, second) = balancer(1, 1, policy=BreakerPolicy(failures=1))
    first.failed(0.0, "no answer")
    first.checked(False, "down")
    assert {choose(one, 20.0) for _ in range(3)} == {second}
    first.checked(True, None)
    assert {choose(one, 1.0) for _ in range(3)} == {first, second}
