"""From a database URL to the stores behind it."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from gateway.clock import Clock
from gateway.errors import CannotStart
from gateway.stores.bundle import Stores
from gateway.stores.memory import open_memory
from gateway.stores.sqlite import open_sqlite

if TYPE_CHECKING:
    from gateway.stores.redis.client import RedisClient

_SQLITE = "sqlite:///"


async def open_stores(database_url: str, *, clock: Clock, busy_timeout: float, pool: int = 10) -> Stores:
    """Open `sqlite:///relative.db`, `sqlite:////absolute.db`, `postgresql://...`, or `memory:` (gone when closed).

    Raises `CannotStart` with one clear line. `busy_timeout` in seconds: the longest a call waits for a lock. `pool`:
    the most connections to a PostgreSQL, whose clock is then the store's.
    """
    if database_url == "memory:":
        return open_memory(clock)
    if is_postgres(database_url):
        stores: Stores = await _postgres().open_postgres(
            database_url, clock=clock, busy_timeout=busy_timeout, pool=pool
        )
        return stores
    return await open_sqlite(sqlite_path(database_url), clock=clock, busy_timeout=busy_timeout)


async def examine(database_url: str) -> str:
    """What to call the database, for one that is there and up to date. Nothing is made; raises `CannotStart`."""
    if database_url == "memory:":
        return "memory"
    if is_postgres(database_url):
        label, schema = await _postgres().examine_postgres(database_url)
        if schema.pending:
            names = ", ".join(schema.pending)
            raise CannotStart(f"the database {label} lacks {names}: `gateway serve` applies it when it starts")
        return f"{label}, PostgreSQL {schema.server}, schema {schema.applied}"
    path = sqlite_path(database_url)
    if not path.exists():
        raise CannotStart(f"the database {path.absolute()} does not exist: `gateway serve` makes it when it starts")
    return str(path)


def is_postgres(database_url: str) -> bool:
    """Whether the URL is one of a PostgreSQL database."""
    return re.match(r"postgres(?:ql)?://", database_url) is not None


def sqlite_path(database_url: str) -> Path:
    """The file a SQLite URL names; the master key lies beside it when none is configured."""
    scheme = database_url.split(":", 1)[0]
    if scheme != "sqlite":
        # The rest of the URL may hold a password.
        raise CannotStart(f"unsupported database URL scheme {scheme!r}; supported: sqlite, postgresql")
    name = database_url.removeprefix(_SQLITE)
    if name in ("", ":memory:", database_url) or "\0" in name:
        raise CannotStart("the database URL names no file; write sqlite:///gateway.db or sqlite:////var/lib/gateway.db")
    return Path(name)


def _postgres() -> ModuleType:
    """The adapter; its driver is an optional dependency."""
    try:
        from gateway.stores import postgres
    except ModuleNotFoundError as error:
        raise CannotStart(
            "PostgreSQL needs a package that is not installed: pip install 'auth-gateway[postgres]'"
        ) from error
    return postgres


def open_redis(url: str, *, ca_file: str | None = None) -> RedisClient:
    """A client for Redis, which connects when first used; the driver is an optional dependency.

    Raises `CannotStart` with one clear line.
    """
    try:
        from gateway.stores.redis import client
    except ModuleNotFoundError as error:
        raise CannotStart("Redis needs a package that is not installed: pip install 'auth-gateway[redis]'") from error
    return client.open_redis(url, ca_file=ca_file)
