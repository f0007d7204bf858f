"""The database or a worker is killed while clients come and go: what they were told stands, and nobody restarts."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import postgres
from support.ledger import visitors
from support.load import load
from support.postgres import PostgresServer
from support.process import PASSWORD, Fleet, GatewayProcess, until
from support.served import on_postgres, on_sqlite, turned_away

from gateway.sessions.revocation import STALE_AFTER


@pytest.fixture
def own() -> Iterator[PostgresServer]:
    with postgres.own_server() as server:
        yield server


def test_a_killed_database_under_load(fleet: Fleet, own: PostgresServer) -> None:
    url = asyncio.run(own.make("served"))
    gateway = on_postgres(fleet, url)
    workers = gateway.workers()
    steady = gateway.body_login()
    access = steady["access_token"]
    header = f"Authorization: Bearer {access}"
    with visitors(gateway) as ledger, load(gateway.port, "/api/x", kept=3, fresh=1, header=header) as clients:
        ledger.grows("log-in", "refresh", "log-out", "call", by=2)
        with ledger.deaf():
            killed = time.monotonic()
            own.stop(signal.SIGKILL)
            assert turned_away(gateway.refresh(steady["refresh_token"]))
            members = {"username": "ada", "password": PASSWORD}
            assert turned_away(gateway.post("/auth/login", members))
            served_for = _until_stale(gateway, access, killed)
            assert served_for > STALE_AFTER - 2  # its heartbeat may have been due
            assert all(gateway.call(access).status == 200 for _ in range(10))
            ledger.grows("refused")
            own.start()
            until(lambda: all(gateway.call(access, path="/strict/x").status == 200 for _ in range(10)), "fresh again")
        ledger.grows("log-in", "refresh", "log-out", "call", by=2)
    assert (clients.failures, set(clients.statuses)) == ([], {200})
    assert ledger.torn == []
    assert gateway.workers() == workers
    asyncio.run(ledger.stands(url))
    ledger.settle(gateway)
    assert gateway.stop() == 0


def _until_stale(gateway: GatewayProcess, access: str, since: float) -> float:
    """Seconds until no worker serves the strict route any more."""
    last = since

    def stale() -> bool:
        nonlocal last
        answers = [gateway.call(access, path="/strict/x") for _ in range(10)]
        assert all(answer.status == 200 or turned_away(answer) for answer in answers)
        if any(answer.status == 200 for answer in answers):
            last = time.monotonic()
        return all(answer.status == 503 for answer in answers)

    until(stale, "staleness")
    return last - since


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_killed_worker_under_load(fleet: Fleet, kind: str) -> None:
    url = f"sqlite:///{fleet.database}"
    if kind == "postgres":
        url = asyncio.run(postgres.server().make("worker_killed"))
    gateway = on_sqlite(fleet) if kind == "sqlite" else on_postgres(fleet, url)
    with visitors(gateway) as ledger:
        for _ in range(2):
            ledger.grows("log-in", "refresh", "log-out", "call", by=2)
            victim = gateway.workers()[0]
            os.kill(victim, signal.SIGSTOP)  # so that it is known which connections are its own
            its = clients_of(victim, gateway.port)
            torn = len(ledger.torn)
            os.kill(victim, signal.SIGKILL)
            gateway.wait_for("worker.exited", pid=victim)
            ledger.grows("log-in", "refresh", "log-out", "call", by=2)
            assert set(ledger.torn[torn:]) <= its
            until(lambda: len(gateway.workers()) == 2, "the replacement")
    assert len(ledger.torn) <= 8
    asyncio.run(ledger.stands(url))
    ledger.settle(gateway)
    assert gateway.stop() == 0


def clients_of(pid: int, port: int) -> set[int]:
    """The client ports of the connections that a process has to its own `port`."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        target = str(descriptor.readlink())
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = set()
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[9] in inodes and int(fields[1].rpartition(":")[2], 16) == port:
            found.add(int(fields[2].rpartition(":")[2], 16))
    return found
