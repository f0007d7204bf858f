"""What happened lately, read from the table of security events."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.telemetry.ports import EventStore, StoredEvent


class EventHistory:
    """Recent security events. An event is here about 200 ms after it happened; the oldest go first."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    async def page(
        self,
        *,
        limit: int,
        after: int = 0,
        since: float = 0.0,
        names: Sequence[str] = (),
        user_id: str | None = None,
    ) -> tuple[StoredEvent, ...]:
        """At most `limit` events in the order they were stored, those behind the number `after`.

        `since` is epoch seconds; without `names` of every kind.
        """
        return await self._store.read_events(after=after, since=since, names=names, user_id=user_id, limit=limit)
