"""What readiness asks of the store beside whether it answers."""

from __future__ import annotations

import pytest
from support.clock import FrozenClock

from gateway.app import open_gateway
from gateway.errors import StoreUnavailable
from gateway.settings.loader import load
from gateway.stores.memory.sessions import MemorySessions

SETTINGS = load(None, {}, {"storage.database": "memory:", "sessions.in_flight_window": "20s"}).settings


@pytest.mark.parametrize(("apart", "ready"), [(0.0, True), (2.5, True), (-2.5, True), (2.6, False), (-3600.0, False)])
async def test_clocks_that_differ_by_an_eighth_of_the_window_are_not_ready(
    monkeypatch: pytest.MonkeyPatch, apart: float, ready: bool
) -> None:
    clock = FrozenClock()

    async def now(_: MemorySessions) -> float:
        return clock.now() + apart

    monkeypatch.setattr(MemorySessions, "now", now)
    async with open_gateway(SETTINGS, clock) as gateway:
        found = await gateway.checks()
    assert found["database"] is None
    assert (found["clock"] is None) is ready


async def test_a_store_that_does_not_answer_has_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_gateway(SETTINGS, FrozenClock()) as gateway:

        async def now(_: MemorySessions) -> float:
            raise StoreUnavailable(debug="gone")

        monkeypatch.setattr(MemorySessions, "now", now)
        found = await gateway.checks()
    assert (found["clock"], found["database"]) == ("gone", None)
