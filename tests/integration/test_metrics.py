"""What a scraper reads from a gateway at work."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import sqlite3
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from support.listening import certificate
from support.process import AT_ONCE, Fleet, free_port, until

OF_REQUESTS = {
    "gateway_requests_total",
    "gateway_request_duration_seconds",
    "gateway_request_body_bytes_total",
    "gateway_response_body_bytes_total",
}
"""There once a request was proxied."""
NOT_HERE = {"gateway_store_connections_used", "gateway_spans_dropped_total"}
"""Of PostgreSQL, and of tracing."""


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
    families = {re.sub("_(bucket|count|sum)$", "", name) for name in told} | OF_REQUESTS | NOT_HERE
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


def test_canaries_are_measured_by_every_worker_and_by_whoever_replaces_one(fleet: Fleet) -> None:
    listen = f"127.0.0.1:{free_port()}"
    sessions = {**AT_ONCE, "canary_interval": "1s"}
    gateway = fleet.serve(server={"admin_listen": listen, "workers": 2}, sessions=sessions)
    name = "gateway_revocation_latency_seconds_count[]"

    def measured() -> float:
        return scrape(listen).get(name, 0)

    until(lambda: measured() >= 4, "two canaries in both workers")
    found = scrape(listen)
    assert 0 < found["gateway_revocation_latency_seconds_sum[]"] < found[name]
    assert 0 <= found["gateway_revocation_canary_age_seconds[]"] < 5
    with contextlib.closing(sqlite3.connect(fleet.database)) as database:
        keys = [key for (key,) in database.execute("SELECT key FROM revocations")]
        assert database.execute("SELECT count(*) FROM sessions").fetchone() == (0,)
    assert {key.split(":")[0] for key in keys} == {"canary"}
    (sender,) = {key.split(":")[1].split(".")[0] for key in keys}
    assert len(set(keys)) == len(keys)
    os.kill(gateway.workers()[0], signal.SIGTERM)  # the first sends them
    until(lambda: len(gateway.events("worker.started")) == 3, "the replacement")
    before = measured()
    until(lambda: measured() >= before + 4, "more canaries in both workers")
    with contextlib.closing(sqlite3.connect(fleet.database)) as database:
        keys = [key for (key,) in database.execute("SELECT key FROM revocations")]
    assert len({key.split(":")[1].split(".")[0] for key in keys} - {sender}) == 1
    assert gateway.events("canary.missed") == []
    assert gateway.stop() == 0


def test_a_canary_that_does_not_come_is_told_and_the_next_counts(fleet: Fleet) -> None:
    listen = f"127.0.0.1:{free_port()}"
    gateway = fleet.serve(server={"admin_listen": listen}, sessions={**AT_ONCE, "canary_interval": "1s"})
    name = "gateway_revocation_latency_seconds_count[]"
    until(lambda: scrape(listen).get(name, 0) >= 1, "a canary")
    with contextlib.closing(sqlite3.connect(fleet.database, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")  # nothing can be revoked
        missed = gateway.wait_for("canary.missed")
        database.execute("ROLLBACK")
    assert (missed["level"], missed["interval_s"]) == ("error", 1.0)
    assert missed["silent_s"] >= 6
    before = scrape(listen)[name]
    until(lambda: scrape(listen)[name] > before, "the next")
    assert gateway.stop() == 0


def test_pools_and_the_token_cache_are_shown(fleet: Fleet) -> None:
    fleet.add_user()
    listen = f"127.0.0.1:{free_port()}"
    gateway = fleet.serve(server={"admin_listen": listen})
    access = gateway.login().json["access_token"]
    for _ in range(4):
        assert gateway.call(access).status == 200
    found = scrape(listen)
    assert found["gateway_authenticated_requests_total[]"] == 4
    assert found["gateway_token_verifications_total[]"] == 1
    assert (found["gateway_store_connections[]"], found["gateway_store_waiting[]"]) == (2, 0)
    assert found["gateway_password_hashes[]"] == 0
    assert "gateway_store_connections_used[]" not in found
