"""What a scraper reads from a gateway at work."""

from __future__ import annotations

import http.client
import os
import re
import signal
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from support.listening import certificate
from support.process import Fleet, free_port, until

OF_REQUESTS = {
    "gateway_requests_total",
    "gateway_request_duration_seconds",
    "gateway_request_body_bytes_total",
    "gateway_response_body_bytes_total",
}
"""There once a request was proxied."""


def scrape(listen: str) -> dict[str, float]:
    connection = http.client.HTTPConnection(listen, timeout=10)
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    assert (answer.status, answer.getheader("Content-Type")) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return {
        f"{sample.name}{sorted(sample.labels.values())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_requests_log_ins_refreshes_and_the_store_are_counted(fleet: Fleet) -> None:
    fleet.add_user()
    listen = f"127.0.0.1:{free_port()}"
    gateway = fleet.serve(server={"admin_listen": listen})
    login = gateway.login()
    for token in (login.json["access_token"], login.json["access_token"], "no-token"):
        gateway.call(token)
    assert gateway.post("/auth/login", {"username": "ada", "password": "wrong horse"}).status == 401
    found = scrape(listen)
    assert found["gateway_requests_total['200', 'GET', 'api']"] == 2
    assert found["gateway_requests_total['401', 'GET', 'api']"] == 1
    assert found["gateway_logins_total['succeeded']"] == found["gateway_logins_total['failed']"] == 1
    assert found["gateway_token_verifications_total[]"] == found["gateway_verified_tokens[]"] == 1
    assert found["gateway_upstream_connections[]"] >= 1
    assert found["gateway_store_duration_seconds_count['ok', 'sessions.create']"] == 1
    assert 0 <= found["gateway_revocation_staleness_seconds[]"] < 5
    assert not any("no-token" in name or login.json["session_id"] in name for name in found)


def test_the_catalogue_names_what_a_gateway_tells_and_nothing_else(fleet: Fleet, tmp_path: Path) -> None:
    files = certificate(tmp_path)
    tls = {"cert_file": str(files.certificate), "key_file": str(files.key)}
    listen = f"127.0.0.1:{free_port()}"
    fleet.serve(server={"admin_listen": listen, "tls": tls})
    told = {name.partition("[")[0] for name in scrape(listen)}
    families = {re.sub("_(bucket|count|sum)$", "", name) for name in told} | OF_REQUESTS
    text = Path(__file__).parents[2].joinpath("docs", "metrics.md").read_text(encoding="utf-8")
    assert families == set(re.findall(r"`((?:gateway|process)_\w+)`", text))


def test_several_workers_answer_for_all_and_for_those_that_ended(fleet: Fleet) -> None:
    listen = f"127.0.0.1:{free_port()}"
    gateway = fleet.serve(server={"admin_listen": listen, "workers": 2})
    for _ in range(20):
        assert gateway.request("GET", "/public/x").status == 200

    def found() -> dict[str, Any]:
        return scrape(listen)

    name = "gateway_requests_total['200', 'GET', 'public']"
    until(lambda: found().get(name) == 20, "all requests in one sum")  # what others counted comes once a second
    assert found()["process_cpu_seconds_total[]"] > 0
    before = gateway.workers()
    os.kill(before[0], signal.SIGTERM)  # one that is killed cannot say what it counted last
    until(lambda: len(gateway.workers()) == 2 and gateway.workers() != before, "the replacement")
    until(lambda: found().get(name) == 20, "the sum with what the one that left had counted")
    assert found()["gateway_warnings_total['error', 'worker.exited']"] == 1
    assert gateway.stop() == 0
