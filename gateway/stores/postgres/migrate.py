"""Numbered SQL files, applied forward only, all in one transaction that holds a lock: any number of nodes may start."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from gateway.errors import CannotStart
from gateway.stores.migrations import Migration, problem
from gateway.stores.migrations import shipped as migrations_of
from gateway.stores.postgres.driver import Connection

OLDEST_SERVER = (14, 0)
# A migration that another node runs may take a while.
_WAIT_SECONDS = 120
_RECORD = """CREATE TABLE IF NOT EXISTS schema_migrations (
    number     integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)"""
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tablename = ANY($1::text[])"
_OWN = ["users", "sessions", "revocations", "signing_keys", "marks", "events"]
READ_ONLY = "is read-only, perhaps a standby: add target_session_attrs=read-write and every host to the URL"
_FORGETFUL = "has synchronous_commit off, so that a crash could undo a log-out: add synchronous_commit=on to the URL"
_FOREIGN = "holds tables of some other program: give the gateway a database of its own"


@dataclass(frozen=True, slots=True)
class Schema:
    """The server's version as text, how many migrations are applied, and the names of those that are not."""

    server: str
    applied: int
    pending: tuple[str, ...]


def shipped() -> tuple[Migration, ...]:
    """The migrations of this version, in order."""
    return migrations_of("gateway.stores.postgres")


async def migrate(connection: Connection, migrations: Sequence[Migration]) -> None:
    """Bring the schema up to the last of `migrations`. Raises `CannotStart` where that would be unsafe."""
    _check_server(connection)
    async with _transaction(connection):
        if await connection.fetchval("SELECT current_setting('transaction_read_only')") == "on":
            raise CannotStart(READ_ONLY)
        if await connection.fetchval("SELECT current_setting('synchronous_commit')") == "off":
            raise CannotStart(_FORGETFUL)
        done = await _applied(connection)
        if len(done) == len(migrations) and not problem(done, migrations):
            return
        await connection.execute("SELECT pg_advisory_xact_lock(1735349369, 1)", timeout=_WAIT_SECONDS + 5)
        await _upgrade(connection, migrations)


async def inspect(connection: Connection, migrations: Sequence[Migration]) -> Schema:
    """What a start would find and do; nothing is changed. Raises `CannotStart` where it would refuse."""
    _check_server(connection)
    async with _transaction(connection):
        done = await _applied(connection)
        if wrong := await _obstacle(connection, done, migrations):
            raise CannotStart(wrong)
    version = connection.get_server_version()
    pending = tuple(migration.name for migration in migrations[len(done) :])
    return Schema(f"{version.major}.{version.minor}", len(done), pending)


@asynccontextmanager
async def _transaction(connection: Connection) -> AsyncIterator[None]:
    """Everything is in a transaction: behind a pooler a statement outside of one may be torn apart."""
    limits = f"SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '{_WAIT_SECONDS}s'"
    idle = "SET LOCAL idle_in_transaction_session_timeout = 0"
    await connection.execute(f"BEGIN ISOLATION LEVEL READ COMMITTED; {limits}; {idle}")
    try:
        yield
        await connection.execute("COMMIT")
    except BaseException:
        if not connection.is_closed():
            await connection.execute("ROLLBACK")
        raise


async def _upgrade(connection: Connection, migrations: Sequence[Migration]) -> None:
    done = await _applied(connection)
    if wrong := await _obstacle(connection, done, migrations):
        raise CannotStart(wrong)
    await connection.execute(_RECORD)
    for migration in migrations[len(done) :]:
        await connection.execute(migration.sql, timeout=3600)
        await connection.execute(
            "INSERT INTO schema_migrations (number, name, checksum) VALUES ($1, $2, $3)",
            migration.number,
            migration.name,
            migration.checksum,
        )


async def _obstacle(
    connection: Connection, done: Sequence[tuple[int, str, str]], migrations: Sequence[Migration]
) -> str | None:
    if not done and await connection.fetch(_TABLES, _OWN):
        return _FOREIGN
    return problem(done, migrations)


async def _applied(connection: Connection) -> list[tuple[int, str, str]]:
    # Not to_regclass: after waiting for the lock it may still answer from before.
    if not await connection.fetch(_TABLES, ["schema_migrations"]):
        return []
    try:
        rows = await connection.fetch("SELECT number, name, checksum FROM schema_migrations ORDER BY number")
    except asyncpg.UndefinedColumnError:
        raise CannotStart(_FOREIGN) from None
    return [(row[0], row[1], row[2]) for row in rows]


def _check_server(connection: Connection) -> None:
    version = connection.get_server_version()
    if (version.major, version.minor) < OLDEST_SERVER:
        raise CannotStart(f"is PostgreSQL {version.major}.{version.minor}; {OLDEST_SERVER[0]} is the oldest that works")
