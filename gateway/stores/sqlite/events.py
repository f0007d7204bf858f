"""Security events in SQLite."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.stores.sqlite.lane import Reader, Transaction
from gateway.stores.sqlite.writer import Writer
from gateway.stores.transitions import TRIM_BATCH
from gateway.telemetry.ports import StoredEvent

_INSERT = "INSERT INTO events (at, name, level, user_id, session_id, document) VALUES (?, ?, ?, ?, ?, ?)"


class SqliteEvents:
    """`EventStore` on one SQLite file."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def append_events(self, events: Sequence[StoredEvent]) -> None:
        """Append a batch; `seq` of the input is ignored and given by the store."""
        if not events:
            return
        rows = [(e.at, e.name, e.level, e.user_id, e.session_id, e.document) for e in events]
        await self._writer.run(lambda transaction: transaction.execute_all(_INSERT, rows))

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
        conditions, values = ["seq > ?", "at >= ?"], [after, since, *names]
        if names:
            conditions.append(f"name IN ({', '.join('?' * len(names))})")
        if user_id is not None:
            conditions.append("user_id = ?")
            values.append(user_id)
        query = (
            "SELECT seq, at, name, level, user_id, session_id, document FROM events"  # noqa: S608
            f" WHERE {' AND '.join(conditions)} ORDER BY seq {'DESC' if newest else 'ASC'} LIMIT ?"
        )
        rows = await self._reader.run(lambda transaction: transaction.execute(query, (*values, limit)).fetchall())
        return tuple(StoredEvent(*row) for row in (reversed(rows) if newest else rows))

    async def trim_events(self, *, keep: int) -> int:
        """Delete the oldest beyond `keep` rows, at most a few thousand at a time; returns how many went."""

        def work(transaction: Transaction) -> int:
            # Only the oldest ever go and numbers have no gaps, so the ends of the table tell its length.
            first, last = transaction.execute("SELECT min(seq), max(seq) FROM events").fetchone()
            if first is None:
                return 0
            upto = min(last - keep, first + TRIM_BATCH - 1)
            return transaction.execute("DELETE FROM events WHERE seq <= ?", (upto,)).rowcount

        return await self._writer.run(work)
