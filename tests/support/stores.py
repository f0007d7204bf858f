"""Opening every kind of store, and the rows that tests put in."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.clock import Clock
from gateway.credentials.user import User
from gateway.risk.facts import ClientFacts
from gateway.sessions.policy import RotationPolicy
from gateway.sessions.ports import Rotation, RotationAttempt
from gateway.sessions.session import Channel, Session, begin_session
from gateway.stores.bundle import Stores
from gateway.stores.memory import open_memory
from gateway.stores.postgres import open_postgres
from gateway.stores.sqlite import Observer, open_sqlite
from support import postgres

KINDS = ("memory", "sqlite", "postgres")
_postgres_of: list[Path] = []  # the folder whose data the shared PostgreSQL holds
POLICY = RotationPolicy()
LAPTOP = ClientFacts(
    "203.0.113.7", "203.0.113.0/24", "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", "Firefox on Linux"
)
PHONE = ClientFacts("198.51.100.9", "198.51.100.0/24", "Mozilla/5.0 (iPhone) Safari/605.1", "Safari on iOS")


async def open_kind(kind: str, folder: Path, clock: Clock, observer: Observer | None = None) -> Stores:
    """A store of `kind`; what was stored for the same `folder` just before is there again, but for memory."""
    if kind == "memory":
        return open_memory(clock)
    if kind == "postgres":
        return await _open_postgres(folder, clock)
    return await open_sqlite(folder / "gateway.db", clock=clock, busy_timeout=5.0, observer=observer)


async def _open_postgres(folder: Path, clock: Clock) -> Stores:
    """One database serves all tests of a process in turn, each with `folder` as its name; a new one finds it empty."""
    if _postgres_of != [folder]:
        await postgres.server().wipe()
        _postgres_of[:] = [folder]
    return await open_postgres(postgres.server().url(), clock=clock, busy_timeout=5.0, wall=clock)


def a_user(name: str = "ada", *, now: float = 1_790_000_000.0, **changes: object) -> User:
    """An active user without a password's hash of any worth."""
    user = User(str(uuid.uuid4()), name, name.casefold(), None, ("reader",), "old-hash", True, 0, now, now)
    return replace(user, **changes)  # type: ignore[arg-type]


def a_session(user_id: str, now: float, **changes: object) -> Session:
    """A session as the service makes it at log-in."""
    session = begin_session(str(uuid.uuid4()), user_id, Channel.COOKIE, LAPTOP, now, POLICY)
    return replace(session, **changes)  # type: ignore[arg-type]


@dataclass
class Client:
    """One session and whoever presents its tokens."""

    stores: Stores
    sid: str
    policy: RotationPolicy = POLICY
    channel: Channel = Channel.COOKIE

    async def present(self, generation: int, facts: ClientFacts = LAPTOP, waited: float = 0.0) -> Rotation:
        """Present the refresh token of `generation`."""
        attempt = RotationAttempt(self.sid, generation, self.channel, facts, waited, self.policy)
        return await self.stores.sessions.rotate(attempt)

    async def stored(self) -> Session:
        """The session as it stands."""
        session = await self.stores.sessions.get(self.sid)
        assert session is not None
        return session


async def log_in(stores: Stores, user: User, policy: RotationPolicy = POLICY, **changes: object) -> Client:
    """A new session of `user`, who is in the store."""
    session = a_session(user.user_id, await stores.sessions.now(), **changes)
    created = await stores.sessions.create(session, user_epoch=user.epoch, max_per_user=policy.max_per_user)
    return Client(stores, created.session.sid, policy, created.session.channel)
