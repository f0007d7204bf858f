"""What the store costs SQLite: every statement that a port runs goes through an index, on a full, analysed table."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.clock import FrozenClock
from support.stores import POLICY, a_user, log_in

from gateway.credentials.user import User
from gateway.sessions.decision import Outcome
from gateway.sessions.ports import Receipt
from gateway.sessions.session import RevokeReason
from gateway.stores.bundle import Stores
from gateway.stores.sqlite import open_sqlite
from gateway.stores.sqlite.lane import Lane
from gateway.stores.sqlite.sessions import SqliteSessions

ROWS = 5_000
COUNT = f"WITH RECURSIVE count (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < {ROWS})"
# A quarter has ended, all the others are live.
FILL = f"""
INSERT INTO users {COUNT} SELECT 'user-' || n, 'user-' || n, 'user-' || n, NULL, '[]', NULL, 1, 0, 0, 0 FROM count;
INSERT INTO sessions {COUNT} SELECT
    hex(n), 'user-' || (n % 1000), 'cookie', 1, n, n, '[]', 1, 1, 0, 0, n, n, n, n, 3e9 + n, 4e9,
    '', '', 'x', '', '', '', 'x', '', '[]', 0,
    CASE WHEN n % 4 = 0 THEN 1.78e9 + n END, CASE WHEN n % 4 = 0 THEN 'logout' END, '[]' FROM count;
INSERT INTO revocations (kind, key, value, expires_at) {COUNT} SELECT 'session', hex(n), 0, 1e9 + n FROM count;
ANALYZE;
"""


@dataclass
class Traced:
    """A full store and every statement it has run."""

    stores: Stores
    clock: FrozenClock
    user: User
    path: Path
    statements: set[str]

    def whole_tables(self) -> list[str]:
        """What was read from end to end, with the statement; forgets the statements."""
        connection = sqlite3.connect(self.path)
        found = []
        for sql in sorted(self.statements):
            sql = sql.replace("-Inf", "-9e999")  # how an infinite value must be written to be read again
            for *_, detail in connection.execute(f"EXPLAIN QUERY PLAN {sql}"):
                if detail.startswith("SCAN ") and not detail.startswith(("SCAN json_each", "SCAN CONSTANT")):
                    found.append(f"{detail}: {sql}")
        connection.close()
        self.statements.clear()
        return found


@pytest.fixture
async def full(tmp_path: Path) -> AsyncIterator[Traced]:
    clock = FrozenClock()
    stores = await open_sqlite(tmp_path / "gateway.db", clock=clock, busy_timeout=5.0)
    connection = sqlite3.connect(tmp_path / "gateway.db")
    connection.executescript(FILL)
    connection.close()
    user = a_user()
    await stores.users.add(user)
    statements: set[str] = set()

    def trace(sql: str) -> None:
        if sql.startswith(("SELECT", "UPDATE", "DELETE", "INSERT")) and "sqlite_sequence" not in sql:
            statements.add(sql)

    assert isinstance(stores.sessions, SqliteSessions)
    lanes: tuple[Lane, ...] = (stores.sessions._writer, stores.sessions._reader)
    for lane in lanes:
        # Plans of the statements that were prepared before there were statistics are not the ones to look at.
        lane._connection.set_trace_callback(trace)
    yield Traced(stores, clock, user, tmp_path / "gateway.db", statements)
    await stores.database.close()


async def test_refreshes_read_no_whole_table(full: Traced) -> None:
    client = await log_in(full.stores, full.user)
    assert (await client.present(1)).decision.outcome is Outcome.ROTATED
    assert (await client.present(1)).decision.outcome is Outcome.RACE
    await full.stores.sessions.confirm([Receipt(client.sid, 2, full.clock.now(), True, False)])
    full.clock.advance(POLICY.late_window + 1)
    await client.present(2)
    full.clock.advance(POLICY.late_window + 1)
    assert (await client.present(1)).decision.outcome is Outcome.THEFT
    assert len(full.statements) > 8
    assert full.whole_tables() == []


async def test_sessions_of_a_user_are_found_by_an_index(full: Traced) -> None:
    sessions = full.stores.sessions
    client = await log_in(full.stores, full.user)
    assert await sessions.get(client.sid) is not None
    assert await sessions.access_until([client.sid])
    assert await sessions.list_live(full.user.user_id)
    assert len(await sessions.list_live(limit=10, after="3")) == 10
    assert (await sessions.end(client.sid, RevokeReason.LOGOUT)).sessions
    assert (await sessions.end_user("user-7", RevokeReason.ADMIN)).sessions
    assert await sessions.feed(ROWS)
    assert len(full.statements) > 8
    assert full.whole_tables() == []


async def test_cleanup_reads_no_whole_table(full: Traced) -> None:
    sessions = full.stores.sessions
    await log_in(full.stores, full.user)
    full.clock.advance(POLICY.idle_ttl + 1)
    assert len((await sessions.expire(limit=10)).sessions) == 1
    assert await sessions.purge(retention=3600.0, limit=10) == 10
    assert len(full.statements) >= 5
    assert full.whole_tables() == []


async def test_users_are_found_by_an_index(full: Traced) -> None:
    users, user = full.stores.users, full.user
    assert await users.by_id(user.user_id) == user
    assert await users.by_username_key(user.username_key) == user
    assert len(await users.list_users(limit=10, after="user-3")) == 10
    assert await users.upgrade_hash(user.user_id, "old-hash", "new-hash")
    await users.set_password(user.user_id, "newest-hash")
    await users.set_active(user.user_id, False)
    await users.set_roles(user.user_id, ("admin",))
    await users.remove(user.user_id)
    assert len(full.statements) > 8
    assert full.whole_tables() == []
