"""Rows to domain objects and back, for every SQL store. Columns are listed once, in the order of the dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import orjson

from gateway.credentials.user import User
from gateway.risk.facts import ClientFacts
from gateway.sessions.session import Channel, RetryMark, RevokeReason, Session

FIXED = ("sid", "user_id", "channel", "kid", "created_at")
MOVING = (
    "auth_time",
    "amr",
    "generation",
    "delivery",
    "confirmed_generation",
    "presented_generation",
    "rotated_at",
    "last_seen_at",
    "last_passive_at",
    "max_access_exp",
    "idle_expires_at",
    "absolute_expires_at",
    "bound_address",
    "bound_network",
    "bound_user_agent",
    "bound_device",
    "seen_address",
    "seen_network",
    "seen_user_agent",
    "seen_device",
    "retries",
    "proof_required",
)
SESSION = (*FIXED, *MOVING, "revoked_at", "revoke_reason")
USER = (
    "user_id",
    "username",
    "username_key",
    "email",
    "roles",
    "password_hash",
    "active",
    "epoch",
    "created_at",
    "password_changed_at",
)
_CHANNELS = {channel.value: channel for channel in Channel}
_REASONS = {reason.value: reason for reason in RevokeReason}


def session_of(row: Sequence[Any]) -> Session:
    """The session in the first columns of `row`."""
    return Session(
        row[0],
        row[1],
        _CHANNELS[row[2]],
        row[3],
        row[4],
        row[5],
        _words(row[6]),
        row[7],
        row[8],
        row[9],
        row[10],
        row[11],
        row[12],
        row[13],
        row[14],
        row[15],
        row[16],
        ClientFacts(row[17], row[18], row[19], row[20]),
        ClientFacts(row[21], row[22], row[23], row[24]),
        _retries_of(row[25]),
        bool(row[26]),
        row[27],
        _REASONS[row[28]] if row[28] is not None else None,
    )


def session_values(session: Session) -> tuple[Any, ...]:
    """The values of `INSERTSESSION`."""
    fixed = (session.sid, session.user_id, session.channel.value, session.kid, session.created_at)
    reason = session.revoke_reason.value if session.revoke_reason is not None else None
    return (*fixed, *moving_values(session), session.revoked_at, reason)


def user_of(row: Sequence[Any]) -> User:
    """The user in the columns of `row`."""
    user_id, username, key, email, roles, password_hash, active, epoch, created_at, changed_at = row
    return User(
        user_id, username, key, email, _words(roles), password_hash, bool(active), epoch, created_at, changed_at
    )


def user_values(user: User) -> tuple[Any, ...]:
    """The values of `INSERTUSER`."""
    return (
        user.user_id,
        user.username,
        user.username_key,
        user.email,
        words_text(user.roles),
        user.password_hash,
        user.active,
        user.epoch,
        user.created_at,
        user.password_changed_at,
    )


@lru_cache(maxsize=1024)
def words_text(words: tuple[str, ...]) -> str:
    """Roles or authentication methods as JSON text."""
    return orjson.dumps(words).decode()


@lru_cache(maxsize=1024)
def _words(text: str) -> tuple[str, ...]:
    return tuple(orjson.loads(text))


def _retries_of(text: str) -> tuple[RetryMark, ...]:
    if text == "[]":
        return ()
    return tuple(RetryMark(generation, differs) for generation, differs in orjson.loads(text))


def _retries_text(retries: tuple[RetryMark, ...]) -> str:
    return orjson.dumps([(mark.generation, mark.differs) for mark in retries]).decode() if retries else "[]"


def moving_values(session: Session) -> tuple[Any, ...]:
    """The values of `MOVING`."""
    bound, seen = session.bound, session.seen
    return (
        session.auth_time,
        words_text(session.amr),
        session.generation,
        session.delivery,
        session.confirmed_generation,
        session.presented_generation,
        session.rotated_at,
        session.last_seen_at,
        session.last_passive_at,
        session.max_access_exp,
        session.idle_expires_at,
        session.absolute_expires_at,
        bound.address,
        bound.network,
        bound.user_agent,
        bound.device,
        seen.address,
        seen.network,
        seen.user_agent,
        seen.device,
        _retries_text(session.retries),
        session.proof_required,
    )
