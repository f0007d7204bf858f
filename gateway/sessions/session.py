"""A session as stored, and the words for how it can end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.risk.facts import ClientFacts
from gateway.sessions.policy import RotationPolicy


class Channel(StrEnum):
    """How the refresh token travels; fixed at log-in. A token goes back only the way it came."""

    COOKIE = "cookie"
    BODY = "body"


class RevokeReason(StrEnum):
    """Why a session ended: the `reason` of `session.revoked`."""

    LOGOUT = "logout"
    LOGOUT_ALL = "logout_all"
    USER_REVOKED = "user_revoked"
    REUSE = "reuse"
    RISK = "risk"
    ADMIN = "admin"
    PASSWORD_CHANGED = "password_changed"
    USER_DISABLED = "user_disabled"
    USER_REMOVED = "user_removed"
    IDLE = "idle"
    ABSOLUTE = "absolute"
    EVICTED = "evicted"


@dataclass(frozen=True, slots=True)
class RetryMark:
    """One thing that a thief who rotates first cannot avoid, and an unlucky client shows now and then.

    `generation`: the one that was delivered again, by a retry or to the loser of a race in the body, or the older one
    that came back although newer ones seem to have arrived. `differs`: a retry that came late and from another network
    than the rotation.
    """

    generation: int
    differs: bool


@dataclass(frozen=True, slots=True)
class Session:
    """One log-in, one row, however often it is refreshed. Times are epoch seconds of the store's clock.

    `sid` is UUID text (36 characters, lower case), the only text form there is. `kid` is the master key the refresh
    tokens are derived from, fixed for life. `generation` is the current one, `delivery` counts how often it was handed
    out, `confirmed_generation` is the newest one whose arrival is proven, `presented_generation` the newest one that
    came back as a refresh token. `bound` are the client facts at log-in (or at the last proof), `seen` those of the
    latest rotation. `last_seen_at` is active use, `last_passive_at` use of passive routes. `max_access_exp` is the
    latest expiry of any access token issued.
    """

    sid: str
    user_id: str
    channel: Channel
    kid: int
    created_at: float
    auth_time: float
    amr: tuple[str, ...]
    generation: int
    delivery: int
    confirmed_generation: int
    presented_generation: int
    rotated_at: float
    last_seen_at: float
    last_passive_at: float
    max_access_exp: float
    idle_expires_at: float
    absolute_expires_at: float
    bound: ClientFacts
    seen: ClientFacts
    retries: tuple[RetryMark, ...] = ()
    proof_required: bool = False
    revoked_at: float | None = None
    revoke_reason: RevokeReason | None = None

    @property
    def ends_at(self) -> float:
        """When the session is over by itself."""
        return min(self.idle_expires_at, self.absolute_expires_at)

    def is_live(self, now: float) -> bool:
        """Whether it could be refreshed now, as far as the session itself says."""
        return self.revoked_at is None and now < self.ends_at

    def rotated(
        self,
        generation: int,
        now: float,
        facts: ClientFacts,
        retries: tuple[RetryMark, ...],
        *,
        last_seen_at: float,
        idle_expires_at: float,
        max_access_exp: float,
    ) -> Session:
        """One generation further: handed out once, the one before it presented and thereby confirmed.

        Written out because `dataclasses.replace` takes four times as long, and every refresh comes here.
        """
        return Session(
            self.sid,
            self.user_id,
            self.channel,
            self.kid,
            self.created_at,
            self.auth_time,
            self.amr,
            generation,
            1,
            generation - 1,
            generation - 1,
            now,
            last_seen_at,
            self.last_passive_at,
            max_access_exp,
            idle_expires_at,
            self.absolute_expires_at,
            self.bound,
            facts,
            retries,
            self.proof_required,
            self.revoked_at,
            self.revoke_reason,
        )


def begin_session(
    sid: str,
    user_id: str,
    channel: Channel,
    facts: ClientFacts,
    now: float,
    policy: RotationPolicy,
    *,
    kid: int = 1,
    amr: tuple[str, ...] = ("pwd",),
) -> Session:
    """A session as it is at log-in: the first generation, handed out once, of which nothing is known yet."""
    ends = now + policy.absolute_ttl
    return Session(
        sid=sid,
        user_id=user_id,
        channel=channel,
        kid=kid,
        created_at=now,
        auth_time=now,
        amr=amr,
        generation=1,
        delivery=1,
        confirmed_generation=0,
        presented_generation=0,
        rotated_at=now,
        last_seen_at=now,
        last_passive_at=now,
        max_access_exp=min(now + policy.access_ttl, ends),
        idle_expires_at=min(now + policy.idle_ttl, ends),
        absolute_expires_at=ends,
        bound=facts,
        seen=facts,
    )
