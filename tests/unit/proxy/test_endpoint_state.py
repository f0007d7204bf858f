"""An endpoint goes down and comes up, and tells it once."""

from __future__ import annotations

from gateway.proxy.breaker import Breaker, BreakerPolicy
from gateway.proxy.endpoint import Endpoint
from gateway.proxy.response_head import ResponseRules


def endpoint(policy: BreakerPolicy | None = None) -> tuple[Endpoint, list[str | None]]:
    told: list[str | None] = []
    one = Endpoint("http://127.0.0.1:9000", ResponseRules(), changed=lambda _, reason: told.append(reason))
    one.breaker = Breaker(policy) if policy is not None else None
    return one, told


def test_unreachable_is_told_once_per_outage() -> None:
    one, told = endpoint()
    for _ in range(3):
        one.unreachable(1.0, "refused")
    assert told == ["refused"]
    assert one.up
    one.reached()
    one.reached()
    assert told == ["refused", None]


def test_an_open_breaker_is_told_once_and_again_when_it_closes() -> None:
    one, told = endpoint(BreakerPolicy(failures=2))
    one.failed(1.0, "no response in time")
    assert (one.strained, told) == (True, [])
    one.failed(1.0, "no response in time")
    assert (one.up, told) == (False, ["no response in time"])
    assert one.admits(11.0)
    one.reached()
    assert told == ["no response in time"]
    one.answered(200, 11.0)
    assert (one.up, one.strained, told) == (True, False, ["no response in time", None])


def test_only_the_configured_statuses_are_failures() -> None:
    one, told = endpoint(BreakerPolicy(failures=2, statuses=frozenset({503})))
    one.answered(503, 1.0)
    one.answered(500, 1.0)
    one.answered(503, 1.0)
    assert told == []
    one.answered(503, 1.0)
    assert told == ["answered 503"]


def test_causes_overlap_and_are_one_outage() -> None:
    one, told = endpoint(BreakerPolicy(failures=1))
    one.unreachable(1.0, "refused")
    one.checked(False, "no answer to the health check")
    one.reached()
    assert told == ["refused"]
    one.checked(True, None)
    assert told == ["refused", None]


def test_a_retired_one_tells_nothing() -> None:
    one, told = endpoint()
    one.retire()
    one.unreachable(1.0, "refused")
    one.checked(False, "down")
    assert told == []
