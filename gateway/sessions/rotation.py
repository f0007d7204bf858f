"""The rule of refresh rotation: what a refresh token with a good MAC means. Pure; docs/rotation.md explains it.

The outcomes are decided in the order of that page. `busy` and `forged` come before the atomic step and are not here.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.sessions import retries
from gateway.sessions.decision import AccessGrant, Decision, Outcome, Reason, RevokeScope, Snapshot
from gateway.sessions.policy import BindingMode, OnReuse
from gateway.sessions.ports import RotationAttempt
from gateway.sessions.presentation import (
    Presentation,
    challenge_reason,
    dead_reason,
    is_race,
    is_retry,
    is_theft,
    may_be_restart,
    presentation,
)
from gateway.sessions.session import Channel, RetryMark

LOST = 64  # how many rotations a store that went back may have lost and still be told of
DELIVERIES = 65535  # the most deliveries of one generation: denies them all


def decide(snapshot: Snapshot, attempt: RotationAttempt, now: float) -> Decision:
    """What presenting this token means, and every change that follows. `now` is the store's time, after the lock."""
    session = snapshot.session
    if session is None:
        return Decision(Outcome.DEAD, reason=Reason.UNKNOWN)
    distance = session.generation - attempt.presented
    dead = dead_reason(session, snapshot, attempt, now)
    if dead is not None:
        return Decision(Outcome.DEAD, reason=dead, distance=distance)
    step = presentation(session, snapshot, attempt, now)
    if is_theft(step):
        return _theft(step)
    challenge = challenge_reason(step)
    if challenge is not None:
        return Decision(Outcome.CHALLENGED, reason=challenge, distance=distance, age=step.age)
    if distance <= 0:
        return _rotated(step)
    if is_race(step):
        return _race(step)
    if is_retry(step):
        return _retry(step)
    return _superseded(step)


def _theft(step: Presentation) -> Decision:
    return Decision(Outcome.THEFT, revoke=_reach(step), distance=step.distance, age=step.age)


def _reach(step: Presentation) -> RevokeScope:
    """How far a theft reaches: a successor nobody ever presented may be a browser that crashed before storing it."""
    if step.policy.on_reuse is OnReuse.REVOKE_SESSION:
        elsewhere = not step.same_device or step.attempt.facts.network != step.session.seen.network
        return RevokeScope.USER if elsewhere or step.recent_theft else RevokeScope.SESSION
    unseen = step.session.presented_generation <= step.attempt.presented
    return RevokeScope.SESSION if unseen and step.same_device else RevokeScope.USER


def _rotated(step: Presentation) -> Decision:
    """The current generation came back: one further. Ahead of the store, the store lost time and catches up."""
    presented, now = step.attempt.presented, step.now
    marks = retries.recent(step.session.retries, presented + 1)
    grant = _grant(step, presented + 1, 1, marks)
    ahead = step.distance < 0
    # What was spent while the store forgot is late for a while, as if it were spent now; only then is it theft.
    lost = tuple(range(max(step.session.generation, presented - LOST), presented))
    delivered = step.session.delivery
    # Handed out more than once: whoever did not present it keeps no access token that no longer confirms anything.
    shared = delivered > 1 and not ahead
    seen_at, idle_at = _last_use(step)
    return Decision(
        Outcome.AHEAD if ahead else Outcome.ROTATED,
        session=step.session.rotated(
            presented + 1,
            now,
            step.attempt.facts,
            marks,
            last_seen_at=seen_at,
            idle_expires_at=idle_at,
            max_access_exp=max(step.session.max_access_exp, grant.expires_at),
        ),
        retire=(presented, now),
        lost=lost,
        denials=((presented, delivered + 1),) if shared else (),
        grant=grant,
        successor=presented + 1,
        suspicious=(("store_behind",) if ahead else ()) + _news(step),
        distance=step.distance,
    )


