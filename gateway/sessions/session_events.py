"""The events of sessions, field for field as in docs/events.md."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.credentials.user import User
from gateway.events import Event, Level, Name
from gateway.risk.facts import RequestContext
from gateway.sessions.decision import Decision, Outcome, RevokeScope
from gateway.sessions.ports import EndedSession, Rotation
from gateway.sessions.session import Session


def of_rotation(rotation: Rotation, sid: str, presented: int, ctx: RequestContext) -> list[Event]:
    """What one refresh is worth saying, in order: what happened, what is odd about it. Ended sessions come after."""
    decision, before = rotation.decision, rotation.before
    if before is None:
        return [rejected(decision.outcome, decision.reason, ctx, sid=sid)]
    if decision.outcome is Outcome.THEFT:
        event = _reused(rotation, before, presented, ctx)
    elif decision.grant is not None:
        event = _refreshed(rotation, before, ctx)
    else:
        event = rejected(decision.outcome, decision.reason, ctx, sid=sid, user_id=before.user_id)
    events = [event]
    if decision.suspicious:
        events.append(suspicious(decision.suspicious, _action(decision), ctx, sid=sid, user_id=before.user_id))
    return events


def rejected(
    outcome: Outcome,
    reason: str | None,
    ctx: RequestContext,
    *,
    sid: str | None = None,
    user_id: str | None = None,
) -> Event:
    """A refresh that gave out nothing."""
    fields: dict[str, object] = {"outcome": str(outcome)}
    if reason is not None:
        fields["reason"] = str(reason)
    return _event(Name.SESSION_REFRESH_REJECTED, Level.WARNING, ctx, user_id, sid, fields)


def suspicious(
    reasons: tuple[str, ...],
    action: str,
    ctx: RequestContext | None,
    *,
    sid: str | None,
    user_id: str | None,
) -> Event:
    """Something no honest client does, or hardly ever. `action`: what was done about it."""
    fields = {"risk.reasons": list(reasons), "action": action}
    return _event(Name.SESSION_SUSPICIOUS, Level.WARNING, ctx, user_id, sid, fields)


def logged_in(session: Session, user: User, ctx: RequestContext) -> Event:
    """A session has begun."""
    fields = {"amr": list(session.amr), "device": session.bound.device}
    return _event(Name.LOGIN_SUCCEEDED, Level.INFO, ctx, user.user_id, session.sid, fields)


def revoked(ended: EndedSession, ctx: RequestContext | None) -> Event:
    """A session has ended. `ctx`: the request that ended it, if one did."""
    fields = {"reason": str(ended.reason)}
    return _event(Name.SESSION_REVOKED, Level.INFO, ctx, ended.user_id, ended.sid, fields)


def _refreshed(rotation: Rotation, before: Session, ctx: RequestContext) -> Event:
    decision = rotation.decision
    fields: dict[str, object] = {
        "outcome": str(decision.outcome),
        "generation": (decision.session or before).generation,
        "interval_s": round(rotation.now - before.rotated_at, 3),
        "device": ctx.facts.device,
    }
    if decision.suspicious:
        fields["risk.reasons"] = list(decision.suspicious)
    return _event(Name.SESSION_REFRESHED, Level.INFO, ctx, before.user_id, before.sid, fields)


def _reused(rotation: Rotation, before: Session, presented: int, ctx: RequestContext) -> Event:
    decision = rotation.decision
    fields: dict[str, object] = {
        "outcome": str(decision.outcome),
        "generation": presented,
        "distance": decision.distance,
        "age_s": round(decision.age, 3) if decision.age is not None else None,
        "revoked": len(rotation.ended.sessions),
        "previous.client.address": before.seen.address,
        "previous.user_agent.original": before.seen.user_agent,
    }
    return _event(Name.SESSION_REFRESH_REUSED, Level.ERROR, ctx, before.user_id, before.sid, fields)


def _action(decision: Decision) -> str:
    if decision.revoke is not None:
        return "user_revoked" if decision.revoke is RevokeScope.USER else "session_revoked"
    if decision.outcome is Outcome.CHALLENGED:
        return "challenged"
    return "allowed" if decision.grant is not None else "refused"


def _event(
    name: Name,
    level: Level,
    ctx: RequestContext | None,
    user_id: str | None,
    sid: str | None,
    fields: Mapping[str, object],
) -> Event:
    if ctx is None:
        return Event(name, level, user_id=user_id, session_id=sid, fields=fields)
    return Event(
        name,
        level,
        request_id=ctx.request_id,
        user_id=user_id,
        session_id=sid,
        address=ctx.facts.address,
        user_agent=ctx.facts.user_agent,
        fields=fields,
    )
