"""What a call changes, worked out without touching a store, so that no two stores can differ in it.

A store reads rows under its lock, asks one of these functions, and writes the answer as it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from gateway.credentials.user import User
from gateway.errors import InvalidCredentials
from gateway.risk.facts import ClientFacts
from gateway.sessions.canary import canary_key
from gateway.sessions.decision import Decision, RevokeScope
from gateway.sessions.policy import RotationPolicy
from gateway.sessions.ports import EndedSession, FeedKind, Receipt, RotationAttempt
from gateway.sessions.session import RevokeReason, Session

# An entry outlives every token it denies, also where a clock is wrong or stepped by an hour: what forgets entries and
# what believes tokens may not read the same one.
DENIAL_LEEWAY = 3600.0 + 60.0
# How long a theft counts against the next one of the same user.
THEFT_MEMORY = 24 * 3600.0
# A request that waited in a queue is judged by its arrival, so history reaches further back than the late window.
HISTORY_MARGIN = 60.0
# Rotating faster than any client does must not grow a row without bound; what is forgotten counts as old.
HISTORY_LIMIT = 256
# The most events one trim deletes, so that it never holds the lock for long.
TRIM_BATCH = 5000

History = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """A feed entry before the store gives it its `seq`."""

    kind: FeedKind
    key: str
    value: int
    expires_at: float


@dataclass(frozen=True, slots=True)
class Effects:
    """Sessions to mark as ended, the user's new epoch, and what to append to the feed: in one transaction."""

    ends: tuple[EndedSession, ...] = ()
    epoch: tuple[str, int] | None = None
    feed: tuple[Draft, ...] = ()


@dataclass(frozen=True, slots=True)
class RotationEffects:
    """A decision as writes: the row (None: leave it), its history (None: leave it), and what ends."""

    row: Session | None
    history: History | None
    then: Effects


NOTHING = Effects()


def reason_at(session: Session, reason: RevokeReason, now: float) -> RevokeReason:
    """Why the session really ends: one that outlived a limit ended by that limit, whoever finds it."""
    if now >= session.absolute_expires_at:
        return RevokeReason.ABSOLUTE
    if now >= session.idle_expires_at:
        return RevokeReason.IDLE
    return reason


def end_sessions(sessions: Iterable[Session], reason: RevokeReason, now: float) -> Effects:
    """End each of `sessions` that has not ended yet, denying its access tokens one by one."""
    ending = [session for session in sessions if session.revoked_at is None]
    return Effects(
        ends=tuple(EndedSession(s.sid, s.user_id, reason_at(s, reason, now)) for s in ending),
        feed=tuple(Draft(FeedKind.SESSION, s.sid, 0, _denied_until(s.max_access_exp, now)) for s in ending),
    )


def expire_sessions(sessions: Iterable[Session], now: float) -> Effects:
    """End sessions that ran out. Where every access token ran out long before, there is nothing to deny: a feed that
    grew by all of them would keep every process busy reading it.
    """
    ending = tuple(sessions)
    effects = end_sessions(ending, RevokeReason.IDLE, now)
    good_until = {session.sid: session.max_access_exp + DENIAL_LEEWAY for session in ending}
    return replace(effects, feed=tuple(draft for draft in effects.feed if good_until[draft.key] > now))


def end_user(
    user: User, sessions: Sequence[Session], reason: RevokeReason, now: float, *, keep: str | None = None
) -> Effects:
    """End the user's sessions but `keep`; without it one epoch entry denies all access tokens at once."""
    if keep is not None:
        return end_sessions((s for s in sessions if s.sid != keep), reason, now)
    ending = [session for session in sessions if session.revoked_at is None]
    raised = raise_epoch(user, ending, now)
    return replace(raised, ends=tuple(EndedSession(s.sid, s.user_id, reason_at(s, reason, now)) for s in ending))


def raise_epoch(user: User, sessions: Iterable[Session], now: float) -> Effects:
    """Deny every access token of the user, ending nothing. `sessions`: the user's that have not ended."""
    latest = max((session.max_access_exp for session in sessions), default=now)
    epoch = user.epoch + 1
    return Effects(
        epoch=(user.user_id, epoch),
        feed=(Draft(FeedKind.USER, user.user_id, epoch, _denied_until(latest, now)),),
    )


def canary(name: str, now: float, life: float) -> Effects:
    """Deny a session that never was: what a revocation writes, and nobody feels."""
    return Effects(feed=(Draft(FeedKind.SESSION, canary_key(name, now), 0, now + life),))


def admit(user: User | None, user_epoch: int, password_changed_at: float | None) -> User:
    """The user a session may be created for; a revocation or new password that came beside the log-in wins."""
    same_password = password_changed_at is None or (
        user is not None and user.password_changed_at == password_changed_at
    )
    if user is None or not user.active or user.epoch != user_epoch or not same_password:
        raise InvalidCredentials(debug="the user was removed, disabled or revoked while logging in")
    return user


