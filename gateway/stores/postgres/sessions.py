"""Sessions and the revocation feed in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.clock import Clock
from gateway.errors import StoreUnavailable
from gateway.sessions.decision import Decision
from gateway.sessions.ports import Created, Ended, FeedEntry, FeedKind, Receipt, Rotation, RotationAttempt
from gateway.sessions.session import RevokeReason, Session
from gateway.stores import transitions
from gateway.stores.postgres import writes
from gateway.stores.postgres.codec import (
    INSERT_SESSION,
    SESSION_COLUMNS,
    UPDATE_SESSION,
    session_insert,
    session_of,
    session_update,
    stored,
)
from gateway.stores.postgres.feed import FeedWatch
from gateway.stores.postgres.rotation import ROTATE, Answer, RotationValues
from gateway.stores.postgres.work import Transaction, Work

# Of a scalar subquery, so that it is read once and an index can serve the comparison.
_NOW = "(SELECT coalesce($1::float8, extract(epoch FROM clock_timestamp())::float8))"
_DEADLINE = "least(s.idle_expires_at, s.absolute_expires_at)"
_LIVE = f"s.revoked_at IS NULL AND {_DEADLINE} > {_NOW}"
GET = f"SELECT {SESSION_COLUMNS} FROM sessions s WHERE s.sid = $1"  # noqa: S608
ACCESS_UNTIL = f"SELECT s.sid, s.max_access_exp FROM sessions s WHERE {_LIVE} AND s.sid = ANY($2::text[])"  # noqa: S608
LIVE_OF_USER = (
    f"SELECT {SESSION_COLUMNS} FROM sessions s WHERE {_LIVE} AND s.user_id = $2"  # noqa: S608
    " ORDER BY s.last_seen_at DESC, s.created_at DESC, s.sid DESC LIMIT $3"
)
LIVE_OF_ALL = f"SELECT {SESSION_COLUMNS} FROM sessions s WHERE {_LIVE} AND s.sid > $2 ORDER BY s.sid LIMIT $3"  # noqa: S608
# Sessions under way elsewhere are passed over: whoever holds them is refreshing or ending them. Neither statement reads
# further along the index on look_at than its limit, however many sessions ran out at once: what is not over yet is
# moved on first, and then everything that is due is over.
OVER = (
    f"SELECT {SESSION_COLUMNS} FROM sessions s WHERE s.revoked_at IS NULL"  # noqa: S608
    f" AND s.look_at <= {_NOW} AND {_DEADLINE} <= {_NOW} ORDER BY s.look_at LIMIT $2 FOR UPDATE SKIP LOCKED"
)
LOOK_LATER = (
    f"UPDATE sessions s SET look_at = {_DEADLINE} WHERE s.sid = ANY(ARRAY("  # noqa: S608
    "SELECT l.sid FROM sessions l WHERE l.sid = ANY(ARRAY("
    "SELECT d.sid FROM (SELECT s.sid, s.idle_expires_at, s.absolute_expires_at FROM sessions s"
    f" WHERE s.revoked_at IS NULL AND s.look_at <= {_NOW} ORDER BY s.look_at LIMIT $2) d"
    f" WHERE least(d.idle_expires_at, d.absolute_expires_at) > {_NOW}))"
    " AND l.revoked_at IS NULL FOR UPDATE SKIP LOCKED)) RETURNING 1"
)
# Rows are locked in the order of ids, so that two batches with the same sessions wait for each other in turn.
CONFIRM = (
    "WITH r AS (SELECT sid, array_agg(generation) FILTER (WHERE confirm) AS generations,"
    " max(seen_at) FILTER (WHERE NOT passive) AS seen_at, max(seen_at) FILTER (WHERE passive) AS passive_at"
    " FROM unnest($1::text[], $2::bigint[], $3::float8[], $4::bool[], $5::bool[])"
    " AS t (sid, generation, seen_at, confirm, passive) GROUP BY sid),"
    " locked AS MATERIALIZED (SELECT s.sid FROM sessions s WHERE s.sid = ANY($1::text[]) AND s.revoked_at IS NULL"
    " ORDER BY s.sid FOR NO KEY UPDATE)"
    " UPDATE sessions s SET confirmed_generation = CASE WHEN s.generation = ANY (r.generations)"
    " THEN greatest(s.confirmed_generation, s.generation) ELSE s.confirmed_generation END,"
    " last_seen_at = greatest(s.last_seen_at, r.seen_at), last_passive_at = greatest(s.last_passive_at, r.passive_at)"
    " FROM locked JOIN r ON r.sid = locked.sid WHERE s.sid = locked.sid AND s.revoked_at IS NULL"
)
PURGE = (
    "DELETE FROM sessions WHERE sid = ANY(ARRAY(SELECT sid FROM sessions WHERE revoked_at < $1"
    " AND (revoke_reason <> 'reuse' OR revoked_at < $2) ORDER BY revoked_at, sid LIMIT $3 FOR UPDATE SKIP LOCKED))"
    " RETURNING 1"
)
PURGE_FEED = (
    "DELETE FROM revocations WHERE seq = ANY(ARRAY(SELECT seq FROM revocations WHERE expires_at <= $1"
    " ORDER BY expires_at, seq LIMIT $2 FOR UPDATE SKIP LOCKED))"
)
FEED = f"SELECT seq, kind, key, value, expires_at FROM revocations WHERE seq > $2 AND expires_at > {_NOW} ORDER BY seq"  # noqa: S608
_LOOK_STEP = 500
_LOOK_STEPS = 100
_KINDS = {kind.value: kind for kind in FeedKind}


class PostgresSessions:
    """`SessionStore` on PostgreSQL. `wall` None: time is the server's; a clock of their own is for tests."""

    def __init__(self, work: Work, feed: FeedWatch, clock: Clock, wall: Clock | None) -> None:
        self._work = work
        self._feed = feed
        self._clock = clock
        self._wall = wall
        self._values = RotationValues()

    async def now(self) -> float:
        """The store's clock, epoch seconds."""
        given = self._given()
        if given is not None:
            return given
        row = await self._work.row(f"SELECT {_NOW}", None)
        assert row is not None  # noqa: S101 - a SELECT without FROM
        return float(row[0])

    async def create(
        self, session: Session, *, user_epoch: int, max_per_user: int, password_changed_at: float | None = None
    ) -> Created:
        """Insert a session while its user is active and at `user_epoch`; evict the longest idle over the limit."""
        session = transitions.storable_session(session)

        async def work(transaction: Transaction) -> Created:
            user = await writes.lock_user(transaction, session.user_id)
            transitions.admit(user, user_epoch, password_changed_at)
            others = await writes.lock_unended(transaction, session.user_id)
            now = await writes.now(transaction, self._given())
            room = transitions.make_room(others, max_per_user, now)
            await transaction.execute(INSERT_SESSION, *session_insert(session))
            return Created(session, await writes.apply(transaction, room, now))

        return await self._work.run(work)

    async def rotate(self, attempt: RotationAttempt) -> Rotation:
        """Lock session and user, `decide` on what was read under the lock, apply the decision, commit.

        One round trip for the usual outcome and for those that write nothing; the others take a transaction.
        """
        arrived = self._clock.monotonic()
        attempt = transitions.arrived(attempt, 0.0)
        row = await self._work.row(ROTATE, True, *self._values.of(attempt), self._given())
        answer = Answer(row)
        attempt = transitions.arrived(attempt, self._clock.monotonic() - arrived)
        decision = answer.decide(attempt)
        if answer.applied:
            if not answer.agrees(decision):
                raise StoreUnavailable(debug="the database rotated otherwise than the rule says")
            return answer.rotation(decision)
        if _is_empty(decision):
            return answer.rotation(decision)
        return await self._work.run(lambda transaction: self._rotate(transaction, attempt))

    async def confirm(self, receipts: Sequence[Receipt]) -> None:
        """Apply receipts: `confirmed_generation := g WHERE generation = g`, and the times of last use. Idempotent."""
        if not receipts:
            return
        await self._work.row(
            CONFIRM,
            [stored(receipt.sid) for receipt in receipts],
            [receipt.generation for receipt in receipts],
            [receipt.seen_at for receipt in receipts],
            [receipt.confirm for receipt in receipts],
            [receipt.passive for receipt in receipts],
        )

    async def get(self, sid: str) -> Session | None:
        """The session as stored, ended or not; None when unknown."""
        row = await self._work.row(GET, stored(sid))
        return session_of(row) if row is not None else None

    async def access_until(self, sids: Sequence[str]) -> Mapping[str, float]:
        """`max_access_exp` of those of the sessions that could be refreshed now, by sid."""
        rows = await self._work.rows(ACCESS_UNTIL, self._given(), [stored(sid) for sid in sids]) if sids else ()
        return {str(sid): float(until) for sid, until in rows}

    async def list_live(self, user_id: str | None = None, *, limit: int = 1000, after: str = "") -> tuple[Session, ...]:
        """Sessions that could be refreshed now, of one user (newest use first) or of all (by sid, after `after`)."""
        if user_id is None:
            rows = await self._work.rows(LIVE_OF_ALL, self._given(), stored(after), limit)
        else:
            rows = await self._work.rows(LIVE_OF_USER, self._given(), stored(user_id), limit)
        return tuple(map(session_of, rows))

    async def end(self, sid: str, reason: RevokeReason, *, user_id: str | None = None) -> Ended:
        """End one session, and only if it is `user_id`'s when that is given."""

        async def work(transaction: Transaction) -> Ended:
            session = await writes.lock_session(transaction, sid)
            if session is None or (user_id is not None and session.user_id != user_id):
                return Ended()
            now = await writes.now(transaction, self._given())
            return await writes.apply(transaction, transitions.end_sessions((session,), reason, now), now)

        return await self._work.run(work)

    async def end_user(self, user_id: str, reason: RevokeReason, *, keep: str | None = None) -> Ended:
        """End the user's sessions. Without `keep` the epoch is raised too, so every access token dies."""

        async def work(transaction: Transaction) -> Ended:
            user = await writes.lock_user(transaction, user_id)
            if user is None:
                return Ended()
            sessions = await writes.lock_unended(transaction, user_id)
            now = await writes.now(transaction, self._given())
            return await writes.apply(transaction, transitions.end_user(user, sessions, reason, now, keep=keep), now)

        return await self._work.run(work)

    async def expire(self, *, limit: int) -> Ended:
        """Mark at most `limit` sessions past their idle or absolute limit as ended."""
        step = max(limit, _LOOK_STEP)
        for _ in range(_LOOK_STEPS):
            if not await self._work.rows(LOOK_LATER, self._given(), step):
                break

        async def work(transaction: Transaction) -> Ended:
            over = tuple(map(session_of, await transaction.fetch(OVER, self._given(), limit)))
            now = await writes.now(transaction, self._given())
            return await writes.apply(transaction, transitions.expire_sessions(over, now), now)

        return await self._work.run(work)

    async def purge(self, *, retention: float, limit: int) -> int:
        """Delete at most `limit` sessions that ended more than `retention` seconds ago, and expired feed rows."""

        async def work(transaction: Transaction) -> int:
            now = await writes.now(transaction, self._given())
            thefts = now - transitions.kept_for(RevokeReason.REUSE, retention)
            gone = await transaction.fetch(PURGE, now - retention, thefts, limit)
            await transaction.execute(PURGE_FEED, now, limit)
            return len(gone)

        return await self._work.run(work)

    async def canary(self, name: str, *, life: float) -> FeedEntry:
        """Append the denial of a session that never was, `canary_key(name, now)`, for `life` seconds."""

        async def work(transaction: Transaction) -> FeedEntry:
            now = await writes.now(transaction, self._given())
            return (await writes.apply(transaction, transitions.canary(name, now, life), now)).feed[0]

        return await self._work.run(work)

    async def feed(self, after: int) -> tuple[FeedEntry, ...]:
        """Unexpired feed entries with `seq > after`, in order. `after=0` is everything unexpired."""
        self._feed.reading()
        rows = await self._work.rows(FEED, self._given(), after)
        if rows:
            self._feed.was_read(rows[-1][0])
        return tuple(FeedEntry(seq, _KINDS[kind], key, value, at) for seq, kind, key, value, at in rows)

    async def feed_changed(self, timeout: float) -> None:
        """Return when the feed may have grown, also by another process, or after `timeout` seconds."""
        await self._feed.changed(timeout)

    async def _rotate(self, transaction: Transaction, attempt: RotationAttempt) -> Rotation:
        answer = Answer(await transaction.fetchrow(ROTATE, False, *self._values.of(attempt), self._given()))
        decision, before = answer.decide(attempt), answer.before
        if before is None or _is_empty(decision):
            return answer.rotation(decision)
        # Which sessions a theft ends is only asked when there is one.
        others = await writes.lock_unended(transaction, before.user_id) if decision.revoke is not None else ()
        effects = transitions.rotation_effects(
            decision, before, answer.user, answer.history, lambda: others, attempt.policy, answer.at
        )
        if effects.row is not None or effects.history is not None:
            await transaction.execute(UPDATE_SESSION, *session_update(effects.row or before, effects.history))
        return answer.rotation(decision, await writes.apply(transaction, effects.then, answer.at))

    def _given(self) -> float | None:
        return self._wall.now() if self._wall is not None else None


def _is_empty(decision: Decision) -> bool:
    """Whether a decision changes nothing in the store."""
    return decision.session is None and decision.retire is None and decision.revoke is None and not decision.denials
