"""What the store costs PostgreSQL: one statement for a usual refresh, indexes on a full table, updates in place."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from support import postgres
from support.clock import FrozenClock
from support.stores import POLICY, a_user, log_in, open_kind

from gateway.credentials.user import User
from gateway.sessions.decision import Outcome
from gateway.sessions.session import RevokeReason
from gateway.stores.bundle import Stores
from gateway.stores.postgres import feed, sessions, users, writes
from gateway.stores.postgres.codec import read, stored
from gateway.stores.postgres.sessions import PostgresSessions

ROWS = 20_000
FILL = f"""
INSERT INTO users SELECT 'user-' || n, 'user-' || n, 'user-' || n, NULL, '[]', NULL, true, 0, 0, 0
FROM generate_series(1, {ROWS}) n;
INSERT INTO sessions SELECT
    md5(n::text), 'user-' || n % 5000, 'cookie', 1, n, n, '[]', 1, 1, 0, 0, n, n, n, n, 1e9 + n, 2e9,
    '', '', repeat('x', 60), '', '', '', repeat('x', 60), '', '[]', false,
    CASE WHEN n % 4 = 0 THEN n END, CASE WHEN n % 4 = 0 THEN 'logout' END, '{{}}', '{{}}', 1e9 + n
FROM generate_series(1, {ROWS}) n;
INSERT INTO revocations (kind, key, value, expires_at)
SELECT 'session', md5(n::text), 0, n FROM generate_series(1, {ROWS}) n;
ANALYZE;
"""
THEFTS = (
    "SELECT EXISTS (SELECT FROM sessions t WHERE t.user_id = $1 AND t.revoke_reason = 'reuse'"
    " AND t.revoked_at > $2 AND t.sid <> $3)"
)
STATEMENTS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "get": (sessions.GET, ("x",)),
    "lock session": (writes._LOCK_SESSION, ("x",)),
    "lock unended": (writes._LOCK_UNENDED, ("user-7",)),
    "end": (writes._END, (1.0, ["a", "b"], ["logout", "logout"])),
    "access until": (sessions.ACCESS_UNTIL, (1.0, ["a", "b"])),
    "live of user": (sessions.LIVE_OF_USER, (1.0, "user-7", 100)),
    "live of all": (sessions.LIVE_OF_ALL, (1.0, "8", 100)),
    "over": (sessions.OVER, (1e9 + 100, 100)),
    "look later": (sessions.LOOK_LATER, (1e9 + 100, 100)),
    "confirm": (sessions.CONFIRM, (["a"], [1], [1.0], [True], [False])),
    "purge": (sessions.PURGE, (50.0, 50.0, 100)),
    "purge feed": (sessions.PURGE_FEED, (50.0, 100)),
    "feed": (sessions.FEED, (1.0, ROWS - 10)),
    "head of the feed": (feed.HEAD, ()),
    "user by id": (users.BY_ID, ("x",)),
    "user by name": (users.BY_KEY, ("x",)),
    "users": (users.LIST, ("user-7", 100)),
    "thefts": (THEFTS, ("user-7", 1.0, "x")),
}


@pytest.fixture(scope="module")
def full() -> str:
    """A database with many rows; tests must leave it as it is."""

    async def make() -> str:
        url = await postgres.server().make("full")
        from gateway.stores.postgres import open_postgres

        await (await open_postgres(url, clock=FrozenClock(), busy_timeout=5.0)).database.close()
        connection = await asyncpg.connect(url)
        await connection.execute(FILL)
        await connection.close()
        return url

    return asyncio.run(make())


@pytest.mark.parametrize("name", STATEMENTS)
async def test_no_statement_reads_a_whole_table(full: str, name: str) -> None:
    sql, values = STATEMENTS[name]
    connection = await asyncpg.connect(full)
    transaction = connection.transaction()
    await transaction.start()
    plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN (ANALYZE, COSTS OFF) {sql}", *values))
    await transaction.rollback()
    await connection.close()
    assert "Index" in plan, plan
    for table in ("sessions", "users", "revocations"):
        assert f"Seq Scan on {table}" not in plan, plan


@pytest.mark.parametrize(
    "sql", [sessions.OVER, sessions.LOOK_LATER, sessions.PURGE], ids=["over", "look later", "purge"]
)
async def test_a_batch_of_cleanup_reads_no_more_than_itself_however_much_is_due(full: str, sql: str) -> None:
    now, limit = 1.5e9, 100
    connection = await asyncpg.connect(full)
    transaction = connection.transaction()
    await transaction.start()
    values = (now, now, limit) if sql is sessions.PURGE else (now, limit)
    plan = json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *values))
    await transaction.rollback()
    await connection.close()
    assert max(_rows(plan[0]["Plan"])) <= 2 * limit, json.dumps(plan, indent=1)


def _rows(node: dict[str, Any]) -> Iterator[float]:
    yield (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
    for part in node.get("Plans", ()):
        yield from _rows(part)


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[Stores]:
    made = await open_kind("postgres", tmp_path, FrozenClock())
    yield made
    await made.database.close()


@pytest.fixture
async def user(stores: Stores) -> User:
    ada = a_user()
    await stores.users.add(ada)
    return ada


async def test_rotations_write_no_index(stores: Stores, user: User) -> None:
    client = await log_in(stores, user)
    for generation in range(1, 41):
        await client.present(generation)
        await stores.users.by_id(user.user_id)
    admin = await postgres.server().connect()
    changes: asyncpg.Record | None = None
    async with asyncio.timeout(10):
        while changes is None or changes[0] < 40:
            # Backends tell of their changes when they have been idle for a while.
            await stores.users.by_id(user.user_id)
            await admin.execute("SELECT pg_stat_clear_snapshot()")
            changes = await admin.fetchrow(
                "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'sessions'"
            )
            await asyncio.sleep(0.05)
    await admin.close()
    assert changes is not None
    assert changes[1] / changes[0] > 0.9


class Counted:
    """Counts what goes to the server, by connection and kind."""

    def __init__(self, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
        self.statements: list[str] = []
        for name in ("execute", "fetch", "fetchrow", "fetchval"):
            monkeypatch.setattr(asyncpg.Connection, name, self._counting(getattr(asyncpg.Connection, name)))

    def _counting(self, real: Any) -> Any:
        async def counted(connection: Any, sql: str, *values: object, **options: Any) -> Any:
            self.statements.append(sql)
            return await real(connection, sql, *values, **options)

        return counted

    def take(self) -> int:
        count = len(self.statements)
        self.statements.clear()
        return count


async def test_one_statement_for_what_happens_every_day(
    stores: Stores, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, ended = await log_in(stores, user), await log_in(stores, user)
    await stores.sessions.end(ended.sid, RevokeReason.LOGOUT)
    counted = Counted(stores, monkeypatch)
    for present, outcome in (
        (client.present(1), Outcome.ROTATED),
        (client.present(1), Outcome.RACE),
        (client.present(2), Outcome.ROTATED),
        (client.present(1), Outcome.SUPERSEDED),
        (ended.present(1), Outcome.DEAD),
    ):
        assert (await present).decision.outcome is outcome
        assert counted.take() == 1


async def test_a_retry_takes_a_transaction(stores: Stores, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(stores.sessions, PostgresSessions)
    client = await log_in(stores, user)
    await client.present(1)
    clock = stores.sessions._wall
    assert isinstance(clock, FrozenClock)
    clock.advance(POLICY.in_flight_window + 1)
    counted = Counted(stores, monkeypatch)
    assert (await client.present(1)).decision.outcome is Outcome.RETRY
    assert counted.take() == 6  # tried, BEGIN, locked, written, fed, COMMIT


async def test_a_rotation_the_rule_does_not_confirm_is_not_answered(
    stores: Stores, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gateway.errors import StoreUnavailable
    from gateway.stores.postgres.rotation import Answer

    client = await log_in(stores, user)
    monkeypatch.setattr(Answer, "agrees", lambda *_: False)
    with pytest.raises(StoreUnavailable):
        await client.present(1)
    monkeypatch.undo()
    assert (await client.present(1)).decision.outcome is Outcome.RACE


async def test_cleanup_finds_every_session_that_moved_its_end(stores: Stores, user: User) -> None:
    """`look_at` lags behind rotations; whoever was refreshed is looked at again when it would end."""
    assert isinstance(stores.sessions, PostgresSessions)
    clock = stores.sessions._wall
    assert isinstance(clock, FrozenClock)
    client = await log_in(stores, user)
    clock.advance(3600)
    await client.present(1)
    clock.advance(POLICY.idle_ttl - 1800)
    assert (await stores.sessions.expire(limit=10)).sessions == ()
    clock.advance(1800)
    assert [s.sid for s in (await stores.sessions.expire(limit=10)).sessions] == [client.sid]


@pytest.mark.parametrize("text", ["", "plain", "\0", "\x01", "\x010", "\x01\0\x011", "a\0b", "☃"])
def test_text_that_no_column_holds_comes_back(text: str) -> None:
    assert read(stored(text)) == text
    assert "\0" not in stored(text)


def test_different_texts_stay_different() -> None:
    texts = ["\0", "\x01", "\x010", "\x011", "\x01\0", "0", "1"]
    assert len({stored(text) for text in texts}) == len(texts)


async def test_odd_names_are_nobodys(stores: Stores, user: User) -> None:
    for text in ("\0", "ada\0", "\x01"):
        assert await stores.users.by_username_key(text) is None
        assert await stores.users.by_id(text) is None
        assert await stores.sessions.get(text) is None
        assert (await stores.sessions.end(text, RevokeReason.LOGOUT)).sessions == ()
        assert await stores.sessions.list_live(text) == ()
        assert await stores.events.read_events(user_id=text) == ()
