"""Security events in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gateway.stores.memory.database import MemoryDatabase
from gateway.stores.transitions import TRIM_BATCH
from gateway.telemetry.ports import StoredEvent


class MemoryEvents:
    """`EventStore` in memory."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._db = database
        self._events: list[StoredEvent] = []
        self._seq = 0

    async def append_events(self, events: Sequence[StoredEvent]) -> None:
        """Append a batch; `seq` of the input is ignored and given by the store."""
        self._db.open_or_raise()
        for event in events:
            self._seq += 1
            self._events.append(replace(event, seq=self._seq))

    async def read_events(
        self,
        *,
        after: int = 0,
        since: float = 0.0,
        names: Sequence[str] = (),
        user_id: str | None = None,
        limit: int = 1000,
        newest: bool = False,
    ) -> tuple[StoredEvent, ...]:
        """Events in order of `seq`; `newest` takes the last `limit` instead of the first."""
        self._db.open_or_raise()
        found = [
            event
            for event in self._events
            if event.seq > after
            and event.at >= since
            and (not names or event.name in names)
            and (user_id is None or event.user_id == user_id)
        ]
        if newest:
            return tuple(found[max(0, len(found) - limit) :])
        return tuple(found[:limit])

    async def trim_events(self, *, keep: int) -> int:
        """Delete the oldest beyond `keep` rows, at most a few thousand at a time; returns how many went."""
        self._db.open_or_raise()
        excess = min(max(0, len(self._events) - keep), TRIM_BATCH)
        del self._events[:excess]
        return excess
