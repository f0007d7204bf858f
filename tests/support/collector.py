"""An OTLP/HTTP collector on a thread of its own that keeps the spans it gets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.leaks import WATCH
from support.process import until

SERVER, CLIENT = 2, 3
ERROR = 2


@dataclass(frozen=True)
class Got:
    """A span as it came; ids in hex, '' for none."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    start: int
    end: int
    failed: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]


class Collector:
    """What came: `spans` in the order of their arrival, and the headers of each request."""

    def __init__(self) -> None:
        self.spans: list[Got] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.url = ""

    def take(self, body: bytes, headers: dict[str, str]) -> None:
        WATCH.output(body.decode("latin-1"), "what a collector got")
        self.headers.append(headers)
        if self.status == 200:
            self.spans += [
                _got(span, resource.resource)
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            ]

    def wait_for(self, count: int) -> list[Got]:
        """All spans, once there are `count`; no more may have come."""
        until(lambda: len(self.spans) >= count, f"{count} spans")
        assert len(self.spans) == count, [span.name for span in self.spans]
        return self.spans

    def one(self, kind: int, **attributes: object) -> Got:
        """The one span of this kind with these attributes, dots written as __."""
        wanted = {name.replace("__", "."): value for name, value in attributes.items()}

        def found() -> list[Got]:
            return [span for span in self.spans if span.kind == kind and wanted.items() <= span.attributes.items()]

        until(found, f"a span with {wanted}")
        [span] = found()
        return span


def _got(span: Any, resource: Any) -> Got:
    return Got(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.kind,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == ERROR,
        _values(span.attributes),
        _values(resource.attributes),
    )


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.take(body, {name.lower(): value for name, value in self.headers.items()})
            self.send_response(collector.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_address[1]}/v1/traces"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
