"""Limits of a route: rate and concurrency, of the route and of a client."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.clock import FrozenClock
from support.proxying import CLAIMS

from gateway.errors import GatewayError, TemporarilyUnavailable
from gateway.proxy.refusals import TooManyRequests
from gateway.proxy.request_limits import MEMORY, RequestLimits, RouteLimiter
from gateway.throttle.gcra import Limit


class Request:
    """What a limiter reads of an exchange."""

    def __init__(self, address: str = "192.0.2.1", user: str | None = None) -> None:
        self.address = address
        self.claims = replace(CLAIMS, subject=user) if user is not None else None


def limiter(limits: RequestLimits) -> tuple[Any, FrozenClock]:
    clock = FrozenClock()
    return RouteLimiter(limits, clock.monotonic), clock


def refused(limits: Any, request: Request) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        limits.admit(request)
    return caught.value


def test_a_rate_is_so_many_at_once_which_come_back_evenly() -> None:
    limits, clock = limiter(RequestLimits(Limit(3, 30.0)))
    for _ in range(3):
        limits.admit(Request())
    error = refused(limits, Request())
    assert (type(error), error.status, error.retry_after) == (TooManyRequests, 429, 10)
    clock.advance(9.5)
    assert refused(limits, Request()).retry_after == 1
    clock.advance(0.6)
    limits.admit(Request())
    assert refused(limits, Request()).retry_after == 10
    clock.advance(3600)
    for _ in range(3):
        limits.admit(Request())
    refused(limits, Request())


def test_a_client_is_the_user_or_else_the_address_or_its_64() -> None:
    limits, _ = limiter(RequestLimits(Limit(1, 60.0)))
    for request in (
        Request(user="a"),
        Request(user="b"),
        Request(),
        Request("192.0.2.2"),
        Request("2001:db8::1"),
        Request("2001:db8:0:1::1"),
        Request("unix"),
    ):
        limits.admit(request)
    for request in (Request("198.51.100.1", user="a"), Request(), Request("2001:db8::ffff"), Request("unix")):
        assert refused(limits, request).status == 429


def test_memory_is_bounded_and_the_longest_silent_is_forgotten() -> None:
    limits, _ = limiter(RequestLimits(Limit(1, 1e6)))
    limits.admit(Request(user="first"))
    for number in range(MEMORY):
        limits.admit(Request(user=str(number)))
    assert len(limits._debts) == MEMORY
    limits.admit(Request(user="first"))


def test_concurrency_is_503_for_the_route_and_429_for_a_client() -> None:
    limits, _ = limiter(RequestLimits(concurrency=3, per_client=2))
    mine = [Request(user="a") for _ in range(2)]
    for request in mine:
        limits.admit(request)
    assert (refused(limits, Request(user="a")).status, limits.under_way) == (429, 2)
    other = Request(user="b")
    limits.admit(other)
    error = refused(limits, Request(user="c"))
    assert (type(error), error.status, error.retry_after) == (TemporarilyUnavailable, 503, 1)
    limits.leave(mine[0])
    limits.leave(mine[0])
    limits.leave(Request(user="never admitted"))
    limits.admit(Request(user="c"))
    limits.leave(other)
    assert (limits.under_way, sorted(limits._clients)) == (2, ["a", "c"])


def test_what_is_refused_costs_nothing() -> None:
    limits, _ = limiter(RequestLimits(Limit(2, 60.0), concurrency=1))
    first = Request()
    limits.admit(first)
    for _ in range(5):
        assert refused(limits, Request()).status == 503
    limits.leave(first)
    second = Request()
    limits.admit(second)
    limits.leave(second)
    assert refused(limits, Request()).status == 429
    assert limits.under_way == 0
