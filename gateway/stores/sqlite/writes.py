"""Statements that several ports share, each inside a transaction of the writer."""

from __future__ import annotations

from gateway.credentials.user import User
from gateway.sessions.ports import Ended, FeedEntry
from gateway.sessions.session import Session
from gateway.stores.codec import session_of, user_of
from gateway.stores.sqlite.codec import SESSION_COLUMNS, USER_COLUMNS
from gateway.stores.sqlite.lane import Transaction
from gateway.stores.transitions import Draft, Effects

_SELECT_SESSION = f"SELECT {SESSION_COLUMNS} FROM sessions s WHERE s.sid = ?"  # noqa: S608
_SELECT_UNENDED = (
    f"SELECT {SESSION_COLUMNS} FROM sessions s"  # noqa: S608
    " WHERE s.user_id = ? AND s.revoked_at IS NULL ORDER BY s.created_at, s.sid"
)
_SELECT_USER = f"SELECT {USER_COLUMNS} FROM users u WHERE u.user_id = ?"  # noqa: S608


def find_session(transaction: Transaction, sid: str) -> Session | None:
    """The session as stored."""
    row = transaction.execute(_SELECT_SESSION, (sid,)).fetchone()
    return session_of(row) if row is not None else None


def find_user(transaction: Transaction, user_id: str) -> User | None:
    """The user as stored."""
    row = transaction.execute(_SELECT_USER, (user_id,)).fetchone()
    return user_of(row) if row is not None else None


def unended(transaction: Transaction, user_id: str) -> tuple[Session, ...]:
    """The user's sessions that have not been marked as ended, by creation."""
    return tuple(map(session_of, transaction.execute(_SELECT_UNENDED, (user_id,))))


def apply(transaction: Transaction, effects: Effects, now: float) -> Ended:
    """Write `effects`; the epoch of a user who is gone is written by nobody."""
    for end in effects.ends:
        transaction.execute(
            "UPDATE sessions SET revoked_at = ?, revoke_reason = ? WHERE sid = ?", (now, end.reason.value, end.sid)
        )
    if effects.epoch is not None:
        user_id, epoch = effects.epoch
        transaction.execute("UPDATE users SET epoch = ? WHERE user_id = ?", (epoch, user_id))
    return Ended(effects.ends, tuple(_append(transaction, draft) for draft in effects.feed))


def _append(transaction: Transaction, draft: Draft) -> FeedEntry:
    cursor = transaction.execute(
        "INSERT INTO revocations (kind, key, value, expires_at) VALUES (?, ?, ?, ?)",
        (draft.kind.value, draft.key, draft.value, draft.expires_at),
    )
    transaction.feed_grown = True
    seq = cursor.lastrowid
    return FeedEntry(seq if seq is not None else 0, draft.kind, draft.key, draft.value, draft.expires_at)
