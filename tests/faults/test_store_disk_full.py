"""A full disk: refused in words the gateway knows, nothing lost, and well again when there is room."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.clock import FrozenClock
from support.stores import Client, a_user, log_in, open_kind

from gateway.errors import StoreUnavailable
from gateway.sessions.decision import Outcome
from gateway.sessions.session import RevokeReason
from gateway.stores.bundle import Stores
from gateway.stores.sqlite.sessions import SqliteSessions

NO_LIMIT = 2**30


async def allow_pages(stores: Stores, count: int | None) -> None:
    """Let the file grow to `count` pages; None: not at all from here."""
    assert isinstance(stores.sessions, SqliteSessions)
    writer = stores.sessions._writer
    if count is None:
        count = await writer.run(lambda t: t.execute("PRAGMA page_count").fetchone()[0])
    await writer.run(lambda t: t.execute(f"PRAGMA max_page_count = {count}").fetchone())


async def fill(stores: Stores, clients: list[Client]) -> None:
    user = await stores.users.by_username_key("ada")
    assert user is not None
    with pytest.raises(StoreUnavailable):
        for _ in range(1000):
            client = await log_in(stores, user)
            clients.append(client)


async def test_nothing_is_lost_and_it_recovers(tmp_path: Path) -> None:
    clock = FrozenClock()
    stores = await open_kind("sqlite", tmp_path, clock)
    user = a_user()
    await stores.users.add(user)
    clients = [await log_in(stores, user)]
    await allow_pages(stores, None)
    await fill(stores, clients)
    # What needs no room goes on: refreshes rewrite their row.
    assert (await clients[0].present(1)).decision.outcome is Outcome.ROTATED
    assert {session.sid for session in await stores.sessions.list_live()} == {client.sid for client in clients[-50:]}
    await stores.database.close()

    clients[0].stores = stores = await open_kind("sqlite", tmp_path, clock)
    assert {session.sid for session in await stores.sessions.list_live()} == {client.sid for client in clients[-50:]}
    await allow_pages(stores, None)
    await fill(stores, clients)
    await allow_pages(stores, NO_LIMIT)
    client = await log_in(stores, user)
    assert (await client.present(1)).decision.outcome is Outcome.ROTATED
    assert [s.sid for s in (await stores.sessions.end(client.sid, RevokeReason.LOGOUT)).sessions] == [client.sid]
    await stores.database.close()
