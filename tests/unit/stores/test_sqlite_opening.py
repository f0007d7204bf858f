"""Opening a SQLite store: private files, migrations, and one clear sentence when it cannot be used."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.clock import FrozenClock
from support.stores import a_user

from gateway.errors import CannotStart
from gateway.stores.factory import open_stores, sqlite_path
from gateway.stores.sqlite import connection, open_sqlite
from gateway.stores.sqlite.migrate import Migration, migrate, shipped

ADD_COLUMN = Migration(
    2, "0002_more.sql", "-- one; two\nALTER TABLE users ADD COLUMN phone TEXT;\nCREATE TABLE more (x)"
)
BROKEN = Migration(2, "0002_broken.sql", "CREATE TABLE half (x);\nCREATE TABLE half (x);\n")


async def refused(path: Path) -> str:
    with pytest.raises(CannotStart) as caught:
        await open_sqlite(path, clock=FrozenClock(), busy_timeout=0.1)
    return str(caught.value)


def database(path: Path, migrations: Sequence[Migration]) -> sqlite3.Connection:
    connected = sqlite3.connect(path, isolation_level=None)
    try:
        migrate(connected, migrations, now=1.0)
    except BaseException:
        connected.close()
        raise
    return connected


async def test_files_are_private(tmp_path: Path) -> None:
    stores = await open_sqlite(tmp_path / "gateway.db", clock=FrozenClock(), busy_timeout=1.0)
    await stores.users.add(a_user())
    files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    await stores.database.close()
    assert files == dict.fromkeys(("gateway.db", "gateway.db-wal", "gateway.db-shm"), 0o600)
    assert [file.name for file in tmp_path.iterdir()] == ["gateway.db"]


async def test_an_existing_files_mode_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    path.touch(0o640)
    path.chmod(0o640)
    stores = await open_sqlite(path, clock=FrozenClock(), busy_timeout=1.0)
    await stores.database.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


async def test_commits_are_durable(tmp_path: Path) -> None:
    writer = connection.open_writer(tmp_path / "gateway.db", busy_timeout=1.0, now=0.0)
    try:
        pragmas = [writer.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    finally:
        writer.close()
    assert pragmas == ["wal", 2]


async def test_a_reader_cannot_write(tmp_path: Path) -> None:
    connection.open_writer(tmp_path / "gateway.db", busy_timeout=1.0, now=0.0).close()
    reader = connection.open_reader(tmp_path / "gateway.db", busy_timeout=1.0)
    try:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.execute("DELETE FROM users")
    finally:
        reader.close()


async def test_urls(tmp_path: Path) -> None:
    assert sqlite_path("sqlite:///gateway.db") == Path("gateway.db")
    assert sqlite_path("sqlite:////var/lib/gateway.db") == Path("/var/lib/gateway.db")
    for url in (f"sqlite:///{tmp_path}/odd name %20?#.db", "memory:"):
        stores = await open_stores(url, clock=FrozenClock(), busy_timeout=1.0)
        await stores.users.add(a_user())
        await stores.database.close()
    assert [file.name for file in tmp_path.iterdir()] == ["odd name %20?#.db"]


@pytest.mark.parametrize("url", ["mysql://gateway:hunter2@db/gateway", "postgresql+x://u:hunter2@h", "gateway.db", ""])
async def test_other_schemes_are_refused_without_their_secrets(url: str) -> None:
    with pytest.raises(CannotStart, match=r"unsupported database URL scheme .*; supported: sqlite, post") as caught:
        await open_stores(url, clock=FrozenClock(), busy_timeout=1.0)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["sqlite:///", "sqlite:///:memory:", "sqlite:///a\0b", "sqlite:", "sqlite://gateway.db"]
)
async def test_a_url_names_a_file(url: str) -> None:
    with pytest.raises(CannotStart, match="names no file"):
        await open_stores(url, clock=FrozenClock(), busy_timeout=1.0)


async def test_a_missing_folder(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "gateway.db"
    assert await refused(path) == f"the database {path} cannot be opened: No such file or directory"


async def test_a_folder_in_its_place(tmp_path: Path) -> None:
    assert await refused(tmp_path) == f"the database {tmp_path} cannot be opened"


async def test_something_else_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    path.write_bytes(b"#!/bin/sh\n" * 1000)
    assert await refused(path) == f"the database {path} is not a SQLite database"
    assert path.read_bytes() == b"#!/bin/sh\n" * 1000


async def test_a_damaged_database(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    connection.open_writer(path, busy_timeout=1.0, now=0.0).close()
    content = bytearray(path.read_bytes())
    content[100:4096] = b"\xff" * 3996
    path.write_bytes(content)
    assert await refused(path) == f"the database {path} is damaged"


async def test_another_programs_database(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE users (name)")
    other.close()
    assert await refused(path) == f"the database {path} is a database of some other program"


async def test_a_locked_database(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN EXCLUSIVE")
        other.execute("CREATE TABLE held (x)")
        assert await refused(path) == f"the database {path} is locked by another process"
    finally:
        other.close()


async def test_a_reader_that_fails_leaves_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path, patience: float) -> sqlite3.Connection:
        raise sqlite3.OperationalError("no reader")

    monkeypatch.setattr(connection, "_reader", fails)
    assert "cannot be used: no reader" in await refused(tmp_path / "gateway.db")
    assert not (tmp_path / "gateway.db-wal").exists()


async def test_a_reader_that_cannot_read_is_closed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "gateway.db"
    opened: list[sqlite3.Connection] = []

    def broken(_path: Path, _patience: float) -> sqlite3.Connection:
        path.write_bytes(b"not a database" * 100)
        opened.append(sqlite3.connect(path, isolation_level=None))
        return opened[0]

    monkeypatch.setattr(connection, "_connect", broken)
    with pytest.raises(CannotStart, match="is not a SQLite database"):
        connection.open_reader(path, busy_timeout=0.1)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")


async def test_no_wal_no_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_memory(path: Path, patience: float) -> sqlite3.Connection:
        return sqlite3.connect(":memory:", isolation_level=None)

    monkeypatch.setattr(connection, "_connect", in_memory)
    assert "without shared memory" in await refused(tmp_path / "gateway.db")


async def test_many_that_start_at_once(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"

    def start() -> int:
        opened = connection.open_writer(path, busy_timeout=5.0, now=0.0)
        try:
            count: int = opened.execute("SELECT count(*) FROM schema_migrations").fetchone()[0]
        finally:
            opened.close()
        return count

    assert await asyncio.gather(*(asyncio.to_thread(start) for _ in range(8))) == [len(shipped())] * 8


def test_migrations_are_numbered_without_gaps() -> None:
    assert [migration.number for migration in shipped()] == list(range(1, len(shipped()) + 1))


def test_migrations_go_forward_once(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    database(path, shipped()).close()
    later = (*shipped()[:1], ADD_COLUMN)
    for _ in range(2):
        connected = database(path, later)
        rows = connected.execute("SELECT number, name, checksum FROM schema_migrations").fetchall()
        columns = [row[1] for row in connected.execute("PRAGMA table_info(users)")]
        connected.close()
        assert rows == [(migration.number, migration.name, migration.checksum) for migration in later]
        assert columns.count("phone") == 1


def test_a_broken_migration_leaves_the_old_schema(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    database(path, shipped()).close()
    with pytest.raises(sqlite3.OperationalError):
        database(path, (*shipped(), BROKEN))
    connected = database(path, shipped())
    names = [row[0] for row in connected.execute("SELECT name FROM sqlite_master WHERE name = 'half'")]
    connected.close()
    assert names == []


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    database(
        path, (*shipped(), *(Migration(number, f"{number}.sql", "") for number in range(len(shipped()) + 1, 99)))
    ).close()
    assert "has schema 98, newer than this version of the gateway knows" in await refused(path)


async def test_an_edited_migration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    first = shipped()[0]
    database(path, (Migration(1, first.name, first.sql + "\n-- edited\n"), *shipped()[1:])).close()
    assert "its checksum is not the one of 0001_initial.sql" in await refused(path)


async def test_a_copy_of_the_files_opens(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    stores = await open_sqlite(tmp_path / "a" / "gateway.db", clock=FrozenClock(), busy_timeout=1.0)
    user = a_user()
    await stores.users.add(user)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    await stores.database.close()
    copy = await open_sqlite(tmp_path / "b" / "gateway.db", clock=FrozenClock(), busy_timeout=1.0)
    assert await copy.users.list_users() == (user,)
    await copy.database.close()
