"""Traces of whole gateways, as a collector gets them."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import time
from typing import Any

import pytest
from support.collector import CLIENT, SERVER, collecting
from support.echo import told
from support.process import Fleet, GatewayProcess, free_port, until

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = ("traceparent", f"00-{TRACE}-{SPAN}-01")
KEY = "collector-key-5f3a"


def dropped(listen: str) -> float:
    connection = http.client.HTTPConnection(listen, timeout=10)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    [value] = [line.split()[1] for line in lines if line.startswith("gateway_spans_dropped_total ")]
    return float(value)


def traced(fleet: Fleet, url: str, **changes: Any) -> GatewayProcess:
    fleet.add_user()
    server = {"trusted_proxies": ["127.0.0.1"]} | changes.pop("server", {})
    return fleet.serve(server=server, tracing={"endpoint": url, "sample_ratio": 0.0} | changes)


def test_a_request_is_a_tree_that_goes_on_in_the_backend(fleet: Fleet) -> None:
    with collecting() as collector:
        gateway = traced(fleet, collector.url, service_name="edge", headers=f"x-api-key={KEY}")
        access = gateway.login().json["access_token"]
        answer = gateway.call(access, PARENT, ("tracestate", "a=1"), path="/api/x?token=geheim")
        assert answer.status == 200
        assert gateway.call(access).status == 200  # not sampled
        upstream, server = sorted(collector.wait_for(2), key=lambda span: span.kind, reverse=True)
        assert (server.kind, upstream.kind) == (SERVER, CLIENT)
        assert server.trace_id == upstream.trace_id == TRACE
        assert (server.parent_id, upstream.parent_id) == (SPAN, server.span_id)
        assert told(answer.body)["traceparent"] == [f"00-{TRACE}-{upstream.span_id}-01"]
        assert told(answer.body)["tracestate"] == ["a=1"]
        assert server.start <= upstream.start <= upstream.end <= server.end
        assert (server.attributes["url.path"], server.attributes["gateway.route"]) == ("/api/x", "api")
        assert upstream.attributes["server.port"] == fleet.upstream.port
        assert server.resource["service.name"] == "edge"
        line = gateway.wait_for("proxy.request", trace_id=TRACE)
        assert line["span_id"] == server.span_id
        assert collector.headers[0]["x-api-key"] == KEY
        assert all(secret not in str(collector.spans) for secret in ("geheim", access, "session_id", KEY))
        assert gateway.stop() == 0
    assert KEY not in gateway.stdout.text + gateway.stderr.text
    assert len([line for line in gateway.events("proxy.request") if "trace_id" in line]) == 1


def test_the_own_api_and_its_store_calls_and_events_are_traced(fleet: Fleet) -> None:
    with collecting() as collector:
        gateway = traced(fleet, collector.url)
        body = json.dumps({"username": "ada", "password": "correct-horse-battery"}).encode()
        answer = gateway.request("POST", "/auth/login", [("Content-Type", "application/json"), PARENT], body)
        assert answer.status == 200
        server = collector.one(SERVER, http__route="/auth/login")
        assert (server.name, server.parent_id, server.trace_id) == ("POST /auth/login", SPAN, TRACE)
        call = collector.one(CLIENT, db__operation__name="sessions.create")
        assert (call.parent_id, call.trace_id) == (server.span_id, TRACE)
        event = gateway.wait_for("login.succeeded")
        assert (event["trace_id"], event["span_id"]) == (TRACE, server.span_id)
        gateway.refresh("gwr_nonsense")
        assert "trace_id" not in gateway.wait_for("session.refresh_rejected")
        assert gateway.stop() == 0


def test_what_waits_is_sent_when_the_gateway_stops(fleet: Fleet) -> None:
    with collecting() as collector:
        gateway = traced(fleet, collector.url, sample_ratio=1.0)
        for _ in range(5):
            assert gateway.request("GET", "/public/x").status == 200
        assert gateway.stop() == 0
        assert len([span for span in collector.spans if span.kind == SERVER]) == 5


def test_each_worker_sends_its_own(fleet: Fleet) -> None:
    with collecting() as collector:
        gateway = traced(fleet, collector.url, sample_ratio=1.0, server={"workers": 2})
        workers = set(gateway.workers())
        held = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(8)]
        for connection in held:
            connection.sendall(b"GET /public/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        for connection in held:
            connection.close()
        until(lambda: len([span for span in collector.spans if span.kind == SERVER]) == 8, "all spans")
        assert {span.resource["process.pid"] for span in collector.spans} == workers
        assert len({span.resource["service.instance.id"] for span in collector.spans}) == 2
        assert gateway.stop() == 0


@pytest.mark.parametrize("how", ["refuses", "hangs", "fails"])
def test_a_collector_that_is_down_harms_nothing(fleet: Fleet, how: str) -> None:
    """Neither requests nor the end; what is lost is counted and said."""
    with collecting() as collector, socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        collector.status = 500
        urls = {
            "refuses": f"http://127.0.0.1:{free_port()}/v1/traces",
            "hangs": f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces",
            "fails": collector.url,
        }
        admin = f"127.0.0.1:{free_port()}"
        gateway = traced(fleet, urls[how], sample_ratio=1.0, timeout="1s", server={"admin_listen": admin})
        slowest = 0.0
        for _ in range(200):
            start = time.monotonic()
            assert gateway.request("GET", "/public/x").status == 200
            slowest = max(slowest, time.monotonic() - start)
        assert slowest < 1.0
        gateway.wait_for("tracing.failed", level="warning")
        until(lambda: dropped(admin) > 0, "the count of what is lost")
        assert gateway.request("GET", "/public/x").status == 200
        start = time.monotonic()
        assert gateway.stop() == 0
        assert time.monotonic() - start < 10
    assert len(gateway.events("tracing.failed")) == 1
    assert gateway.events("log.library") == []


def test_a_package_that_is_missing_is_one_clear_line(fleet: Fleet) -> None:
    hidden = fleet.folder / "opentelemetry"
    hidden.mkdir()
    (hidden / "__init__.py").write_text("raise ModuleNotFoundError('no', name='opentelemetry')\n")
    path = fleet.configure(tracing={"endpoint": "http://127.0.0.1:4318"})
    done = fleet.command("serve", "--config", str(path), PYTHONPATH=str(fleet.folder))
    assert done.returncode == 3
    [line] = done.stderr.splitlines()
    assert "pip install 'auth-gateway[tracing]'" in line


def test_without_an_endpoint_nothing_is_traced_nor_loaded_for_it(fleet: Fleet) -> None:
    gateway = fleet.serve()
    assert gateway.call("x", PARENT).status == 401
    assert gateway.stop() == 0
    assert all("trace_id" not in line for line in gateway.log)
    code = "import sys, gateway.runtime.worker; print([name for name in sys.modules if 'opentelemetry' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
