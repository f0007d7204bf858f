"""Sessions and the revocation feed in SQLite."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from gateway.clock import Clock
from gateway.sessions.decision import Snapshot
from gateway.sessions.ports import Created, Ended, FeedEntry, FeedKind, Receipt, Rotation, RotationAttempt
from gateway.sessions.rotation import decide
from gateway.sessions.session import RevokeReason, Session
from gateway.stores import transitions
from gateway.stores.codec import session_of, session_values, user_of
from gateway.stores.sqlite import writes
from gateway.stores.sqlite.codec import (
    INSERT_SESSION,
    SESSION_COLUMNS,
    SESSION_WIDTH,
    UPDATE_SESSION,
    USER_COLUMNS,
    history_of,
    history_text,
    session_update,
)
from gateway.stores.sqlite.feed import FeedWatch
from gateway.stores.sqlite.lane import Reader, Transaction
from gateway.stores.sqlite.writer import Writer

# One statement reads all that `decide` needs: the session, its history, its user, another theft of that user.
_SNAPSHOT = (
    f"SELECT {SESSION_COLUMNS}, s.retired, EXISTS (SELECT 1 FROM sessions t WHERE t.user_id = s.user_id"  # noqa: S608
    " AND t.revoke_reason = 'reuse' AND t.revoked_at > ? AND t.sid <> s.sid),"
    f" {USER_COLUMNS} FROM sessions s LEFT JOIN users u ON u.user_id = s.user_id WHERE s.sid = ?"
)
_LIVE = "s.revoked_at IS NULL AND min(s.idle_expires_at, s.absolute_expires_at) > ?"
_LIVE_OF_USER = (
    f"SELECT {SESSION_COLUMNS} FROM sessions s WHERE {_LIVE} AND s.user_id = ?"  # noqa: S608
    " ORDER BY s.last_seen_at DESC, s.created_at DESC, s.sid DESC LIMIT ?"
)
_LIVE_OF_ALL = f"SELECT {SESSION_COLUMNS} FROM sessions s WHERE {_LIVE} AND s.sid > ? ORDER BY s.sid LIMIT ?"  # noqa: S608
_ACCESS_UNTIL = (
    f"SELECT s.sid, s.max_access_exp FROM sessions s WHERE {_LIVE}"  # noqa: S608
    " AND s.sid IN (SELECT value FROM json_each(?))"
)
_OVER = (
    f"SELECT {SESSION_COLUMNS} FROM sessions s WHERE s.revoked_at IS NULL"  # noqa: S608
    " AND min(s.idle_expires_at, s.absolute_expires_at) <= ?"
    " ORDER BY min(s.idle_expires_at, s.absolute_expires_at), s.sid LIMIT ?"
)
_CONFIRM = (
    "UPDATE sessions SET confirmed_generation = CASE WHEN ? AND generation = ? THEN max(confirmed_generation, ?)"
    " ELSE confirmed_generation END, last_seen_at = max(last_seen_at, ?), last_passive_at = max(last_passive_at, ?)"
    " WHERE sid = ? AND revoked_at IS NULL"
)
_PURGE = (
    "DELETE FROM sessions WHERE sid IN (SELECT sid FROM sessions WHERE revoked_at IS NOT NULL AND revoked_at < ?"
    " AND (revoke_reason <> 'reuse' OR revoked_at < ?) ORDER BY revoked_at, sid LIMIT ?)"
)
_PURGE_FEED = (
    "DELETE FROM revocations WHERE seq IN"
    " (SELECT seq FROM revocations WHERE expires_at <= ? ORDER BY expires_at, seq LIMIT ?)"
)
_FEED = "SELECT seq, kind, key, value, expires_at FROM revocations WHERE seq > ? AND expires_at > ? ORDER BY seq"
_NEVER = float("-inf")


class SqliteSessions:
    """`SessionStore` on one SQLite file."""

    def __init__(self, writer: Writer, reader: Reader, feed: FeedWatch, clock: Clock) -> None:
        self._writer = writer
        self._reader = reader
        self._feed = feed
        self._clock = clock

    async def now(self) -> float:
        """The store's clock, epoch seconds."""
        return self._clock.now()

    async def create(
        self, session: Session, *, user_epoch: int, max_per_user: int, password_changed_at: float | None = None
    ) -> Created:
        """Insert a session while its user is active and at `user_epoch`; evict the longest idle over the limit."""
        session = transitions.storable_session(session)

        def work(transaction: Transaction) -> Created:
            transitions.admit(writes.find_user(transaction, session.user_id), user_epoch, password_changed_at)
            now = self._clock.now()
            room = transitions.make_room(writes.unended(transaction, session.user_id), max_per_user, now)
            transaction.execute(INSERT_SESSION, session_values(session))
            return Created(session, writes.apply(transaction, room, now))

        return await self._writer.run(work)

    async def rotate(self, attempt: RotationAttempt) -> Rotation:
        """Lock session and user, `decide` on what was read under the lock, apply the decision, commit."""
        arrived = self._clock.monotonic()
        return await self._writer.run(lambda transaction: self._rotate(transaction, attempt, arrived))

    async def confirm(self, receipts: Sequence[Receipt]) -> None:
        """Apply receipts: `confirmed_generation := g WHERE generation = g`, and the times of last use. Idempotent."""
        if not receipts:
            return
        rows = [_receipt_values(receipt) for receipt in receipts]
        await self._writer.run(lambda transaction: transaction.execute_all(_CONFIRM, rows))

    async def get(self, sid: str) -> Session | None:
        """The session as stored, ended or not; None when unknown."""
        return await self._reader.run(lambda transaction: writes.find_session(transaction, sid))

    async def access_until(self, sids: Sequence[str]) -> Mapping[str, float]:
        """`max_access_exp` of those of the sessions that could be refreshed now, by sid."""

        def work(transaction: Transaction) -> dict[str, float]:
            rows = transaction.execute(_ACCESS_UNTIL, (self._clock.now(), json.dumps(list(sids))))
            return {str(sid): float(until) for sid, until in rows}

        return await self._reader.run(work)

    async def list_live(self, user_id: str | None = None, *, limit: int = 1000, after: str = "") -> tuple[Session, ...]:
        """Sessions that could be refreshed now, of one user (newest use first) or of all (by sid, after `after`)."""

        def work(transaction: Transaction) -> tuple[Session, ...]:
            now = self._clock.now()
            if user_id is None:
                return tuple(map(session_of, transaction.execute(_LIVE_OF_ALL, (now, after, limit))))
            return tuple(map(session_of, transaction.execute(_LIVE_OF_USER, (now, user_id, limit))))

        return await self._reader.run(work)

    async def end(self, sid: str, reason: RevokeReason, *, user_id: str | None = None) -> Ended:
        """End one session, and only if it is `user_id`'s when that is given."""

        def work(transaction: Transaction) -> Ended:
            session = writes.find_session(transaction, sid)
            if session is None or (user_id is not None and session.user_id != user_id):
                return Ended()
            now = self._clock.now()
            return writes.apply(transaction, transitions.end_sessions((session,), reason, now), now)

        return await self._writer.run(work)

    async def end_user(self, user_id: str, reason: RevokeReason, *, keep: str | None = None) -> Ended:
        """End the user's sessions. Without `keep` the epoch is raised too, so every access token dies."""

        def work(transaction: Transaction) -> Ended:
            user = writes.find_user(transaction, user_id)
            if user is None:
                return Ended()
            now = self._clock.now()
            sessions = writes.unended(transaction, user_id)
            return writes.apply(transaction, transitions.end_user(user, sessions, reason, now, keep=keep), now)

        return await self._writer.run(work)

    async def expire(self, *, limit: int) -> Ended:
        """Mark at most `limit` sessions past their idle or absolute limit as ended."""

        def work(transaction: Transaction) -> Ended:
            now = self._clock.now()
            over = tuple(map(session_of, transaction.execute(_OVER, (now, limit))))
            return writes.apply(transaction, transitions.expire_sessions(over, now), now)

        return await self._writer.run(work)

    async def purge(self, *, retention: float, limit: int) -> int:
        """Delete at most `limit` sessions that ended more than `retention` seconds ago, and expired feed rows."""

        def work(transaction: Transaction) -> int:
            now = self._clock.now()
            thefts = now - transitions.kept_for(RevokeReason.REUSE, retention)
            gone = transaction.execute(_PURGE, (now - retention, thefts, limit)).rowcount
            transaction.execute(_PURGE_FEED, (now, limit))
            return gone

        return await self._writer.run(work)

    async def canary(self, name: str, *, life: float) -> FeedEntry:
        """Append the denial of a session that never was, `canary_key(name, now)`, for `life` seconds."""

        def work(transaction: Transaction) -> FeedEntry:
            now = self._clock.now()
            return writes.apply(transaction, transitions.canary(name, now, life), now).feed[0]

        return await self._writer.run(work)

    async def feed(self, after: int) -> tuple[FeedEntry, ...]:
        """Unexpired feed entries with `seq > after`, in order. `after=0` is everything unexpired."""

        def work(transaction: Transaction) -> tuple[FeedEntry, ...]:
            rows = transaction.execute(_FEED, (after, self._clock.now()))
            return tuple(FeedEntry(seq, FeedKind(kind), key, value, at) for seq, kind, key, value, at in rows)

        self._feed.reading()
        return await self._reader.run(work)

    async def feed_changed(self, timeout: float) -> None:
        """Return when the feed may have grown, also by another process, or after `timeout` seconds."""
        await self._feed.changed(timeout)

    def _rotate(self, transaction: Transaction, attempt: RotationAttempt, arrived: float) -> Rotation:
        attempt = transitions.arrived(attempt, self._clock.monotonic() - arrived)
        now = self._clock.now()
        row = transaction.execute(_SNAPSHOT, (now - transitions.THEFT_MEMORY, attempt.sid)).fetchone()
        if row is None:
            return Rotation(decide(Snapshot(None, None, None, False), attempt, now), None, None, now)
        before, text, stolen = session_of(row), row[SESSION_WIDTH], bool(row[SESSION_WIDTH + 1])
        user = user_of(row[SESSION_WIDTH + 2 :]) if row[SESSION_WIDTH + 2] is not None else None
        history = history_of(text)
        snapshot = Snapshot(before, user, transitions.recall(history, attempt.presented), stolen)
        decision = decide(snapshot, attempt, now)
        effects = transitions.rotation_effects(
            decision,
            before,
            user,
            history,
            lambda: writes.unended(transaction, before.user_id),
            attempt.policy,
            now,
        )
        if effects.row is not None or effects.history is not None:
            retired = history_text(effects.history) if effects.history is not None else text
            transaction.execute(UPDATE_SESSION, session_update(effects.row or before, retired))
        return Rotation(decision, before, user, now, writes.apply(transaction, effects.then, now))


def _receipt_values(receipt: Receipt) -> tuple[object, ...]:
    seen, passive = (_NEVER, receipt.seen_at) if receipt.passive else (receipt.seen_at, _NEVER)
    return (receipt.confirm, receipt.generation, receipt.generation, seen, passive, receipt.sid)
