"""What `decide` answers: an outcome and the changes that make it true."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.credentials.user import User
from gateway.sessions.session import Session


class Outcome(StrEnum):
    """The ten outcomes of a refresh. BUSY and FORGED are decided outside the atomic step."""

    BUSY = "busy"
    FORGED = "forged"
    DEAD = "dead"
    AHEAD = "ahead"
    THEFT = "theft"
    CHALLENGED = "challenged"
    ROTATED = "rotated"
    RACE = "race"
    RETRY = "retry"
    SUPERSEDED = "superseded"


class Reason(StrEnum):
    """Why a refresh was rejected: the `reason` of `session.refresh_rejected`."""

    EXPIRED = "expired"
    REVOKED = "revoked"
    USER_DISABLED = "user_disabled"
    UNKNOWN = "unknown"
    CHANNEL_MISMATCH = "channel_mismatch"
    DEVICE_MISMATCH = "device_mismatch"
    IP_MISMATCH = "ip_mismatch"
    REAUTH_REQUIRED = "reauth_required"
    PROOF_REQUIRED = "proof_required"


class RevokeScope(StrEnum):
    """How far a theft reaches."""

    SESSION = "session"
    USER = "user"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was read under the lock. `retired_at`: when the presented generation was retired, if remembered.

    `recent_theft`: the user had another theft within the last 24 hours.
    """

    session: Session | None
    user: User | None
    retired_at: float | None
    recent_theft: bool


@dataclass(frozen=True, slots=True)
class AccessGrant:
    """What the access token to issue carries. `delivery` is `dn`: negative for the loser of a race.

    `receipt_at`: from when its use confirms `generation`; later than `expires_at` or equal when it never does.
    """

    generation: int
    delivery: int
    expires_at: float
    receipt_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Decision:
    """The rule's answer; a store applies it as it stands.

    `session`: the row to write (None: leave it). `retire`: (generation, at) to remember, and at the same time each of
    `lost`, generations whose end the store never saw. `denials`: append a DELIVERY feed entry for each (generation,
    delivery). `revoke`: end this session or all of the user's. `grant`: the access token to issue; `successor`: the
    generation of the refresh token to hand out (None: none). `suspicious`: reasons for a `session.suspicious` event.
    `age` is seconds since the presented generation was retired, `distance` how many generations it lies back.
    """

    outcome: Outcome
    reason: Reason | None = None
    session: Session | None = None
    retire: tuple[int, float] | None = None
    lost: tuple[int, ...] = ()
    denials: tuple[tuple[int, int], ...] = ()
    revoke: RevokeScope | None = None
    grant: AccessGrant | None = None
    successor: int | None = None
    suspicious: tuple[str, ...] = ()
    distance: int = 0
    age: float | None = None
