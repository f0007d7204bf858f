"""Statements that several ports share, each inside a transaction. The order of locks: user, sessions by id, feed."""

from __future__ import annotations

from gateway.credentials.user import User
from gateway.sessions.ports import Ended, FeedEntry
from gateway.sessions.session import Session
from gateway.stores.postgres.codec import SESSION_COLUMNS, USER_COLUMNS, session_of, stored, user_of
from gateway.stores.postgres.work import Transaction
from gateway.stores.transitions import Draft, Effects

_LOCK_SESSION = f"SELECT {SESSION_COLUMNS} FROM sessions s WHERE s.sid = $1 FOR UPDATE"  # noqa: S608
_LOCK_UNENDED = (
    f"SELECT {SESSION_COLUMNS} FROM sessions s"  # noqa: S608
    " WHERE s.user_id = $1 AND s.revoked_at IS NULL ORDER BY s.sid FOR UPDATE"
)
_LOCK_USER = f"SELECT {USER_COLUMNS} FROM users u WHERE u.user_id = $1 FOR NO KEY UPDATE"  # noqa: S608
_END = (
    "UPDATE sessions s SET revoked_at = $1, revoke_reason = e.reason"
    " FROM unnest($2::text[], $3::text[]) AS e (sid, reason) WHERE s.sid = e.sid"
)
_EPOCH = "UPDATE users SET epoch = $2 WHERE user_id = $1"
_APPEND = "SELECT gateway_append_feed($1, $2, $3, $4)"
_NOW = "SELECT coalesce($1::float8, extract(epoch FROM clock_timestamp())::float8)"


async def now(transaction: Transaction, given: float | None) -> float:
    """The store's time at this moment, which is after every lock taken so far."""
    if given is not None:
        return given
    found: float = await transaction.fetchval(_NOW, None)
    return found


async def lock_session(transaction: Transaction, sid: str) -> Session | None:
    """The session, nobody else's until the commit."""
    row = await transaction.fetchrow(_LOCK_SESSION, stored(sid))
    return session_of(row) if row is not None else None


async def lock_user(transaction: Transaction, user_id: str) -> User | None:
    """The user, nobody else's until the commit: refreshes and log-ins of theirs wait."""
    row = await transaction.fetchrow(_LOCK_USER, stored(user_id))
    return user_of(row) if row is not None else None


async def lock_unended(transaction: Transaction, user_id: str) -> tuple[Session, ...]:
    """The user's sessions that have not been marked as ended, by creation."""
    found = map(session_of, await transaction.fetch(_LOCK_UNENDED, stored(user_id)))
    return tuple(sorted(found, key=lambda session: (session.created_at, session.sid)))


async def apply(transaction: Transaction, effects: Effects, at: float) -> Ended:
    """Write `effects`; the epoch of a user who is gone is written by nobody. The feed comes last: see its lock."""
    if effects.ends:
        reasons = [end.reason.value for end in effects.ends]
        await transaction.execute(_END, at, [end.sid for end in effects.ends], reasons)
    if effects.epoch is not None:
        await transaction.execute(_EPOCH, *effects.epoch)
    return Ended(effects.ends, await _append(transaction, effects.feed))


async def _append(transaction: Transaction, drafts: tuple[Draft, ...]) -> tuple[FeedEntry, ...]:
    if not drafts:
        return ()
    numbers = await transaction.fetchval(
        _APPEND,
        [draft.kind.value for draft in drafts],
        [draft.key for draft in drafts],
        [draft.value for draft in drafts],
        [draft.expires_at for draft in drafts],
    )
    transaction.feed_grown = True
    return tuple(
        FeedEntry(seq, draft.kind, draft.key, draft.value, draft.expires_at)
        for seq, draft in zip(numbers, drafts, strict=True)
    )
