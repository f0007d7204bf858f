"""Databases that a bench fills with sessions as use leaves them, past the gateway and in bulk.

One more store is one more class here and its name in `STORES`: where its settings say it is, how rows get in, what its
server has cost so far.
"""

from __future__ import annotations

import random
import sqlite3
import sys
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Protocol

import asyncpg

from bench.processes import cpu_seconds_of, family
from gateway.credentials.user import User
from gateway.risk.client import client_facts
from gateway.sessions.policy import RotationPolicy
from gateway.sessions.session import Channel, RevokeReason, Session, begin_session
from gateway.stores.codec import SESSION, USER, session_values, user_values
from gateway.stores.postgres.codec import session_insert
from gateway.stores.sqlite.codec import INSERT_SESSION, INSERT_USER

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support import postgres

DAY = 86_400.0
_AT_ONCE = 20_000
_POLICY = RotationPolicy()
FACTS = client_facts("203.0.113.7", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101", v4=24, v6=56)
_CHANCE = random.Random(20)


class Filled(Protocol):
    """A database made for one bench."""

    storage: str
    """Its part of the settings' `storage`."""

    async def load(self, users: Iterable[User], sessions: Iterable[Session]) -> None:
        """Put rows in, past the gateway, which has made the schema."""
        ...

    async def settle(self) -> None:
        """Do what the server would have done in quiet hours: statistics, write-back."""
        ...

    def cpu_seconds(self) -> float:
        """What processes of its own have cost so far; 0 where there are none."""
        ...


class SqliteFilled:
    """A file."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "gateway.db"
        self.storage = f'database: "sqlite:///{self._path}"'

    async def load(self, users: Iterable[User], sessions: Iterable[Session]) -> None:
        connection = sqlite3.connect(self._path, timeout=30)
        connection.execute("PRAGMA synchronous = OFF")
        for sql, rows in ((INSERT_USER, map(user_values, users)), (INSERT_SESSION, map(session_values, sessions))):
            while part := list(islice(rows, _AT_ONCE)):
                with connection:
                    connection.executemany(sql, part)
        connection.close()

    async def settle(self) -> None:
        connection = sqlite3.connect(self._path, timeout=30)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()

    def cpu_seconds(self) -> float:
        return 0.0


class PostgresFilled:
    """A database on the server that the tests use."""

    def __init__(self, folder: Path) -> None:
        self._name = f"bench_{folder.name}".replace("-", "_").lower()
        self._url = ""
        self._spent: dict[int, float] = {}
        self.storage = ""

    async def made(self) -> PostgresFilled:
        """Once the database exists."""
        self._url = await postgres.server().make(self._name)
        self.storage = f'database: "{self._url}"'
        return self

    async def load(self, users: Iterable[User], sessions: Iterable[Session]) -> None:
        connection = await asyncpg.connect(self._url)
        await connection.copy_records_to_table("users", records=map(user_values, users), columns=USER)
        columns = (*SESSION, "look_at")
        await connection.copy_records_to_table("sessions", records=map(session_insert, sessions), columns=columns)
        await connection.close()

    async def settle(self) -> None:
        connection = await postgres.server().connect(self._name)
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
        await connection.close()

    def cpu_seconds(self) -> float:
        # A connection that has ended must not take back what it cost before.
        for pid in family(postgres.server().pid):
            self._spent[pid] = max(self._spent.get(pid, 0.0), cpu_seconds_of(pid))
        return sum(self._spent.values())


async def make(kind: str, folder: Path) -> Filled:
    """An empty database of this kind; the gateway makes its schema when it opens it."""
    if kind == "sqlite":
        return SqliteFilled(folder)
    return await PostgresFilled(folder).made()


STORES = ("sqlite", "postgres")


def some_users(count: int, now: float) -> Iterator[User]:
    """Users called user-0, user-1 and so on, who have been there for a while."""
    for number in range(count):
        name = f"user-{number}"
        yield User(user_id(number), name, name, f"{name}@example.com", ("user",), None, True, 0, now - 90 * DAY, now)


def user_id(number: int) -> str:
    """The id of the user with this number: the same in every database, in no order."""
    return str(uuid.UUID(int=random.Random(number).getrandbits(128), version=4))


def live(user: str, now: float, *, age: float = 0.5) -> Session:
    """A session that began `age` (0 to 1) of three weeks ago and was refreshed within the last hours."""
    began = now - age * 21 * DAY
    used = max(began, now - _CHANCE.uniform(0, 8 * 3600))
    session = begin_session(_sid(), user, Channel.BODY, FACTS, began, _POLICY)
    generation = 1 + int((used - began) / 900)
    idle = min(used + _POLICY.idle_ttl, session.absolute_expires_at)
    return replace(
        session,
        generation=generation,
        confirmed_generation=generation - 1,
        presented_generation=generation - 1,
        rotated_at=used,
        last_seen_at=used,
        max_access_exp=used + _POLICY.access_ttl,
        idle_expires_at=idle,
    )


def over(user: str, now: float, *, age: float = 0.5) -> Session:
    """A session past its idle limit since a day at most, that nobody has marked as ended yet."""
    past = _CHANCE.uniform(1, DAY)
    return replace(live(user, now, age=age), idle_expires_at=now - past, max_access_exp=now - past - DAY)


def ended(user: str, now: float, *, days: float) -> Session:
    """A session that ended by log-out on the day that began `days` days ago."""
    at = now - (days + _CHANCE.uniform(0, 1)) * DAY
    return replace(live(user, at), revoked_at=at, revoke_reason=RevokeReason.LOGOUT)


def _sid() -> str:
    return str(uuid.UUID(int=_CHANCE.getrandbits(128), version=4))
