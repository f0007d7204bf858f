"""Numbered SQL files, applied forward only, each in one transaction with its own record."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from gateway.errors import CannotStart
from gateway.stores.migrations import Migration, problem
from gateway.stores.migrations import shipped as migrations_of

_RECORD = """CREATE TABLE IF NOT EXISTS schema_migrations (
    number     INTEGER PRIMARY KEY NOT NULL,
    name       TEXT NOT NULL,
    checksum   TEXT NOT NULL,
    applied_at REAL NOT NULL
)"""


def shipped() -> tuple[Migration, ...]:
    """The migrations of this version, in order."""
    return migrations_of("gateway.stores.sqlite")


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration], *, now: float) -> None:
    """Bring the schema up to the last of `migrations`. Raises `CannotStart` where that would be unsafe."""
    done = _applied(connection)
    if len(done) == len(migrations) and not problem(done, migrations):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        _upgrade(connection, migrations, now)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.rollback()
        raise


def _upgrade(connection: sqlite3.Connection, migrations: Sequence[Migration], now: float) -> None:
    done = _applied(connection)
    if not done and _has_tables(connection):
        raise CannotStart("is a database of some other program")
    if wrong := problem(done, migrations):
        raise CannotStart(wrong)
    connection.execute(_RECORD)
    for migration in migrations[len(done) :]:
        _apply(connection, migration, now)


def _applied(connection: sqlite3.Connection) -> list[tuple[int, str, str]]:
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'schema_migrations'")
    if known.fetchone() is None:
        return []
    return connection.execute("SELECT number, name, checksum FROM schema_migrations ORDER BY number").fetchall()


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' LIMIT 1").fetchone() is not None


def _apply(connection: sqlite3.Connection, migration: Migration, now: float) -> None:
    for statement in _statements(migration.sql):
        connection.execute(statement)
    connection.execute(
        "INSERT INTO schema_migrations (number, name, checksum, applied_at) VALUES (?, ?, ?, ?)",
        (migration.number, migration.name, migration.checksum, now),
    )


def _statements(sql: str) -> Iterator[str]:
    """Split a script: sqlite3's own `executescript` commits behind one's back."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement
