"""What the gateway and the command line must agree on: the master key of a store and how long a lock is waited for."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.clock import Clock
from gateway.errors import CannotStart
from gateway.settings.model import Settings
from gateway.stores.bundle import Stores
from gateway.stores.factory import is_postgres, sqlite_path
from gateway.tokens.marks import check_canary
from gateway.tokens.master import KEY_BYTES, MasterKeys


def lock_timeout(settings: Settings) -> float:
    """Seconds a store may wait for a lock: a quarter of the in-flight window, at least one."""
    return max(settings.sessions.in_flight_window / 4, 1.0)


def clock_tolerance(settings: Settings) -> float:
    """Seconds the store's clock may differ from ours: an eighth of the in-flight window, at least half a second."""
    return max(settings.sessions.in_flight_window / 8, 0.5)


async def clock_difference(stores: Stores, clock: Clock) -> float:
    """Seconds by which the store's clock surely differs from `clock`. Raises what the store raises."""
    before = clock.now()
    there = await stores.sessions.now()
    after = clock.now()
    return max(before - there, there - after, 0.0)


def master_key_path(settings: Settings) -> Path | None:
    """Where the master key is; None for a store that is forgotten at exit and so needs no file."""
    if settings.storage.master_key_file is not None:
        return Path(settings.storage.master_key_file)
    if settings.storage.database == "memory:":
        return None
    if is_postgres(settings.storage.database):
        raise CannotStart("storage.master_key_file is needed with PostgreSQL")
    return sqlite_path(settings.storage.database).with_suffix(".key")


async def open_master(settings: Settings, stores: Stores) -> MasterKeys:
    """The master keys of this store. A missing file is made, but never beside a store that knows another key."""
    path = master_key_path(settings)
    if path is None:
        master = MasterKeys({1: os.urandom(KEY_BYTES)})
    elif settings.storage.master_key_file is not None:
        master = MasterKeys.load(path)
    elif not path.exists() and await stores.keys.list_keys():
        raise CannotStart(f"the master key file {path} is missing, and this store was made with it: bring it back")
    else:
        master = MasterKeys.load_or_create(path)
    await check_canary(master, stores.keys)
    return master
