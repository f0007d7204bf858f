"""PostgreSQL is killed and comes back: what was acknowledged stands, and nobody has to restart a gateway."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
from collections.abc import Iterator

import pytest
from support import postgres
from support.postgres import PostgresServer
from support.process import PASSWORD, Fleet, GatewayProcess, until
from support.stores import Client, a_user, log_in

from gateway.clock import SystemClock
from gateway.errors import StoreBusy, StoreUnavailable
from gateway.sessions.decision import Outcome
from gateway.sessions.session import Channel, RevokeReason
from gateway.stores.postgres import open_postgres


@pytest.fixture
def own() -> Iterator[PostgresServer]:
    with postgres.own_server() as server:
        yield server


async def test_nothing_acknowledged_is_lost_when_it_is_killed_under_load(own: PostgresServer) -> None:
    url = await own.make("gateway")
    stores = await open_postgres(url, clock=SystemClock(), busy_timeout=5.0, pool=4)
    user = a_user(now=SystemClock().now())
    await stores.users.add(user)
    clients = [await log_in(stores, user, channel=Channel.BODY) for _ in range(8)]
    acknowledged = dict.fromkeys((client.sid for client in clients), 1)
    unheard = 0
    running = True

    async def refresh(client: Client) -> None:
        nonlocal unheard
        while running:
            try:
                rotation = await client.present(acknowledged[client.sid])
            except (StoreUnavailable, StoreBusy):
                unheard += 1
                await asyncio.sleep(0.01)
            else:
                # Lost unheard, the rotation is repeated to its owner: the same successor, and nothing else.
                assert rotation.decision.outcome in {Outcome.ROTATED, Outcome.RACE}
                assert rotation.decision.successor == acknowledged[client.sid] + 1
                acknowledged[client.sid] += 1

    tasks = [asyncio.ensure_future(refresh(client)) for client in clients]
    for _ in range(2):
        before = dict(acknowledged)
        async with asyncio.timeout(20):
            while any(acknowledged[sid] < before[sid] + 5 for sid in acknowledged):
                assert not any(task.done() for task in tasks)
                await asyncio.sleep(0.005)
        await asyncio.to_thread(own.stop, signal.SIGKILL)
        await asyncio.to_thread(own.start)
    before = dict(acknowledged)
    async with asyncio.timeout(20):
        while any(acknowledged[sid] < before[sid] + 2 for sid in acknowledged):
            assert not any(task.done() for task in tasks)
            await asyncio.sleep(0.005)
    running = False
    await asyncio.gather(*tasks)
    assert unheard > 0
    for client in clients:
        stored = await client.stored()
        assert (stored.generation, stored.revoked_at) == (acknowledged[client.sid], None)
    ended = await stores.sessions.end_user(user.user_id, RevokeReason.ADMIN)
    assert len(ended.sessions) == 8
    await stores.database.close()


def served(fleet: Fleet, own: PostgresServer) -> GatewayProcess:
    """A gateway process on a database of its own, with the user `ada`."""
    url = asyncio.run(own.make("served"))
    key = fleet.database.with_suffix(".key")
    key.write_text("1:" + base64.b64encode(os.urandom(32)).decode() + "\n")
    key.chmod(0o600)
    storage = {"database": url, "master_key_file": str(key)}
    config = fleet.configure("users.yaml", storage=storage)
    added = fleet.command(
        "users", "add", "ada", "--role", "user", "--password-stdin", "--config", str(config), stdin=PASSWORD
    )
    assert added.returncode == 0, added.stderr
    return fleet.serve(storage=storage)


def test_a_killed_database_logs_nobody_out_and_needs_no_restart(fleet: Fleet, own: PostgresServer) -> None:
    gateway = served(fleet, own)
    login, gone = gateway.body_login(), gateway.body_login()
    assert gateway.call(login["access_token"]).status == 200
    assert gateway.post("/auth/logout", {"refresh_token": gone["refresh_token"]}).status == 204
    own.stop(signal.SIGKILL)
    busy = gateway.refresh(login["refresh_token"])
    assert (busy.status, busy.error) == (503, "temporarily_unavailable")
    assert int(busy.header("Retry-After") or 0) >= 1
    for _ in range(10):
        assert gateway.call(login["access_token"]).status == 200
        assert gateway.call(gone["access_token"]).status == 401
    assert gateway.post("/auth/logout", {"refresh_token": login["refresh_token"]}).status == 503
    own.start()
    found: list[int] = []

    def refreshed() -> bool:
        answer = gateway.refresh(login["refresh_token"])
        found.append(answer.status)
        return answer.status == 200

    until(refreshed, "a refresh after the database came back")
    assert set(found) <= {200, 503}
    assert gateway.process.poll() is None
    assert gateway.call(gateway.body_login()["access_token"]).status == 200
    assert gateway.call(gone["access_token"]).status == 401
    assert gateway.events("session.refresh_reused") == []
    assert [event["session_id"] for event in gateway.events("session.revoked")] == [gone["session_id"]]


def test_a_log_out_on_one_node_is_in_force_on_the_other_also_after_a_crash(fleet: Fleet, own: PostgresServer) -> None:
    first = served(fleet, own)
    storage = {"database": own.url("served"), "master_key_file": str(fleet.database.with_suffix(".key"))}
    second = fleet.serve("second.yaml", storage=storage, server={"public_url": "https://gateway.test"})
    for crash in (False, True):
        if crash:
            own.stop(signal.SIGKILL)
            own.start()
            until(
                lambda: first.post("/auth/login", {"username": "ada", "password": PASSWORD}).status == 200, "a log-in"
            )
        login = first.body_login()
        assert second.call(login["access_token"]).status == 200
        assert first.post("/auth/logout", {"refresh_token": login["refresh_token"]}).status == 204
        until(lambda: second.call(login["access_token"]).status == 401, "the other node's refusal", seconds=5)  # noqa: B023
        assert second.refresh(login["refresh_token"]).status == 401
