"""Calls to a store are timed, whatever they do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.clock import FrozenClock

from gateway.errors import StoreBusy
from gateway.stores.memory import open_memory
from gateway.stores.timed import timed


class Busy:
    """A port whose only call fails."""

    limit = 5

    async def get(self, sid: str) -> None:
        raise StoreBusy


async def test_calls_are_told_with_their_result() -> None:
    told: list[tuple[str, bool]] = []

    def observe(operation: str, seconds: float, *, failed: bool) -> None:
        assert seconds >= 0
        told.append((operation, failed))

    memory = open_memory(FrozenClock())
    stores = timed(memory, observe)
    assert await stores.sessions.get("nobody") is None
    assert await stores.sessions.get("nobody") is None
    await stores.sessions.feed_changed(0.0)
    broken: Any = timed(replace(memory, sessions=Busy()), observe).sessions  # type: ignore[arg-type]
    assert broken.limit == 5
    with pytest.raises(StoreBusy):
        await broken.get("x")
    assert told == [("sessions.get", False), ("sessions.get", False), ("sessions.get", True)]
