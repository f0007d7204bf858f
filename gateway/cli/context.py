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
from gateway.deployment import lock_timeout, open_master
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


def load_settings(
    config_path: Path | None, overrides: Mapping[str, object] | None = None, *, listens: bool = False
) -> Loaded:
    """The configuration in force for a command; warnings go to stderr. Raises `ConfigError` or `CannotStart`.

    A command that does not listen must work for whoever may not read the listener's key, or while that is broken.
    """
    loaded = load(find_config(config_path), os.environ, overrides, listener_files=listens)
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    return loaded


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run one coroutine to its end, as every command that opens a deployment does."""
    return asyncio.run(work)


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
    storage = settings.storage
    stores = await open_stores(storage.database, clock=clock, busy_timeout=lock_timeout(settings), pool=storage.pool)
    activity = Activity(stores.events, clock, keep=settings.logging.events_keep)
    deployment = Deployment(settings, clock, stores, EventLog(clock, activity=activity))
    try:
        yield deployment
    finally:
        await deployment.close()
        await activity.close()
        await stores.database.close()
