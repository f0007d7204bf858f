"""Spans from what was found out about sampled requests, sent to an OTLP/HTTP collector by a thread of their own.

The only module that knows OpenTelemetry, which is optional. Spans are made in batches after the answers, from what the
access log holds anyway; none of the SDK's machinery for spans that are open is used.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from gateway.telemetry.ports import SpanPolicy
from gateway.telemetry.trace_context import StoreCall, Trace
from gateway.telemetry.values import METHODS, shown_agent, shown_path

QUEUE: Final = 2048
"""Spans that may wait, about 2 KiB each; more are dropped."""
_BATCH: Final = 128
"""Small: the interpreter is held while a batch is encoded."""
_EVERY: Final = 1000.0
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_VERSION: Final = version("auth-gateway")
_SCOPE: Final = InstrumentationScope("auth-gateway", _VERSION)
_ERROR: Final = Status(StatusCode.ERROR)
_UNSET: Final = Status(StatusCode.UNSET)
_CLIENT_GONE: Final = 499
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_LIBRARY: Final = logging.getLogger("opentelemetry")
Attributes = dict[str, str | int]
Failed = Callable[[int, str], None]


class Spans:
    """Takes sampled requests that have ended. Called on the event loop; never waits, never raises.

    `failed` is called with the number of spans and a reason, on the exporting thread, when an outage begins.
    """

    def __init__(self, policy: SpanPolicy, failed: Failed, exporter: SpanExporter | None = None) -> None:
        self._said = _Said()
        _LIBRARY.addHandler(self._said)
        self._propagated, _LIBRARY.propagate = _LIBRARY.propagate, False
        self._inner = exporter or OTLPSpanExporter(
            endpoint=policy.endpoint, headers=dict(policy.headers), timeout=policy.timeout
        )
        self._counted = _Counted(self._inner, failed, self._said)
        self._processor = BatchSpanProcessor(
            self._counted, max_queue_size=QUEUE, schedule_delay_millis=_EVERY, max_export_batch_size=_BATCH
        )
        instance = f"{socket.gethostname()}:{os.getpid()}"
        self._resource = Resource.create(
            {
                "service.name": policy.service_name,
                "service.version": _VERSION,
                "service.instance.id": instance,
                "process.pid": os.getpid(),
            }
        )
        self._given = 0
        self._refused = 0

    @property
    def dropped(self) -> int:
        """Spans lost since the start: there was no room, or the collector did not take them."""
        return self._refused + self._counted.lost

    def requests(self, entries: Iterable[Sequence[Any]]) -> None:
        """Those of a batch of the access log that were sampled; the places are those of `AccessLog.request`."""
        for entry in entries:
            if entry[14] is not None:
                self._request(*entry)

    def answered(
        self, trace: Trace, method: str, path: str, route: str | None, status: int, start: float, end: float,
        address: str | None, agent: str | None,
    ) -> None:  # fmt: skip
        """The own API has answered. `route` is the path's pattern, times are epoch seconds."""
        attributes = _of_request(method, path, status, address, agent)
        if route is not None:
            attributes["http.route"] = route
        self._server(trace, method, route, status, attributes, start, end)

    def close(self, seconds: float) -> None:
        """Send what waits, for at most `seconds`; what is not gone by then is lost."""
        closing = threading.Thread(target=self._processor.shutdown, name="spans-close", daemon=True)
        closing.start()
        closing.join(seconds)
        if closing.is_alive():
            self._counted.stop()
        _LIBRARY.removeHandler(self._said)
        _LIBRARY.propagate = self._propagated

    def _request(
        self, at: float, method: str, path: str | bytes, status: int, route: str | None, upstream: str | None,
        duration: float, _received: int, _sent: int, _request_id: str | None, _user: str | None, _session: str | None,
        address: str | None, agent: str | bytes | None, trace: Trace,
    ) -> None:  # fmt: skip
        start = at - duration
        attributes = _of_request(method, path, status, address, agent)
        if route is not None:
            attributes["gateway.route"] = route
        if trace.sent is not None and upstream is not None:
            self._upstream(trace, method, status, upstream, start + trace.sent, at)
        self._server(trace, method, route, status, attributes, start, at)

    def _server(
        self, trace: Trace, method: str, route: str | None, status: int, attributes: Attributes, start: float,
        end: float,
    ) -> None:  # fmt: skip
        failed = status >= 500 or (trace.error is not None and status < 400)
        if failed:
            attributes["error.type"] = trace.error or str(status)
        for call in trace.calls:
            self._call(trace, call)
        name = f"{_method(method)} {route}" if route is not None else _method(method)
        self._give(trace, name, SpanKind.SERVER, trace.span_id, trace.parent_id, attributes, start, end, failed=failed)

    def _upstream(self, trace: Trace, method: str, status: int, url: str, start: float, end: float) -> None:
        attributes: Attributes = {"http.request.method": _method(method), **_server_of(url)}
        error = trace.error
        if error is None and status == _CLIENT_GONE:
            error = "client_gone"
        elif error is None or status < 400:  # the backend's own status; else it is what the gateway answered instead
            attributes["http.response.status_code"] = status
            error = error or (str(status) if status >= 400 else None)
        if error is not None:
            attributes["error.type"] = error
        if trace.resends:
            attributes["http.request.resend_count"] = trace.resends
        self._give(
            trace, _method(method), SpanKind.CLIENT, trace.upstream_id, trace.span_id, attributes, start, end,
            failed=error is not None,
        )  # fmt: skip

    def _call(self, trace: Trace, call: StoreCall) -> None:
        name, span_id = f"store {call.operation}", os.urandom(8).hex()
        attributes: Attributes = {"db.operation.name": call.operation}
        self._give(
            trace, name, SpanKind.CLIENT, span_id, trace.span_id, attributes, call.started, call.ended,
            failed=call.failed,
        )  # fmt: skip

    def _give(
        self, trace: Trace, name: str, kind: SpanKind, span_id: str, parent_id: str | None, attributes: Attributes,
        start: float, end: float, *, failed: bool,
    ) -> None:  # fmt: skip
        if self._given - self._counted.taken >= QUEUE:
            self._refused += 1
            return
        self._given += 1
        trace_id = int(trace.trace_id, 16)
        parent = SpanContext(trace_id, int(parent_id, 16), kind is SpanKind.SERVER, _SAMPLED) if parent_id else None
        span = ReadableSpan(
            name,
            SpanContext(trace_id, int(span_id, 16), is_remote=False, trace_flags=_SAMPLED),
            parent,
            self._resource,
            attributes,
            kind=kind,
            status=_ERROR if failed else _UNSET,
            start_time=int(start * 1e9),
            end_time=int(max(start, end) * 1e9),
            instrumentation_scope=_SCOPE,
        )
        self._processor.on_end(span)


