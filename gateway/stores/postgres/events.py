"""Security events in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.stores.postgres.codec import stored
from gateway.stores.postgres.work import Transaction, Work
from gateway.stores.transitions import TRIM_BATCH
from gateway.telemetry.ports import StoredEvent

_COLUMNS = "at, name, level, user_id, session_id, document"
# One at a time, so that whoever reads on from a number misses nothing that is committed later.
_INSERT = (
    f"WITH held AS MATERIALIZED (SELECT pg_advisory_xact_lock(1735349369, 4)) INSERT INTO events ({_COLUMNS})"  # noqa: S608
    f" SELECT {_COLUMNS} FROM held, unnest($1::float8[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[])"
    f" WITH ORDINALITY AS e ({_COLUMNS}, n) ORDER BY n"
)
# The newest of those that are too many; looked for only when the numbers allow that there are any.
_OLDEST_KEPT = "SELECT seq FROM events ORDER BY seq DESC OFFSET $1 LIMIT 1"
_TRIM = (
    "DELETE FROM events WHERE seq = ANY(ARRAY("
    "SELECT seq FROM events WHERE seq <= $1 ORDER BY seq LIMIT $2)) RETURNING 1"
)


class PostgresEvents:
    """`EventStore` on PostgreSQL."""

    def __init__(self, work: Work) -> None:
        self._work = work

    async def append_events(self, events: Sequence[StoredEvent]) -> None:
        """Append a batch; `seq` of the input is ignored and given by the store."""
        if not events:
            return
        await self._work.row(
            _INSERT,
            [event.at for event in events],
            [event.name for event in events],
            [event.level for event in events],
            [_stored(event.user_id) for event in events],
            [_stored(event.session_id) for event in events],
            [event.document for event in events],
        )

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
        conditions = ["seq > $1", "at >= $2"]
        values: list[object] = [after, since, limit]
        if names:
            values.append(list(names))
            conditions.append(f"name = ANY(${len(values)}::text[])")
        if user_id is not None:
            values.append(stored(user_id))
            conditions.append(f"user_id = ${len(values)}")
        query = (
            f"SELECT seq, {_COLUMNS} FROM events WHERE {' AND '.join(conditions)}"  # noqa: S608
            f" ORDER BY seq {'DESC' if newest else 'ASC'} LIMIT $3"
        )
        rows = await self._work.rows(query, *values)
        return tuple(StoredEvent(*row) for row in (reversed(rows) if newest else rows))

    async def trim_events(self, *, keep: int) -> int:
        """Delete the oldest beyond `keep` rows, at most a few thousand at a time; returns how many went."""

        async def work(transaction: Transaction) -> int:
            first, last = await transaction.fetchrow("SELECT min(seq), max(seq) FROM events") or (None, None)
            if first is None or last - first < keep:
                return 0
            upto = await transaction.fetchval(_OLDEST_KEPT, keep)
            return 0 if upto is None else len(await transaction.fetch(_TRIM, upto, TRIM_BATCH))

        return await self._work.run(work)


def _stored(text: str | None) -> str | None:
    return stored(text) if text is not None else None
