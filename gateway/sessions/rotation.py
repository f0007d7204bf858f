"""The rule of refresh rotation: what a refresh token with a good MAC means. Pure; docs/rotation.md explains it.

The outcomes are decided in the order of that page. `busy` and `forged` come before the atomic step and are not here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateway.sessions import retries
from gateway.sessions.decision import AccessGrant, Decision, Outcome, Reason, RevokeScope, Snapshot
from gateway.sessions.policy import BindingMode, OnReuse, RotationPolicy
from gateway.sessions.ports import RotationAttempt
from gateway.sessions.session import Channel, Session


@dataclass(frozen=True, slots=True)
class _Step:
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
        return self.attempt.policy

    @property
    def same_device(self) -> bool:
        return self.attempt.facts.device == self.session.seen.device

    @property
    def suspected(self) -> bool:
        return retries.suspicious(self.session.retries, self.session.generation)


def decide(snapshot: Snapshot, attempt: RotationAttempt, now: float) -> Decision:
    """What presenting this token means, and every change that follows. `now` is the store's time, after the lock."""
    session = snapshot.session
    if session is None:
        return Decision(Outcome.DEAD, reason=Reason.UNKNOWN)
    distance = session.generation - attempt.presented
    dead = _dead_reason(session, snapshot, attempt, now)
    if dead is not None:
        return Decision(Outcome.DEAD, reason=dead, distance=distance)
    step = _step(session, snapshot, attempt, now)
    if _is_theft(step):
        return _theft(step)
    challenge = _challenge_reason(step)
    if challenge is not None:
        return Decision(Outcome.CHALLENGED, reason=challenge, distance=distance, age=step.age)
    if distance <= 0:
        return _rotated(step)
    if _is_race(step):
        return _race(step)
    if _is_retry(step):
        return _retry(step)
    return Decision(Outcome.SUPERSEDED, distance=distance, age=step.age)


def _dead_reason(session: Session, snapshot: Snapshot, attempt: RotationAttempt, now: float) -> Reason | None:
    if session.revoked_at is not None:
        return Reason.REVOKED
    if now >= min(session.idle_expires_at, session.absolute_expires_at):
        return Reason.EXPIRED
    if snapshot.user is None or not snapshot.user.active:
        return Reason.USER_DISABLED
    if attempt.channel is not session.channel:
        return Reason.CHANNEL_MISMATCH
    return None


def _step(session: Session, snapshot: Snapshot, attempt: RotationAttempt, now: float) -> _Step:
    distance = session.generation - attempt.presented
    retired_at = snapshot.retired_at
    if distance == 1 and retired_at is None:
        retired_at = session.rotated_at  # forgotten, but this one the row itself remembers
    if distance <= 0 or retired_at is None:
        return _Step(session, attempt, now, distance, None, False, snapshot.recent_theft)
    elapsed = now - retired_at
    # A request that queued behind the winner counts from its arrival; a body that dribbles in for minutes does not.
    waited = min(max(0.0, attempt.waited), attempt.policy.in_flight_window)
    return _Step(session, attempt, now, distance, max(0.0, elapsed - waited), elapsed < 0, snapshot.recent_theft)


def _is_theft(step: _Step) -> bool:
    if step.distance <= 0 or step.backwards or _is_retry(step):
        return False
    late = max(step.policy.late_window, step.policy.in_flight_window)
    return step.age is None or step.age > late


def _is_race(step: _Step) -> bool:
    """A second client of the same jar; never after a retry or under suspicion, when a thief would live on it."""
    if step.distance != 1 or step.age is None or step.backwards or not step.same_device:
        return False
    return step.age <= step.policy.in_flight_window and step.session.delivery == 1 and not step.suspected


def _is_retry(step: _Step) -> bool:
    if step.distance != 1 or step.age is None or step.backwards or not step.same_device:
        return False
    return step.age > step.policy.in_flight_window and step.session.confirmed_generation < step.session.generation


def _challenge_reason(step: _Step) -> Reason | None:
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


def _theft(step: _Step) -> Decision:
    return Decision(Outcome.THEFT, revoke=_reach(step), distance=step.distance, age=step.age)


def _reach(step: _Step) -> RevokeScope:
    """How far a theft reaches: a successor nobody ever presented may be a browser that crashed before storing it."""
    if step.policy.on_reuse is OnReuse.REVOKE_SESSION:
        elsewhere = not step.same_device or step.attempt.facts.network != step.session.seen.network
        return RevokeScope.USER if elsewhere or step.recent_theft else RevokeScope.SESSION
    unseen = step.session.presented_generation <= step.attempt.presented
    return RevokeScope.SESSION if unseen and step.same_device else RevokeScope.USER