def _race(step: Presentation) -> Decision:
    """The loser of a race gets access for a moment, on a token that confirms nothing."""
    session, now, policy = step.session, step.now, step.policy
    life = min(policy.race_access_ttl, policy.access_ttl)
    if step.retried:
        life = min(life, policy.in_flight_window)  # until it may retry itself; a thief who waited for this gets no more
    expires_at = min(max(session.rotated_at + life, now + life / 2), now + life, session.absolute_expires_at)
    # A late answer must never push a cookie jar back; body clients keep the highest generation by themselves.
    body = session.channel is Channel.BODY
    marks = retries.with_race(session) if body else session.retries
    after = replace(
        session,
        delivery=session.delivery + (1 if body else 0),
        max_access_exp=max(session.max_access_exp, expires_at),
        retries=marks,
    )
    return Decision(
        Outcome.RACE,
        session=after if after != session else None,
        grant=AccessGrant(step.attempt.presented, -session.delivery, expires_at, receipt_at=expires_at),
        successor=session.generation if body else None,
        suspicious=_alarms(step, marks) + _news(step),
        distance=step.distance,
        age=step.age,
    )


def _retry(step: Presentation) -> Decision:
    """The answer never arrived, as far as anyone has shown: the same successor again, earlier deliveries denied."""
    session, now, presented = step.session, step.now, step.attempt.presented
    marks = retries.with_retry(session, step.attempt, step.age or 0.0)
    delivery = session.delivery + 1
    grant = _grant(step, session.generation, delivery, marks)
    skipped = range(presented + 1, session.generation)
    seen_at, idle_at = _last_use(step)
    return Decision(
        Outcome.RETRY,
        session=replace(
            step.session,
            last_seen_at=seen_at,
            idle_expires_at=idle_at,
            delivery=delivery,
            rotated_at=now,
            max_access_exp=max(session.max_access_exp, grant.expires_at),
            seen=step.attempt.facts,
            retries=marks,
            proof_required=retries.proof_due(marks, session.generation),
        ),
        retire=(presented, now),
        denials=(*((generation, DELIVERIES) for generation in skipped), (session.generation, delivery)),
        grant=grant,
        successor=session.generation,
        suspicious=_alarms(step, marks) + _news(step),
        distance=step.distance,
        age=step.age,
    )


def _superseded(step: Presentation) -> Decision:
    """Read the jar again. Who did, and still comes with the same, may have lost it in a crash: that is remembered."""
    session = step.session
    marks = retries.with_return(session, step.attempt.presented) if may_be_restart(step) else session.retries
    return Decision(
        Outcome.SUPERSEDED,
        session=replace(session, retries=marks) if marks != session.retries else None,
        distance=step.distance,
        age=step.age,
    )


def _alarms(step: Presentation, marks: tuple[RetryMark, ...]) -> tuple[str, ...]:
    generation = step.session.generation
    alarms = ("repeated_retries",) if retries.suspicious(marks, generation) else ()
    return alarms + (("retries_from_elsewhere",) if retries.proof_due(marks, generation) else ())


def _grant(step: Presentation, generation: int, delivery: int, marks: tuple[RetryMark, ...]) -> AccessGrant:
    """An access token that confirms its generation: after R, when a jar is on disk, or at once after odd retries."""
    expires_at = min(step.now + step.policy.access_ttl, step.session.absolute_expires_at)
    receipt_at = step.now + (0.0 if retries.wary(marks, generation) else step.policy.receipt_after)
    return AccessGrant(generation, delivery, expires_at, receipt_at=receipt_at)


def _last_use(step: Presentation) -> tuple[float, float]:
    """`last_seen_at` and `idle_expires_at`: renewed, unless nothing but polling came since the last rotation."""
    session = step.session
    since = session.rotated_at
    if session.last_passive_at > since and session.last_seen_at <= since:
        return session.last_seen_at, session.idle_expires_at
    idle = min(step.now + step.policy.idle_ttl, session.absolute_expires_at)
    return max(session.last_seen_at, step.now), idle


def _news(step: Presentation) -> tuple[str, ...]:
    """Bindings under `alert` that do not hold, told once: not again from where the last rotation came."""
    facts, bound, seen, policy = step.attempt.facts, step.session.bound, step.session.seen, step.policy
    news = []
    if policy.device_binding is BindingMode.ALERT and facts.device not in (bound.device, seen.device):
        news.append("device_changed")
    if policy.ip_binding is BindingMode.ALERT and facts.network not in (bound.network, seen.network):
        news.append("network_changed")
    return tuple(news)
