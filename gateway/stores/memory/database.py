"""The state every in-memory port shares. A method that never awaits is one transaction."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from gateway.clock import Clock
from gateway.credentials.user import User
from gateway.errors import StoreUnavailable
from gateway.sessions.ports import Ended, FeedEntry
from gateway.sessions.session import Session
from gateway.stores.transitions import Draft, Effects, History


class MemoryDatabase:
    """Rows of all ports, and the two ways they change together."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.sessions: dict[str, Session] = {}
        self.history: dict[str, History] = {}
        self.users: dict[str, User] = {}
        self.feed: list[FeedEntry] = []
        self.waiters: set[asyncio.Future[None]] = set()
        self.feed_read = 0
        self._seq = 0
        self._closed = False

    @property
    def feed_head(self) -> int:
        """The `seq` of the newest feed entry ever written."""
        return self._seq

    def open_or_raise(self) -> None:
        """Refuse work after `close`, as a database would."""
        if self._closed:
            raise StoreUnavailable(debug="the store is closed")

    def unended(self, user_id: str) -> tuple[Session, ...]:
        """The user's sessions that have not been marked as ended, by creation."""
        found = (s for s in self.sessions.values() if s.user_id == user_id and s.revoked_at is None)
        return tuple(sorted(found, key=lambda s: (s.created_at, s.sid)))

    def apply(self, effects: Effects, now: float) -> Ended:
        """Write `effects`; the epoch of a user who is being removed is written by nobody."""
        for end in effects.ends:
            self.sessions[end.sid] = replace(self.sessions[end.sid], revoked_at=now, revoke_reason=end.reason)
        if effects.epoch is not None:
            user_id, epoch = effects.epoch
            self.users[user_id] = replace(self.users[user_id], epoch=epoch)
        entries = tuple(self._append(draft) for draft in effects.feed)
        if entries:
            self._wake()
        return Ended(effects.ends, entries)

    async def ping(self) -> None:
        """Raise `StoreUnavailable` when reads or writes would fail."""
        self.open_or_raise()

    async def close(self) -> None:
        """Refuse everything from now on. Idempotent."""
        self._closed = True
        self._wake()

    def _append(self, draft: Draft) -> FeedEntry:
        self._seq += 1
        entry = FeedEntry(self._seq, draft.kind, draft.key, draft.value, draft.expires_at)
        self.feed.append(entry)
        return entry

    def _wake(self) -> None:
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)