def _rotated(step: _Step) -> Decision:
    """The current generation came back: one further. Ahead of the store, the store lost time and catches up."""
    presented, now = step.attempt.presented, step.now
    marks = retries.recent(step.session.retries, presented + 1)
    suspected = retries.suspicious(marks, presented + 1)
    grant = _grant(step, presented + 1, 1, suspected=suspected)
    ahead = step.distance < 0
    return Decision(
        Outcome.AHEAD if ahead else Outcome.ROTATED,
        session=replace(
            _used(step),
            generation=presented + 1,
            delivery=1,
            confirmed_generation=presented,
            presented_generation=presented,
            rotated_at=now,
            max_access_exp=max(step.session.max_access_exp, grant.expires_at),
            seen=step.attempt.facts,
            retries=marks,
        ),
        retire=(presented, now),
        grant=grant,
        successor=presented + 1,
        suspicious=(("store_behind",) if ahead else ()) + _news(step),
        distance=step.distance,
    )


def _race(step: _Step) -> Decision:
    """The loser of a race gets access for a moment, on a token that confirms nothing."""
    session, now = step.session, step.now
    life = min(step.policy.race_access_ttl, step.policy.access_ttl)
    expires_at = min(max(session.rotated_at + life, now + life / 2), now + life, session.absolute_expires_at)
    outlives = expires_at > session.max_access_exp
    return Decision(
        Outcome.RACE,
        session=replace(session, max_access_exp=expires_at) if outlives else None,
        grant=AccessGrant(step.attempt.presented, -session.delivery, expires_at, receipt_at=expires_at),
        # A late answer must never push a cookie jar back; body clients keep the highest generation by themselves.
        successor=session.generation if session.channel is Channel.BODY else None,
        suspicious=_news(step),
        distance=step.distance,
        age=step.age,
    )


def _retry(step: _Step) -> Decision:
    """The answer never arrived, as far as anyone has shown: the same successor again, earlier deliveries denied."""
    session, now = step.session, step.now
    marks = retries.with_retry(session, step.attempt, step.age or 0.0)
    suspected = retries.suspicious(marks, session.generation)
    proof = retries.proof_due(marks, session.generation)
    delivery = session.delivery + 1
    grant = _grant(step, session.generation, delivery, suspected=suspected)
    reasons = (("repeated_retries",) if suspected else ()) + (("retries_from_elsewhere",) if proof else ())
    return Decision(
        Outcome.RETRY,
        session=replace(
            _used(step),
            delivery=delivery,
            rotated_at=now,
            max_access_exp=max(session.max_access_exp, grant.expires_at),
            seen=step.attempt.facts,
            retries=marks,
            proof_required=proof,
        ),
        retire=(step.attempt.presented, now),
        deny_deliveries=True,
        grant=grant,
        successor=session.generation,
        suspicious=reasons + _news(step),
        distance=step.distance,
        age=step.age,
    )


def _grant(step: _Step, generation: int, delivery: int, *, suspected: bool) -> AccessGrant:
    """An access token that confirms its generation: after R, when a jar is on disk, or at once under suspicion."""
    expires_at = min(step.now + step.policy.access_ttl, step.session.absolute_expires_at)
    receipt_at = step.now if suspected else step.now + step.policy.receipt_after
    return AccessGrant(generation, delivery, expires_at, receipt_at=receipt_at)


def _used(step: _Step) -> Session:
    """The session with its idle limit renewed, unless nothing but polling came since the last rotation."""
    session = step.session
    since = session.rotated_at
    if session.last_passive_at > since and session.last_seen_at <= since:
        return session
    idle = min(step.now + step.policy.idle_ttl, session.absolute_expires_at)
    return replace(session, last_seen_at=max(session.last_seen_at, step.now), idle_expires_at=idle)


def _news(step: _Step) -> tuple[str, ...]:
    """Bindings under `alert` that do not hold, told once: not again from where the last rotation came."""
    facts, bound, seen, policy = step.attempt.facts, step.session.bound, step.session.seen, step.policy
    news = []
    if policy.device_binding is BindingMode.ALERT and facts.device not in (bound.device, seen.device):
        news.append("device_changed")
    if policy.ip_binding is BindingMode.ALERT and facts.network not in (bound.network, seen.network):
        news.append("network_changed")
    return tuple(news)
