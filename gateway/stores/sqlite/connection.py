"""Opening the database file: created private, in WAL mode, migrated; or one clear sentence why not."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gateway.errors import CannotStart
from gateway.stores.sqlite.migrate import migrate, shipped

T = TypeVar("T")

_REASONS = {
    "SQLITE_NOTADB": "is not a SQLite database",
    "SQLITE_CORRUPT": "is damaged",
    "SQLITE_CANTOPEN": "cannot be opened",
    "SQLITE_READONLY": "cannot be written",
    "SQLITE_PERM": "cannot be opened: permission denied",
    "SQLITE_FULL": "cannot be written: the disk is full",
    "SQLITE_BUSY": "is locked by another process",
    "SQLITE_IOERR": "cannot be read or written: input/output error",
}


def open_writer(path: Path, *, busy_timeout: float, now: float) -> sqlite3.Connection:
    """The writing connection of an up-to-date database at `path`, created with mode 0600 when absent."""
    return _explained(path, lambda: _writer(path, busy_timeout, now))


def open_reader(path: Path, *, busy_timeout: float) -> sqlite3.Connection:
    """A connection that can only read."""
    return _explained(path, lambda: _reader(path, busy_timeout))


def _writer(path: Path, busy_timeout: float, now: float) -> sqlite3.Connection:
    _create_private(path)
    connection = _connect(path, busy_timeout)
    try:
        _enter_wal(connection, busy_timeout)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -16000")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        migrate(connection, shipped(), now=now)
    except BaseException:
        connection.close()
        raise
    return connection


def _reader(path: Path, busy_timeout: float) -> sqlite3.Connection:
    connection = _connect(path, busy_timeout)
    try:
        connection.execute("PRAGMA query_only = 1")
        connection.execute("PRAGMA data_version").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: Path, busy_timeout: float) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=busy_timeout,
        isolation_level=None,
        check_same_thread=False,
    )


def _create_private(path: Path) -> None:
    """SQLite gives -wal and -shm the mode of the database, so only this one must be right."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return


def _enter_wal(connection: sqlite3.Connection, busy_timeout: float) -> None:
    """Switch to WAL. Several processes starting at once meet a lock that SQLite's own time limit does not cover."""
    give_up = time.monotonic() + busy_timeout
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > give_up:
                raise
            time.sleep(0.01)
        else:
            break
    if mode != "wal":
        raise CannotStart("lies on a file system without shared memory, which write-ahead logging needs")


def _explained(path: Path, opening: Callable[[], T]) -> T:
    try:
        return opening()
    except CannotStart as error:
        raise CannotStart(f"the database {path} {error.detail}") from error
    except OSError as error:
        raise CannotStart(f"the database {path} cannot be opened: {error.strerror or error}") from error
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        reason = next(
            (text for prefix, text in _REASONS.items() if name.startswith(prefix)), f"cannot be used: {error}"
        )
        raise CannotStart(f"the database {path} {reason}") from error
