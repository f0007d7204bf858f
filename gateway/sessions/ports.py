"""What the session service asks of a store. One contract suite (tests/contract) runs on every adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from gateway.credentials.user import User
from gateway.risk.facts import ClientFacts
from gateway.sessions.decision import Decision
from gateway.sessions.policy import RotationPolicy
from gateway.sessions.session import Channel, RevokeReason, Session


class FeedKind(StrEnum):
    """What a revocation entry denies."""

    SESSION = "session"  # key = sid: every access token of the session
    USER = "user"  # key = user id, value = epoch: every token with a lower `ue`
    DELIVERY = "delivery"  # key = sid, value = generation and delivery: earlier deliveries and race tokens


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """One row of the append-only revocation feed. `expires_at`: nothing it denies can still be valid after that.

    `seq` follows commit order. For DELIVERY `value` is `generation * 65536 + delivery`.
    """

    seq: int
    kind: FeedKind
    key: str
    value: int
    expires_at: float


@dataclass(frozen=True, slots=True)
class EndedSession:
    """A session that a call ended, for its `session.revoked` event."""

    sid: str
    user_id: str
    reason: RevokeReason


@dataclass(frozen=True, slots=True)
class Ended:
    """What a revoking call did: committed when this is returned. Empty when there was nothing to end."""

    sessions: tuple[EndedSession, ...] = ()
    feed: tuple[FeedEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Created:
    """A new session, and the oldest idle ones that made room for it."""

    session: Session
    evicted: Ended


@dataclass(frozen=True, slots=True)
class RotationAttempt:
    """A refresh token with a good MAC, presented. `waited`: seconds since the request arrived at the gateway."""

    sid: str
    presented: int
    channel: Channel
    facts: ClientFacts
    waited: float
    policy: RotationPolicy


@dataclass(frozen=True, slots=True)
class Rotation:
    """The outcome of one atomic step: committed when this is returned.

    `before` is the session as read under the lock (None when unknown), `user` the user as read under the lock; claims
    of a new access token come from there and from `decision.session`. `now` is the store's time after the lock.
    """

    decision: Decision
    before: Session | None
    user: User | None
    now: float
    ended: Ended = Ended()


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that an answer arrived: an access token of `generation` was used by a client at `seen_at`.

    `confirm`: old enough to count as a receipt (R); otherwise it only moves the time of last use. `passive`: came
    through a passive route, so it moves `last_passive_at` instead of `last_seen_at`.
    """

    sid: str
    generation: int
    seen_at: float
    confirm: bool
    passive: bool


class SessionStore(Protocol):
    """Sessions and the revocation feed, in one transactional place.

    Every method raises `StoreBusy` (lock timeout) or `StoreUnavailable`, never a driver's exception, and either did all
    of its work or none. Time is the store's.
    """

    async def now(self) -> float:
        """The store's clock, epoch seconds."""
        ...

    async def create(
        self, session: Session, *, user_epoch: int, max_per_user: int, password_changed_at: float | None = None
    ) -> Created:
        """Insert a session while its user is active and still at `user_epoch`; evict the longest idle over the limit.

        `password_changed_at`: as the user had it when the password was checked; None for a log-in without one.

        The session's times are given by the caller from `now()`. Raises `InvalidCredentials` when the user is gone,
        inactive, at another epoch or has another password: what ran beside the log-in wins.
        """
        ...

    async def rotate(self, attempt: RotationAttempt) -> Rotation:
        """Lock session and user, `decide` on what was read under the lock, apply the decision, commit."""
        ...

    async def confirm(self, receipts: Sequence[Receipt]) -> None:
        """Apply receipts: `confirmed_generation := g WHERE generation = g`, and the times of last use. Idempotent."""
        ...

    async def get(self, sid: str) -> Session | None:
        """The session as stored, ended or not; None when unknown."""
        ...

    async def access_until(self, sids: Sequence[str]) -> Mapping[str, float]:
        """`max_access_exp` of those of the sessions that could be refreshed now, by sid."""
        ...

    async def list_live(self, user_id: str | None = None, *, limit: int = 1000, after: str = "") -> tuple[Session, ...]:
        """Sessions that could be refreshed now, of one user (newest use first) or of all (by sid, after `after`)."""
        ...

    async def end(self, sid: str, reason: RevokeReason, *, user_id: str | None = None) -> Ended:
        """End one session, and only if it is `user_id`'s when that is given."""
        ...

    async def end_user(self, user_id: str, reason: RevokeReason, *, keep: str | None = None) -> Ended:
        """End the user's sessions. Without `keep` the epoch is raised too, so every access token dies."""
        ...

    async def expire(self, *, limit: int) -> Ended:
        """Mark at most `limit` sessions past their idle or absolute limit as ended."""
        ...

    async def purge(self, *, retention: float, limit: int) -> int:
        """Delete at most `limit` sessions that ended more than `retention` seconds ago, and expired feed rows."""
        ...

    async def canary(self, name: str, *, life: float) -> FeedEntry:
        """Append the denial of a session that never was, `canary_key(name, now)`, for `life` seconds."""
        ...

    async def feed(self, after: int) -> tuple[FeedEntry, ...]:
        """Unexpired feed entries with `seq > after`, in order. `after=0` is everything unexpired."""
        ...

    async def feed_changed(self, timeout: float) -> None:
        """Return when the feed may have grown, also by another process, or after `timeout` seconds."""
        ...
