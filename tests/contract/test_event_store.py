"""EventStore: order, filters, and a bounded table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.stores import transitions
from gateway.stores.bundle import Stores
from gateway.telemetry.ports import StoredEvent


def an_event(number: int, name: str = "login.failed", user_id: str | None = "ada") -> StoredEvent:
    return StoredEvent(0, 1000.0 + number, name, "warning", user_id, None, b'{"n": %d}' % number)


async def numbers(stores: Stores, **query: object) -> list[int]:
    found = await stores.events.read_events(**query)  # type: ignore[arg-type]
    return [round(event.at - 1000) for event in found]


@pytest.fixture
async def ten(stores: Stores) -> Stores:
    events = [
        an_event(n, "session.revoked" if n % 3 == 0 else "login.failed", "bob" if n > 6 else None) for n in range(10)
    ]
    await stores.events.append_events(events[:4])
    await stores.events.append_events(events[4:])
    return stores


async def test_events_come_back_in_order_with_their_own_numbers(stores: Stores) -> None:
    given = [replace(an_event(number), seq=77) for number in range(3)]
    await stores.events.append_events([])
    await stores.events.append_events(given)
    found = await stores.events.read_events()
    assert [replace(event, seq=77) for event in found] == given
    assert [event.seq for event in found] == [1, 2, 3]


async def test_the_first_or_the_last(ten: Stores) -> None:
    assert await numbers(ten, limit=3) == [0, 1, 2]
    assert await numbers(ten, limit=3, newest=True) == [7, 8, 9]
    assert await numbers(ten, limit=30, newest=True) == list(range(10))
    assert await numbers(ten, limit=0) == await numbers(ten, limit=0, newest=True) == []


async def test_filters_hold_together(ten: Stores) -> None:
    assert await numbers(ten, since=1007.0) == [7, 8, 9]
    assert await numbers(ten, names=["session.revoked"]) == [0, 3, 6, 9]
    assert await numbers(ten, names=["session.revoked", "other"], user_id="bob") == [9]
    assert await numbers(ten, user_id="bob", limit=1, newest=True) == [9]
    assert await numbers(ten, user_id="nobody") == []


async def test_reading_goes_on_after_a_number(ten: Stores) -> None:
    page = await ten.events.read_events(limit=4)
    assert await numbers(ten, after=page[-1].seq) == [4, 5, 6, 7, 8, 9]


async def test_trimming_keeps_the_newest(ten: Stores) -> None:
    assert await ten.events.trim_events(keep=20) == 0
    assert await ten.events.trim_events(keep=4) == 6
    assert await numbers(ten) == [6, 7, 8, 9]
    await ten.events.append_events([an_event(10)])
    assert await numbers(ten) == [6, 7, 8, 9, 10]
    assert await ten.events.trim_events(keep=0) == 5
    assert await ten.events.trim_events(keep=0) == 0
    await ten.events.append_events([an_event(11)])
    assert [event.seq for event in await ten.events.read_events()] == [12]


async def test_trimming_goes_in_steps(stores: Stores) -> None:
    count = transitions.TRIM_BATCH + 10
    await stores.events.append_events([an_event(number) for number in range(count)])
    assert await stores.events.trim_events(keep=5) == transitions.TRIM_BATCH
    assert await stores.events.trim_events(keep=5) == 5
    assert await stores.events.trim_events(keep=5) == 0
