"""From a database URL to the stores behind it."""

from __future__ import annotations

from pathlib import Path

from gateway.clock import Clock
from gateway.errors import CannotStart
from gateway.stores.bundle import Stores
from gateway.stores.memory import open_memory
from gateway.stores.sqlite import open_sqlite

_SQLITE = "sqlite:///"


async def open_stores(database_url: str, *, clock: Clock, busy_timeout: float) -> Stores:
    """Open `sqlite:///relative.db`, `sqlite:////absolute.db`, or `memory:` (gone when closed).

    Raises `CannotStart` with one clear line. `busy_timeout` in seconds: the longest a call waits for a lock.
    """
    if database_url == "memory:":
        return open_memory(clock)
    return await open_sqlite(sqlite_path(database_url), clock=clock, busy_timeout=busy_timeout)


def sqlite_path(database_url: str) -> Path:
    """The file a SQLite URL names; the master key lies beside it when none is configured."""
    scheme = database_url.split(":", 1)[0]
    if scheme != "sqlite":
        # The rest of the URL may hold a password.
        raise CannotStart(f"unsupported database URL scheme {scheme!r}; supported: sqlite")
    name = database_url.removeprefix(_SQLITE)
    if name in ("", ":memory:", database_url) or "\0" in name:
        raise CannotStart("the database URL names no file; write sqlite:///gateway.db or sqlite:////var/lib/gateway.db")
    return Path(name)
