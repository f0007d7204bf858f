"""Database: ready until it is closed, and then it says so."""

from __future__ import annotations

import pytest
from support.stores import a_session, a_user

from gateway.errors import StoreUnavailable
from gateway.sessions.session import RevokeReason
from gateway.stores.bundle import Stores


async def test_a_store_in_use_answers_a_ping(stores: Stores) -> None:
    assert await stores.database.ping() is None
    await stores.keys.put_mark("incarnation", b"one")
    assert await stores.database.ping() is None
    assert await stores.keys.get_mark("incarnation") == b"one"


async def test_a_closed_store_refuses_everything(stores: Stores) -> None:
    await stores.database.close()
    await stores.database.close()
    calls = (
        stores.database.ping(),
        stores.users.add(a_user()),
        stores.sessions.create(a_session("user", 0.0), user_epoch=0, max_per_user=1),
        stores.sessions.end("sid", RevokeReason.LOGOUT),
        stores.sessions.feed(0),
        stores.sessions.feed_changed(30),
        stores.keys.list_keys(),
        stores.events.read_events(),
    )
    for call in calls:
        with pytest.raises(StoreUnavailable):
            await call
