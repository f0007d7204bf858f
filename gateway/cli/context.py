"""What commands share: finding the configuration, and opening the deployment it describes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gateway.clock import Clock, SystemClock
from gateway.errors import CannotStart
from gateway.settings.loader import Loaded, load
from gateway.settings.model import Settings

if TYPE_CHECKING:
    from gateway.credentials.hasher import PasswordHasher
    from gateway.credentials.users import UserService
    from gateway.sessions.ports import Ended
    from gateway.stores.bundle import Stores
    from gateway.telemetry.events import EventLog
    from gateway.tokens.key_service import KeyService
    from gateway.tokens.master import MasterKeys

CONFIG_VARIABLE = "GATEWAY_CONFIG"
_DEFAULT_FILE = Path("gateway.yaml")

T = TypeVar("T")

config_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=True),
    metavar="PATH",
    help=f"YAML file. Otherwise ${CONFIG_VARIABLE}, else ./gateway.yaml, else the defaults.",
)


def find_config(flag: Path | None, env: Mapping[str, str] = os.environ) -> Path | None:
    """The file to read: flag, else `GATEWAY_CONFIG`, else `./gateway.yaml` when it is there, else none."""
    if flag is not None:
        return flag
    if env.get(CONFIG_VARIABLE):
        return Path(env[CONFIG_VARIABLE])
    return _DEFAULT_FILE if _DEFAULT_FILE.exists() else None


def load_settings(config_path: Path | None, overrides: Mapping[str, object] | None = None) -> Loaded:
    """The configuration in force for a command; warnings go to stderr. Raises `ConfigError` or `CannotStart`."""
    loaded = load(find_config(config_path), os.environ, overrides)
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    return loaded


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run one coroutine to its end, as every command that opens a deployment does."""
    return asyncio.run(work)


def master_key_path(settings: Settings) -> Path | None:
    """Where the master key is; None for a store that is forgotten at exit and so needs no file."""
    from gateway.stores.factory import sqlite_path

    if settings.storage.master_key_file is not None:
        return Path(settings.storage.master_key_file)
    if settings.storage.database == "memory:":
        return None
    return sqlite_path(settings.storage.database).with_suffix(".key")


async def open_master(settings: Settings, stores: Stores) -> MasterKeys:
    """The master keys of this store. A missing file is made, but never beside a store that knows another key."""
    from gateway.tokens.marks import check_canary
    from gateway.tokens.master import KEY_BYTES, MasterKeys

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


@dataclass(frozen=True)
class Deployment:
    """A deployment opened by a command. What the command does becomes stored events, not log lines."""

    settings: Settings
    clock: Clock
    stores: Stores
    events: EventLog

    async def master(self) -> MasterKeys:
        """The master keys, proven to belong to this store."""
        return await open_master(self.settings, self.stores)

    async def keys(self) -> KeyService:
        """The signing keys. Nothing is read yet: call `report`, `rotate` or `load`."""
        from gateway.tokens.key_service import KeyService

        tokens = self.settings.tokens
        return KeyService(
            self.stores.keys,
            await self.master(),
            self.clock,
            tokens.algorithm.value,
            tokens.key_rotation,
            tokens.access_ttl,
            self.events,
        )

    @cached_property
    def hasher(self) -> PasswordHasher:
        """Hashes passwords on its own threads."""
        from gateway.credentials.hasher import PasswordHasher

        return PasswordHasher()

    @cached_property
    def users(self) -> UserService:
        """What can be done to users. Hand what it ended to `announce`."""
        from gateway.credentials.passwords import PasswordPolicy
        from gateway.credentials.users import UserService

        policy = PasswordPolicy(min_length=self.settings.passwords.min_length)
        return UserService(self.stores.users, self.hasher, self.clock, policy=policy)

    async def close(self) -> None:
        """Give back what was opened on the way."""
        if "hasher" in self.__dict__:
            await self.hasher.close()

    def announce(self, ended: Ended) -> None:
        """Record what ended; running gateways learn it from the store's revocation feed."""
        from gateway.sessions.session_events import revoked

        for session in ended.sessions:
            self.events.emit(revoked(session, None))


@asynccontextmanager
async def open_deployment(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Deployment]:
    """Open the stores of `settings`, and close them when done. Raises `CannotStart` with one clear line."""
    from gateway.stores.factory import open_stores
    from gateway.telemetry.activity import Activity
    from gateway.telemetry.events import EventLog

    clock = clock or SystemClock()
    busy_timeout = max(settings.sessions.in_flight_window / 4, 1.0)
    stores = await open_stores(settings.storage.database, clock=clock, busy_timeout=busy_timeout)
    activity = Activity(stores.events, clock, keep=settings.logging.events_keep)
    deployment = Deployment(settings, clock, stores, EventLog(clock, activity=activity))
    try:
        yield deployment
    finally:
        await deployment.close()
        await activity.close()
        await stores.database.close()