class _Counted(SpanExporter):
    """Before the real exporter: what left the queue, what of it was lost, and a word when an outage begins."""

    def __init__(self, inner: SpanExporter, failed: Failed, said: _Said) -> None:
        self._inner = inner
        self._failed = failed
        self._said = said
        self._stopped = self._failing = False
        self.taken = 0
        self.lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        result = SpanExportResult.FAILURE
        if not self._stopped:
            try:
                result = self._inner.export(spans)
            except Exception as error:  # noqa: BLE001 - whatever a collector answers, requests must not notice
                self._said.last = type(error).__name__
        if result is SpanExportResult.SUCCESS:
            self._failing = False
            return result
        self.lost += len(spans)
        if not self._failing:
            self._failing = True
            self._failed(len(spans), self._said.last)
        return result

    def stop(self) -> None:
        """Wait for nothing more."""
        self._stopped = True
        self._inner.shutdown()

    def shutdown(self) -> None:
        if not self._stopped:
            self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True


class _Said(logging.Handler):
    """Keeps the library's last complaint: it makes one per attempt, which would fill the log while a collector is
    down."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()


def _of_request(
    method: str, path: str | bytes, status: int, address: str | None, agent: str | bytes | None
) -> Attributes:
    attributes: Attributes = {
        "http.request.method": _method(method),
        "url.path": shown_path(path),
        "http.response.status_code": status,
    }
    if address:
        attributes["client.address"] = address
    if agent:
        attributes["user_agent.original"] = str(shown_agent(agent))
    return attributes


def _method(method: str) -> str:
    return method if method in METHODS else "_OTHER"


@lru_cache(maxsize=256)
def _server_of(url: str) -> Mapping[str, str | int]:
    if url.startswith("unix://"):
        return {"server.address": url.removeprefix("unix://").partition(":")[0], "network.transport": "unix"}
    parts = urlsplit(url)
    return {"server.address": parts.hostname or "", "server.port": parts.port or _DEFAULT_PORTS[parts.scheme]}
