"""Spans of what has ended: what they say, and what becomes of them while nobody takes them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode

from gateway.telemetry.ports import SpanPolicy
from gateway.telemetry.trace_context import StoreCall, Trace
from gateway.telemetry.tracing import QUEUE, Spans

TRACE, PARENT, OWN, UPSTREAM = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "1" * 16, "2" * 16
POLICY = SpanPolicy("http://127.0.0.1:9/v1/traces")


class Kept(SpanExporter):
    """Keeps what it gets, or does what `before` does first."""

    def __init__(self, before: Callable[[], object] = lambda: None) -> None:
        self.spans: list[ReadableSpan] = []
        self.result = SpanExportResult.SUCCESS
        self._before = before

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._before()
        self.spans += spans
        return self.result


@contextmanager
def spans_to(exporter: SpanExporter, told: list[tuple[int, str]] | None = None) -> Iterator[Spans]:
    told = [] if told is None else told
    spans = Spans(POLICY, lambda count, reason: told.append((count, reason)), exporter)
    try:
        yield spans
    finally:
        spans.close(5.0)


def traced(*, sent: float | None = 0.001, error: str | None = None, parent: str | None = PARENT) -> Trace:
    trace = Trace(TRACE, parent, OWN, UPSTREAM)
    trace.sent, trace.error = sent, error
    return trace


def entry(trace: Trace | None, **changes: Any) -> tuple[Any, ...]:
    """As the access log holds it."""
    fields = {
        "at": 1000.5, "method": "GET", "path": "/api/x?secret=1", "status": 200, "route": "api",
        "upstream": "http://10.0.0.1:9000/base", "duration": 0.5, "received": 0, "sent": 0, "request_id": "r",
        "user_id": "u", "session_id": "s", "address": "192.0.2.1", "agent": b"curl/8", "trace": trace,
    }  # fmt: skip
    return tuple((fields | changes).values())


def of(*entries: tuple[Any, ...]) -> list[ReadableSpan]:
    kept = Kept()
    with spans_to(kept) as spans:
        spans.requests(entries)
    return kept.spans


def test_a_request_is_a_server_span_and_the_upstream_leg_below_it() -> None:
    upstream, server = of(entry(None), entry(traced()))
    assert (server.name, server.kind, server.status.status_code) == ("GET api", SpanKind.SERVER, StatusCode.UNSET)
    assert server.context is not None and upstream.context is not None
    assert server.parent is not None and upstream.parent is not None
    assert f"{server.context.trace_id:032x}" == f"{upstream.context.trace_id:032x}" == TRACE
    assert (f"{server.context.span_id:016x}", f"{server.parent.span_id:016x}") == (OWN, PARENT)
    assert (f"{upstream.context.span_id:016x}", f"{upstream.parent.span_id:016x}") == (UPSTREAM, OWN)
    assert server.parent.is_remote and not upstream.parent.is_remote
    assert (server.start_time, server.end_time) == (1_000_000_000_000, 1_000_500_000_000)
    assert upstream.start_time == pytest.approx(1_000_001_000_000, abs=1000)
    assert upstream.end_time == server.end_time
    assert server.attributes == {
        "http.request.method": "GET",
        "url.path": "/api/x",
        "http.response.status_code": 200,
        "client.address": "192.0.2.1",
        "user_agent.original": "curl/8",
        "gateway.route": "api",
    }
    assert upstream.attributes == {
        "http.request.method": "GET",
        "server.address": "10.0.0.1",
        "server.port": 9000,
        "http.response.status_code": 200,
    }
    assert {key: server.resource.attributes[key] for key in ("service.name",)} == {"service.name": "auth-gateway"}
    assert server.resource.attributes["process.pid"]


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("https://app.internal", {"server.address": "app.internal", "server.port": 443}),
        ("unix:///run/app.sock:/base", {"server.address": "/run/app.sock", "network.transport": "unix"}),
        ("http://[::1]:8000", {"server.address": "::1", "server.port": 8000}),
    ],
)
def test_where_the_upstream_is(url: str, server: dict[str, object]) -> None:
    upstream, _ = of(entry(traced(), upstream=url))
    assert upstream.attributes is not None
    assert server.items() <= upstream.attributes.items()


@pytest.mark.parametrize(
    ("status", "error", "of_server", "of_upstream", "told"),
    [
        (404, None, None, "404", 404),
        (500, None, "500", "500", 500),
        (502, "bad_gateway", "bad_gateway", "bad_gateway", None),
        (413, "payload_too_large", None, "payload_too_large", None),
        (200, "bad_gateway", "bad_gateway", "bad_gateway", 200),  # torn half-way
        (499, None, None, "client_gone", None),
    ],
)
def test_what_is_an_error(
    status: int, error: str | None, of_server: str | None, of_upstream: str | None, told: int | None
) -> None:
    upstream, server = of(entry(traced(error=error), status=status))
    assert server.attributes is not None and upstream.attributes is not None
    assert server.attributes.get("error.type") == of_server
    assert (server.status.status_code is StatusCode.ERROR) is (of_server is not None)
    assert upstream.attributes.get("error.type") == of_upstream
    assert (upstream.status.status_code is StatusCode.ERROR) is (of_upstream is not None)
    assert upstream.attributes.get("http.response.status_code") == told


def test_a_refused_request_has_no_upstream_leg() -> None:
    [server] = of(entry(traced(sent=None, error="invalid_token", parent=None), status=401, upstream=None))
    assert server.parent is None and server.attributes is not None
    assert server.attributes["http.response.status_code"] == 401
    assert "error.type" not in server.attributes


def test_a_method_nobody_knows_does_not_make_names() -> None:
    upstream, server = of(entry(traced(), method="BREW", route=None))
    assert (upstream.name, server.name) == ("_OTHER", "_OTHER")


def test_the_own_api_with_its_calls_to_the_store() -> None:
    kept, trace = Kept(), traced(sent=None)
    trace.calls.append(StoreCall("sessions.rotate", 10.1, 10.2, failed=True))
    with spans_to(kept) as spans:
        spans.answered(trace, "POST", "/auth/refresh?x=1", "/auth/refresh", 200, 10.0, 10.5, "192.0.2.1", "")
    call, server = kept.spans
    assert call.parent is not None and call.attributes == {"db.operation.name": "sessions.rotate"}
    assert (call.name, call.status.status_code) == ("store sessions.rotate", StatusCode.ERROR)
    assert f"{call.parent.span_id:016x}" == OWN
    assert server.name == "POST /auth/refresh" and server.attributes is not None
    assert server.attributes["http.route"] == server.attributes["url.path"] == "/auth/refresh"


def test_a_queue_that_is_full_drops_and_counts() -> None:
    going, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        going.set()
        assert go_on.wait(20)

    kept = Kept(wait)
    with spans_to(kept) as spans:
        spans.requests([entry(traced(sent=None))] * QUEUE)
        assert going.wait(20)  # one batch is under way
        spans.requests([entry(traced(sent=None))] * (QUEUE + 10))
        dropped = spans.dropped
        assert 0 < dropped <= QUEUE + 10
        go_on.set()
    assert len(kept.spans) == 2 * QUEUE + 10 - dropped
    assert spans.dropped == dropped


def test_what_nobody_takes_is_counted_and_said_once() -> None:
    kept, told = Kept(), list[tuple[int, str]]()
    kept.result = SpanExportResult.FAILURE
    with spans_to(kept, told) as spans:
        spans.requests([entry(traced(sent=None))] * 300)
    assert spans.dropped == 300
    assert len(told) == 1


def test_an_exporter_that_raises_loses_its_batch_only() -> None:
    told = list[tuple[int, str]]()

    def explode() -> None:
        raise OSError("secret")

    with spans_to(Kept(explode), told) as spans:
        spans.requests([entry(traced(sent=None))])
    assert (spans.dropped, told) == (1, [(1, "OSError")])


def test_the_end_does_not_wait_for_a_collector_that_hangs() -> None:
    going, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        going.set()
        go_on.wait(20)

    spans = Spans(POLICY, lambda count, reason: None, Kept(hang))
    spans.requests([entry(traced(sent=None))] * QUEUE)
    assert going.wait(20)
    spans.close(0.01)
    assert not go_on.is_set()
    go_on.set()


def test_the_librarys_own_words_are_kept_from_the_log(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("opentelemetry")
    with spans_to(Kept()):
        logging.getLogger("opentelemetry.exporter").error("said for each attempt")
        assert caplog.records == []
    assert logger.propagate
    assert logger.handlers == []
