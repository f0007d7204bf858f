"""All ports of one deployment, opened together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.credentials.ports import UserStore
from gateway.sessions.ports import SessionStore
from gateway.telemetry.ports import EventStore
from gateway.tokens.ports import KeyStore


class Database(Protocol):
    """The connection behind a set of ports."""

    async def ping(self) -> None:
        """Raise `StoreUnavailable` when reads or writes would fail."""
        ...

    async def close(self) -> None:
        """Finish what was accepted, then release everything. Idempotent."""
        ...


class FeedWatch(Protocol):
    """What notices that the revocation feed of a database that several machines share has grown."""

    on_commit: Callable[[], None] | None
    """Called after a commit of this process that let it grow."""

    def grew(self) -> None:
        """It may have grown: whoever waits reads it."""
        ...


@dataclass(frozen=True, slots=True)
class Load:
    """How busy the way to the database is: connections of this process, open and at work (None: not known), and calls
    that wait for one."""

    open: int = 0
    used: int | None = None
    waiting: int = 0


def _no_load() -> Load:
    return Load()


@dataclass(frozen=True, slots=True)
class Stores:
    """What `stores.factory.open_stores` returns. `load` is asked when somebody looks."""

    sessions: SessionStore
    users: UserStore
    keys: KeyStore
    events: EventStore
    database: Database
    load: Callable[[], Load] = _no_load
    watch: FeedWatch | None = None
