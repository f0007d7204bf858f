"""The database goes away under a running gateway: nobody is logged out, proxied traffic goes on, and it comes back."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.process import Fleet, GatewayProcess, free_port, until


@pytest.fixture
def gateway(fleet: Fleet) -> GatewayProcess:
    fleet.add_user()
    admin = f"127.0.0.1:{free_port()}"
    return fleet.serve(server={"admin_listen": admin})


@contextlib.contextmanager
def locked(fleet: Fleet) -> Iterator[None]:
    """Another process writes and does not stop."""
    with contextlib.closing(sqlite3.connect(fleet.database, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


def ready(fleet: Fleet, gateway: GatewayProcess) -> tuple[int, str]:
    listen = json.loads((fleet.folder / "gateway.yaml").read_text())["server"]["admin_listen"]
    connection = http.client.HTTPConnection(listen, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", "/readyz?verbose")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_a_locked_database_logs_nobody_out(fleet: Fleet, gateway: GatewayProcess) -> None:
    login, other = gateway.body_login(), gateway.login()
    assert gateway.call(login["access_token"]).status == 200
    with locked(fleet):
        busy = gateway.refresh(login["refresh_token"])
        assert (busy.status, busy.error) == (503, "temporarily_unavailable")
        assert int(busy.header("Retry-After") or 0) >= 1
        cookie = gateway.post("/auth/refresh", cookie=other.cookie)
        assert (cookie.status, cookie.header("Set-Cookie")) == (503, None)
        for _ in range(20):
            assert gateway.call(login["access_token"]).status == 200
            assert gateway.call(other.json["access_token"]).status == 200
        status, report = ready(fleet, gateway)
        assert (status, "not ready: database" in report) == (503, True)
        for path, members in (
            ("/auth/login", {"username": "ada", "password": "wrong horse"}),
            ("/auth/logout", {"refresh_token": login["refresh_token"]}),
        ):
            answer = gateway.post(path, members)
            assert answer.status in {401, 503}, (path, answer.body)
    assert gateway.process.poll() is None
    refreshed = gateway.refresh(login["refresh_token"])
    assert refreshed.status == 200, refreshed.body
    assert gateway.post("/auth/refresh", cookie=other.cookie).status == 200
    assert gateway.call(refreshed.json["access_token"]).status == 200
    until(lambda: ready(fleet, gateway)[0] == 200, "readiness")
    assert gateway.events("session.refresh_reused") == []
    assert gateway.events("session.revoked") == []
    gateway.wait_for("session.refresh_rejected", outcome="busy")


def test_a_log_out_that_could_not_be_written_says_so(fleet: Fleet, gateway: GatewayProcess) -> None:
    login = gateway.body_login()
    with locked(fleet):
        out = gateway.post("/auth/logout", {"refresh_token": login["refresh_token"]})
        assert (out.status, out.error) == (503, "temporarily_unavailable")
        assert gateway.post("/auth/logout-all", bearer=login["access_token"]).status == 503
    assert gateway.post("/auth/logout", {"refresh_token": login["refresh_token"]}).status == 204
    assert gateway.call(login["access_token"]).status == 401


def test_receipts_that_could_not_be_written_are_not_lost(fleet: Fleet, gateway: GatewayProcess) -> None:
    """The proof that an answer arrived waits until the database can take it: the old token is then no retry."""
    login = gateway.body_login()
    fresh = gateway.refresh(login["refresh_token"]).json
    with locked(fleet):
        assert gateway.call(fresh["access_token"]).status == 200
        gateway.refresh(login["refresh_token"])
    until(lambda: _confirmed(fleet.database, fresh["session_id"]) == 2, "the receipt")
    assert gateway.refresh(login["refresh_token"]).error == "refresh_token_reused"


def _confirmed(database: Path, sid: str) -> int:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        row = connection.execute("SELECT confirmed_generation FROM sessions WHERE sid = ?", (sid,)).fetchone()
    return int(row[0])


def test_an_unreadable_database_logs_nobody_out(fleet: Fleet, gateway: GatewayProcess) -> None:
    """Overwritten under the gateway, then put back: what it answers in between must not end a session."""
    login = gateway.body_login()
    assert gateway.call(login["access_token"]).status == 200
    with contextlib.closing(sqlite3.connect(fleet.database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    good = fleet.database.read_bytes()
    with fleet.database.open("r+b") as file:
        file.write(os.urandom(len(good)))
        file.flush()
    refused = gateway.refresh(login["refresh_token"])
    assert gateway.call(login["access_token"]).status == 200
    with fleet.database.open("r+b") as file:
        file.write(good)
    assert (refused.status, refused.error) == (503, "temporarily_unavailable")
    assert int(refused.header("Retry-After") or 0) >= 1
    assert gateway.process.poll() is None
    assert gateway.events("session.revoked") == []
    gateway.restart()  # SQLite keeps the damaged pages it has read
    assert gateway.refresh(login["refresh_token"]).status == 200
    assert gateway.call(gateway.body_login()["access_token"]).status == 200
