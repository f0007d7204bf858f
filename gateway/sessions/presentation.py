"""One presentation of a refresh token on a live session, and the questions the rule asks about it."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.sessions import retries
from gateway.sessions.decision import Reason, Snapshot
from gateway.sessions.policy import BindingMode, RotationPolicy
from gateway.sessions.ports import RotationAttempt
from gateway.sessions.session import Session

RESTART_DISTANCE = 10  # how many rotations a crash may cost a jar: tabs that wake together rotate in turn


@dataclass(frozen=True, slots=True)
class Presentation:
    """One presentation on a live session, with what the rules ask of it.

    `age`: seconds from the retirement of the presented generation to the arrival of the request, None when it is the
    current one or its retirement is forgotten. `backwards`: the clock stands before that retirement.
    """

    session: Session
    attempt: RotationAttempt
    now: float
    distance: int
    age: float | None
    backwards: bool
    recent_theft: bool

    @property
    def policy(self) -> RotationPolicy:
        """The rules in force."""
        return self.attempt.policy

    @property
    def same_device(self) -> bool:
        """Whether it comes from the device of the latest rotation."""
        return self.attempt.facts.device == self.session.seen.device

    @property
    def suspected(self) -> bool:
        """Whether too many retries came before."""
        return retries.suspicious(self.session.retries, self.session.generation)

    @property
    def retried(self) -> bool:
        """Whether the current generation was handed out before to another than its rotator."""
        return retries.has_mark(self.session.retries, self.session.generation)


def presentation(session: Session, snapshot: Snapshot, attempt: RotationAttempt, now: float) -> Presentation:
    """What `attempt` is on this live session at `now`, the store's time."""
    distance = session.generation - attempt.presented
    retired_at = snapshot.retired_at
    if distance == 1 and retired_at is None:
        retired_at = session.rotated_at  # forgotten, but this one the row itself remembers
    if distance <= 0 or retired_at is None:
        return Presentation(session, attempt, now, distance, None, False, snapshot.recent_theft)
    elapsed = now - retired_at
    # A request that queued behind the winner counts from its arrival; a body that dribbles in for minutes does not.
    waited = min(max(0.0, attempt.waited), attempt.policy.in_flight_window)
    return Presentation(session, attempt, now, distance, max(0.0, elapsed - waited), elapsed < 0, snapshot.recent_theft)


def dead_reason(session: Session, snapshot: Snapshot, attempt: RotationAttempt, now: float) -> Reason | None:
    """Why nothing can come of the token any more, if so."""
    if session.revoked_at is not None:
        return Reason.REVOKED
    if now >= session.ends_at:
        return Reason.EXPIRED
    if snapshot.user is None or not snapshot.user.active:
        return Reason.USER_DISABLED
    if attempt.channel is not session.channel:
        return Reason.CHANNEL_MISMATCH
    return None


def is_theft(step: Presentation) -> bool:
    """Spent, and too long ago for any client that is late or lost an answer."""
    if step.distance <= 0 or step.backwards or is_retry(step):
        return False
    late = max(step.policy.late_window, step.policy.in_flight_window)
    return step.age is None or step.age > late


def is_race(step: Presentation) -> bool:
    """A second client of the same jar; not under suspicion, when a thief would live on it."""
    if step.distance != 1 or step.age is None or step.backwards or not step.same_device:
        return False
    return step.age <= step.policy.in_flight_window and not step.suspected


def is_retry(step: Presentation) -> bool:
    """The answer was lost, or the jar with what had arrived: nothing newer than the presented one is proven to stay."""
    if step.age is None or step.backwards or not step.same_device:
        return False
    if step.age <= step.policy.in_flight_window or step.session.confirmed_generation >= step.session.generation:
        return False
    return step.distance == 1 or (
        may_be_restart(step) and retries.has_mark(step.session.retries, step.attempt.presented)
    )


def may_be_restart(step: Presentation) -> bool:
    """Whether a crash can explain an older ancestor: all that followed came before a jar is on disk, then silence."""
    session, age, policy = step.session, step.age, step.policy
    if age is None or not policy.in_flight_window < age <= policy.late_window or not step.same_device or step.suspected:
        return False
    silence = step.now - session.rotated_at
    unconfirmed = session.confirmed_generation < session.generation
    tabs = 2 <= step.distance <= RESTART_DISTANCE
    return tabs and unconfirmed and silence > policy.in_flight_window and age - silence <= policy.receipt_after


def challenge_reason(step: Presentation) -> Reason | None:
    """What has to be proven before anything is handed out, if so."""
    session, facts, policy = step.session, step.attempt.facts, step.policy
    if session.proof_required:
        return Reason.PROOF_REQUIRED
    if policy.device_binding is BindingMode.ENFORCE and facts.device != session.bound.device:
        return Reason.DEVICE_MISMATCH
    if policy.ip_binding is BindingMode.ENFORCE and facts.network != session.bound.network:
        return Reason.IP_MISMATCH
    if policy.reauth_after is not None and step.now >= session.auth_time + policy.reauth_after:
        return Reason.REAUTH_REQUIRED
    return None
