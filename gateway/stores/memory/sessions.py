"""Sessions and the revocation feed in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from gateway.errors import Conflict
from gateway.sessions.decision import Snapshot
from gateway.sessions.ports import Created, Ended, FeedEntry, Receipt, Rotation, RotationAttempt
from gateway.sessions.rotation import decide
from gateway.sessions.session import RevokeReason, Session
from gateway.stores import transitions
from gateway.stores.memory.database import MemoryDatabase


class MemorySessions:
    """`SessionStore` in memory."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._db = database

    async def now(self) -> float:
        """The store's clock, epoch seconds."""
        return self._db.clock.now()

    async def create(
        self, session: Session, *, user_epoch: int, max_per_user: int, password_changed_at: float | None = None
    ) -> Created:
        """Insert a session while its user is active and at `user_epoch`; evict the longest idle over the limit."""
        self._db.open_or_raise()
        session = transitions.storable_session(session)
        transitions.admit(self._db.users.get(session.user_id), user_epoch, password_changed_at)
        if session.sid in self._db.sessions:
            raise Conflict("the session exists")
        now = self._db.clock.now()
        room = transitions.make_room(self._db.unended(session.user_id), max_per_user, now)
        evicted = self._db.apply(room, now)
        self._db.sessions[session.sid] = session
        return Created(session, evicted)

    async def rotate(self, attempt: RotationAttempt) -> Rotation:
        """Lock session and user, `decide` on what was read under the lock, apply the decision, commit."""
        self._db.open_or_raise()
        attempt = transitions.arrived(attempt, 0.0)
        now = self._db.clock.now()
        before = self._db.sessions.get(attempt.sid)
        user = self._db.users.get(before.user_id) if before is not None else None
        history = self._db.history.get(attempt.sid, ())
        retired_at = transitions.recall(history, attempt.presented)
        snapshot = Snapshot(before, user, retired_at, self._recent_theft(before, now))
        decision = decide(snapshot, attempt, now)
        effects = transitions.rotation_effects(
            decision,
            before,
            user,
            history,
            lambda: self._db.unended(user.user_id) if user is not None else (),
            attempt.policy,
            now,
        )
        if effects.row is not None:
            self._db.sessions[attempt.sid] = effects.row
        if effects.history is not None:
            self._db.history[attempt.sid] = effects.history
        return Rotation(decision, before, user, now, self._db.apply(effects.then, now))

    async def confirm(self, receipts: Sequence[Receipt]) -> None:
        """Apply receipts: `confirmed_generation := g WHERE generation = g`, and the times of last use. Idempotent."""
        self._db.open_or_raise()
        for receipt in receipts:
            session = self._db.sessions.get(receipt.sid)
            if session is not None:
                self._db.sessions[receipt.sid] = transitions.apply_receipt(session, receipt)

    async def get(self, sid: str) -> Session | None:
        """The session as stored, ended or not; None when unknown."""
        self._db.open_or_raise()
        return self._db.sessions.get(sid)

    async def access_until(self, sids: Sequence[str]) -> Mapping[str, float]:
        """`max_access_exp` of those of the sessions that could be refreshed now, by sid."""
        self._db.open_or_raise()
        now, known = self._db.clock.now(), self._db.sessions
        return {sid: known[sid].max_access_exp for sid in sids if sid in known and known[sid].is_live(now)}

    async def list_live(self, user_id: str | None = None, *, limit: int = 1000, after: str = "") -> tuple[Session, ...]:
        """Sessions that could be refreshed now, of one user (newest use first) or of all (by sid, after `after`)."""
        self._db.open_or_raise()
        now = self._db.clock.now()
        live = [session for session in self._db.sessions.values() if session.is_live(now)]
        if user_id is None:
            return tuple(sorted((s for s in live if s.sid > after), key=lambda s: s.sid)[:limit])
        mine = [session for session in live if session.user_id == user_id]
        return tuple(sorted(mine, key=lambda s: (s.last_seen_at, s.created_at, s.sid), reverse=True)[:limit])

    async def end(self, sid: str, reason: RevokeReason, *, user_id: str | None = None) -> Ended:
        """End one session, and only if it is `user_id`'s when that is given."""
        self._db.open_or_raise()
        session = self._db.sessions.get(sid)
        if session is None or (user_id is not None and session.user_id != user_id):
            return Ended()
        now = self._db.clock.now()
        return self._db.apply(transitions.end_sessions((session,), reason, now), now)

    async def end_user(self, user_id: str, reason: RevokeReason, *, keep: str | None = None) -> Ended:
        """End the user's sessions. Without `keep` the epoch is raised too, so every access token dies."""
        self._db.open_or_raise()
        user = self._db.users.get(user_id)
        if user is None:
            return Ended()
        now = self._db.clock.now()
        return self._db.apply(transitions.end_user(user, self._db.unended(user_id), reason, now, keep=keep), now)

    async def expire(self, *, limit: int) -> Ended:
        """Mark at most `limit` sessions past their idle or absolute limit as ended."""
        self._db.open_or_raise()
        now = self._db.clock.now()
        over = [s for s in self._db.sessions.values() if s.revoked_at is None and s.ends_at <= now]
        over.sort(key=lambda s: (s.ends_at, s.sid))
        return self._db.apply(transitions.expire_sessions(over[:limit], now), now)

    async def purge(self, *, retention: float, limit: int) -> int:
        """Delete at most `limit` sessions that ended more than `retention` seconds ago, and expired feed rows."""
        self._db.open_or_raise()
        now = self._db.clock.now()
        gone = sorted(
            (s.revoked_at, s.sid)
            for s in self._db.sessions.values()
            if s.revoked_at is not None and s.revoked_at < now - transitions.kept_for(s.revoke_reason, retention)
        )[:limit]
        for _, sid in gone:
            del self._db.sessions[sid]
            self._db.history.pop(sid, None)
        expired = sorted((entry.expires_at, entry.seq) for entry in self._db.feed if entry.expires_at <= now)[:limit]
        dropped = {seq for _, seq in expired}
        self._db.feed[:] = [entry for entry in self._db.feed if entry.seq not in dropped]
        return len(gone)

    async def canary(self, name: str, *, life: float) -> FeedEntry:
        """Append the denial of a session that never was, `canary_key(name, now)`, for `life` seconds."""
        self._db.open_or_raise()
        now = self._db.clock.now()
        return self._db.apply(transitions.canary(name, now, life), now).feed[0]

    async def feed(self, after: int) -> tuple[FeedEntry, ...]:
        """Unexpired feed entries with `seq > after`, in order. `after=0` is everything unexpired."""
        self._db.open_or_raise()
        self._db.feed_read = self._db.feed_head
        now = self._db.clock.now()
        return tuple(entry for entry in self._db.feed if entry.seq > after and entry.expires_at > now)

    async def feed_changed(self, timeout: float) -> None:
        """Return when the feed may have grown, also by another process, or after `timeout` seconds."""
        self._db.open_or_raise()
        if self._db.feed_read != self._db.feed_head:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._db.waiters.add(waiter)
        try:
            await asyncio.wait((waiter,), timeout=timeout)
        finally:
            self._db.waiters.discard(waiter)

    def _recent_theft(self, before: Session | None, now: float) -> bool:
        if before is None:
            return False
        return any(
            session.revoke_reason is RevokeReason.REUSE
            and session.revoked_at is not None
            and session.revoked_at > now - transitions.THEFT_MEMORY
            for session in self._db.sessions.values()
            if session.user_id == before.user_id and session.sid != before.sid
        )