def admit_change(user: User, old: str | None) -> None:
    """Let a user's own change of password pass while the hash it was proven against stands; a reset beside it wins."""
    if old is not None and (not user.active or user.password_hash != old):
        raise InvalidCredentials(debug="the password was changed or the user disabled meanwhile")


def make_room(sessions: Iterable[Session], max_per_user: int, now: float) -> Effects:
    """Evict the longest idle of the user's live sessions so that one more stays within the limit."""
    live = sorted((s for s in sessions if s.is_live(now)), key=lambda s: (s.last_seen_at, s.created_at, s.sid))
    excess = len(live) + 1 - max(1, max_per_user)
    return end_sessions(live[:excess], RevokeReason.EVICTED, now) if excess > 0 else NOTHING


def rotation_effects(
    decision: Decision,
    before: Session | None,
    user: User | None,
    history: History,
    unended: Callable[[], Sequence[Session]],
    policy: RotationPolicy,
    now: float,
) -> RotationEffects:
    """A decision as writes. `unended` fetches the user's sessions that have not ended, if they are needed."""
    if before is None:
        return RotationEffects(None, None, NOTHING)
    after = None
    if decision.retire is not None:
        generation, at = decision.retire
        keep_for = max(policy.late_window, policy.in_flight_window)
        after = history
        for spent in (*decision.lost, generation):
            after = remember(after, spent, at, keep_for=keep_for, now=now)
    current = decision.session or before
    denied = tuple(_delivery_denial(before, denial, now) for denial in decision.denials)
    then = NOTHING
    if decision.revoke is RevokeScope.USER and user is not None:
        sessions = [current if session.sid == current.sid else session for session in unended()]
        then = end_user(user, sessions, RevokeReason.REUSE, now)
    elif decision.revoke is not None:
        then = end_sessions((current,), RevokeReason.REUSE, now)
    if denied:
        then = replace(then, feed=denied + then.feed)
    return RotationEffects(decision.session, after, then)


def recall(history: History, generation: int) -> float | None:
    """When `generation` was retired, if that is remembered."""
    for known, at in history:
        if known == generation:
            return at
    return None


def remember(history: History, generation: int, at: float, *, keep_for: float, now: float) -> History:
    """Add or move one retirement and forget those older than `keep_for` seconds."""
    oldest = now - keep_for - HISTORY_MARGIN
    kept = [entry for entry in history if entry[0] != generation and entry[1] >= oldest]
    kept.append((generation, at))
    return tuple(kept[-HISTORY_LIMIT:])


def kept_for(reason: RevokeReason | None, retention: float) -> float:
    """How long an ended session stays: a theft at least as long as it counts against the next one."""
    return max(retention, THEFT_MEMORY) if reason is RevokeReason.REUSE else retention


def apply_receipt(session: Session, receipt: Receipt) -> Session:
    """The session after a receipt: the current generation may be confirmed, times of use only move on."""
    if session.revoked_at is not None:
        return session
    confirmed = session.confirmed_generation
    if receipt.confirm and receipt.generation == session.generation:
        confirmed = max(confirmed, receipt.generation)
    seen, passive = session.last_seen_at, session.last_passive_at
    if receipt.passive:
        passive = max(passive, receipt.seen_at)
    else:
        seen = max(seen, receipt.seen_at)
    return replace(session, confirmed_generation=confirmed, last_seen_at=seen, last_passive_at=passive)


def arrived(attempt: RotationAttempt, queued: float) -> RotationAttempt:
    """The attempt as decided on: its wait includes the store's queue, its facts can be stored."""
    facts = storable_facts(attempt.facts)
    if queued <= 0.0 and facts is attempt.facts:
        return attempt
    waited = attempt.waited + max(0.0, queued)
    return RotationAttempt(attempt.sid, attempt.presented, attempt.channel, facts, waited, attempt.policy)


def storable_facts(facts: ClientFacts) -> ClientFacts:
    """The same facts when they are Unicode; a header with stray bytes must never fail a log-in."""
    if facts.user_agent.isascii() and facts.device.isascii():
        return facts
    return replace(facts, user_agent=_storable(facts.user_agent), device=_storable(facts.device))


def storable_session(session: Session) -> Session:
    """The session with facts that every store can hold."""
    bound, seen = storable_facts(session.bound), storable_facts(session.seen)
    if bound is session.bound and seen is session.seen:
        return session
    return replace(session, bound=bound, seen=seen)


def is_storable(text: str) -> bool:
    """Whether every store can hold `text`: nothing with a lone surrogate was ever stored."""
    return _storable(text) == text


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _denied_until(latest: float, now: float) -> float:
    return max(latest, now) + DENIAL_LEEWAY


def _delivery_denial(before: Session, denial: tuple[int, int], now: float) -> Draft:
    generation, delivery = denial
    value = generation * 65536 + min(delivery, 65535)
    return Draft(FeedKind.DELIVERY, before.sid, value, _denied_until(before.max_access_exp, now))
