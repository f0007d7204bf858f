"""One refresh, from the token's text to the answer: MAC, receipts, the atomic step, revocation, events, tokens."""

from __future__ import annotations

from typing import Final

from gateway.clock import Clock
from gateway.errors import (
    GatewayError,
    InsufficientUserAuthentication,
    InvalidGrant,
    RefreshSuperseded,
    RefreshTokenReused,
    StoreBusy,
    StoreUnavailable,
    SuspiciousActivity,
    TemporarilyUnavailable,
)
from gateway.events import EventSink
from gateway.risk.facts import RequestContext
from gateway.sessions import session_events
from gateway.sessions.decision import Decision, Outcome, Reason
from gateway.sessions.denial import RevocationIndex
from gateway.sessions.issued import Issuance, Issued
from gateway.sessions.policy import RotationPolicy
from gateway.sessions.ports import Rotation, RotationAttempt, SessionStore
from gateway.sessions.receipts import ReceiptQueue
from gateway.sessions.session import Channel
from gateway.tokens.errors import ForgedToken, WithdrawnKey
from gateway.tokens.refresh_token import PresentedToken, RefreshTokens

_RETRY_AFTER: Final = 1
_REFUSALS: Final[dict[Outcome, type[GatewayError]]] = {
    Outcome.DEAD: InvalidGrant,
    Outcome.THEFT: RefreshTokenReused,
    Outcome.CHALLENGED: SuspiciousActivity,
    Outcome.SUPERSEDED: RefreshSuperseded,
}


class Refresher:
    """Exchanges refresh tokens. Every outcome has its event, and the event comes before the answer."""

    __slots__ = ("_clock", "_events", "_index", "_issuance", "_policy", "_receipts", "_store", "_tokens")

    def __init__(
        self,
        store: SessionStore,
        tokens: RefreshTokens,
        issuance: Issuance,
        index: RevocationIndex,
        receipts: ReceiptQueue,
        events: EventSink,
        clock: Clock,
        policy: RotationPolicy,
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._issuance = issuance
        self._index = index
        self._receipts = receipts
        self._events = events
        self._clock = clock
        self._policy = policy

    async def refresh(self, token: str, channel: Channel, ctx: RequestContext) -> Issued:
        """The next tokens, or the error that the outcome stands for."""
        presented = self._parse(token, ctx)
        rotation = await self._rotate(presented, channel, ctx)
        # In force before anything is said or signed: this process must not be the last to know.
        self._index.apply(rotation.ended.feed)
        for event in session_events.of_rotation(rotation, presented.sid, presented.generation, ctx):
            self._events.emit(event)
        for ended in rotation.ended.sessions:
            self._events.emit(session_events.revoked(ended, ctx))
        decision, user = rotation.decision, rotation.user
        session = decision.session or rotation.before
        if decision.grant is None or session is None or user is None:
            raise _refusal(decision, self._policy)
        return self._issuance.issue(session, user, decision.grant, decision.successor, decision.outcome, rotation.now)

    def _parse(self, token: str, ctx: RequestContext) -> PresentedToken:
        try:
            return self._tokens.parse(token)
        except WithdrawnKey as error:
            self._events.emit(session_events.rejected(Outcome.DEAD, Reason.REVOKED, ctx, sid=error.sid))
            raise
        except ForgedToken:
            self._events.emit(session_events.rejected(Outcome.FORGED, None, ctx))
            raise

    async def _rotate(self, presented: PresentedToken, channel: Channel, ctx: RequestContext) -> Rotation:
        sid = presented.sid
        try:
            # The receipts of this process go first: whether the last answer arrived is what the rule turns on.
            await self._receipts.flush(sid)
            waited = max(0.0, self._clock.monotonic() - ctx.arrived)
            return await self._store.rotate(
                RotationAttempt(sid, presented.generation, channel, ctx.facts, waited, self._policy)
            )
        except (StoreBusy, StoreUnavailable) as error:
            self._events.emit(session_events.rejected(Outcome.BUSY, None, ctx, sid=sid))
            raise TemporarilyUnavailable(debug=error.debug, retry_after=error.retry_after or _RETRY_AFTER) from error


def _refusal(decision: Decision, policy: RotationPolicy) -> GatewayError:
    reason = decision.reason
    if reason is Reason.REAUTH_REQUIRED:
        max_age = None if policy.reauth_after is None else int(policy.reauth_after)
        return InsufficientUserAuthentication(debug=reason, max_age=max_age)
    return _REFUSALS.get(decision.outcome, InvalidGrant)(debug=reason)
