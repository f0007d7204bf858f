"""What is counted, and how several processes become one answer."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.clock import FrozenClock

from gateway.admin_api.exposition import render
from gateway.events import Event, Level, Name
from gateway.sessions.decision import Outcome
from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.metrics import BUCKETS, Kind, Metrics, merged


def samples(*all_metrics: Metrics) -> dict[str, float]:
    """Everything a scraper reads, as `name{labels}`."""
    text = render(merged(metrics.snapshot() for metrics in all_metrics)).decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


async def request(metrics: Metrics, **changes: object) -> None:
    log = AccessLog(None, FrozenClock(), observe=metrics.requests)
    fields = {"method": "GET", "path": "/x", "status": 200, "route": "api", "upstream": None, "duration": 0.003}
    sizes = {"request_size": 10, "response_size": 20, "request_id": "r"}
    log.request(**{**fields, **sizes, **changes})  # type: ignore[arg-type]
    log.flush()


async def test_requests_are_counted_by_route_method_and_code() -> None:
    metrics = Metrics()
    await request(metrics)
    await request(metrics, duration=99.0)
    await request(metrics, method="BREW", status=404, route=None)
    found = samples(metrics)
    assert found["gateway_requests_total{code=200,method=GET,route=api}"] == 2
    assert found["gateway_requests_total{code=404,method=other,route=none}"] == 1
    assert found["gateway_request_duration_seconds_bucket{le=0.0025,route=api}"] == 0
    assert found["gateway_request_duration_seconds_bucket{le=0.005,route=api}"] == 1
    assert found["gateway_request_duration_seconds_bucket{le=+Inf,route=api}"] == 2
    assert found["gateway_request_duration_seconds_count{route=api}"] == 2
    assert found["gateway_request_duration_seconds_sum{route=api}"] == pytest.approx(99.003)
    assert found["gateway_request_body_bytes_total{route=api}"] == 20
    assert found["gateway_response_body_bytes_total{route=none}"] == 20


def test_events_are_counted_by_what_operators_watch() -> None:
    metrics = Metrics()
    for event in (
        Event(Name.SESSION_REFRESHED, fields={"outcome": "rotated"}),
        Event(Name.SESSION_REFRESH_REUSED, Level.ERROR, fields={"outcome": "theft"}),
        Event(Name.SESSION_REFRESH_REJECTED, Level.WARNING, fields={"outcome": "dead"}),
        Event(Name.LOGIN_FAILED, Level.WARNING),
        Event(Name.SESSION_REVOKED, fields={"reason": "logout"}),
        Event(Name.SESSION_REVOKED, fields={"reason": "logout"}),
    ):
        metrics.event(event)
    found = samples(metrics)
    assert [found[f"gateway_refreshes_total{{outcome={name}}}"] for name in ("rotated", "theft", "dead")] == [1, 1, 1]
    assert found["gateway_logins_total{result=failed}"] == 1
    assert found["gateway_sessions_revoked_total{reason=logout}"] == 2
    assert found["gateway_warnings_total{event=session.refresh_reused,level=error}"] == 1


def test_what_alerts_wait_for_is_there_before_it_happens() -> None:
    awaited = samples(Metrics())
    assert set(awaited.values()) == {0.0}
    assert {f"gateway_refreshes_total{{outcome={outcome}}}" for outcome in Outcome} <= awaited.keys()
    assert "gateway_logins_total{result=throttled}" in awaited
    assert "gateway_sessions_revoked_total{reason=reuse}" in awaited
    assert "gateway_warnings_total{event=store.failed,level=error}" in awaited


def test_processes_are_added_and_the_stalest_counts() -> None:
    one, other = Metrics(), Metrics()
    for metrics, value in ((one, 1.0), (other, 7.0)):
        metrics.read_from("connections", "Open.", Kind.GAUGE, lambda value=value: value)
        metrics.read_from("staleness", "Seconds.", Kind.GREATEST, lambda value=value: value)
        metrics.read_from("expiry", "Unix time.", Kind.LEAST, lambda value=value: value)
        metrics.store_call("sessions.rotate", BUCKETS[0], failed=False)
    one.store_call("sessions.rotate", 0.2, failed=True)
    found = samples(one, other)
    assert (found["connections{}"], found["staleness{}"], found["expiry{}"]) == (8, 7, 1)
    assert found["gateway_store_duration_seconds_bucket{le=0.001,operation=sessions.rotate,result=ok}"] == 2
    assert found["gateway_store_duration_seconds_count{operation=sessions.rotate,result=error}"] == 1
    assert samples(one)["connections{}"] == 1, "merging changes nobody's own counts"


async def test_the_hit_ratio_of_the_token_cache_can_be_reckoned() -> None:
    metrics = Metrics()
    await request(metrics, user_id="u")
    await request(metrics, user_id="u", status=502)
    await request(metrics, user_id=None, status=401)
    assert samples(metrics)["gateway_authenticated_requests_total{}"] == 2


def test_revocations_are_measured_over_all_workers() -> None:
    one, other = Metrics(), Metrics()
    one.revocation(0.02)
    other.revocation(0.5)
    other.revocation(1.5)
    found = samples(one, other)
    assert found["gateway_revocation_latency_seconds_bucket{le=1.0}"] == 2
    assert found["gateway_revocation_latency_seconds_count{}"] == 3
    assert found["gateway_revocation_latency_seconds_sum{}"] == pytest.approx(2.02)


def test_a_gauge_that_says_nothing_is_left_out() -> None:
    one, other = Metrics(), Metrics()
    values: list[float | None] = [None, 7.0]
    for metrics in (one, other):
        metrics.read_from("gateway_x", "X.", Kind.GREATEST, lambda: values[0])
    assert "gateway_x{}" not in samples(one)
    values.reverse()
    assert samples(one, other)["gateway_x{}"] == 7
    values.reverse()
    assert "gateway_x{}" not in samples(one)
