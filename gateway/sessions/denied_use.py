"""Use of a token whose delivery was taken back: either the client lied about a lost answer, or it is not the client."""

from __future__ import annotations

from typing import Final

from gateway.events import EventSink
from gateway.risk.facts import RequestContext
from gateway.sessions import session_events
from gateway.sessions.denial import Denial
from gateway.tokens.claims import AccessClaims

_REMEMBERED: Final = 4096


class DeniedUse:
    """Tells of such use once per token, however often it is tried. For whoever asked `RevocationIndex.denial`."""

    __slots__ = ("_events", "_told")

    def __init__(self, events: EventSink) -> None:
        self._events = events
        self._told: dict[str, None] = {}

    def report(self, denial: str, claims: AccessClaims, ctx: RequestContext | None) -> None:
        """Emit `session.suspicious` for a denied delivery; the other denials are clients that have not noticed yet."""
        if denial != Denial.DELIVERY or claims.token_id in self._told:
            return
        if len(self._told) >= _REMEMBERED:
            del self._told[next(iter(self._told))]
        self._told[claims.token_id] = None
        self._events.emit(
            session_events.suspicious((denial,), "refused", ctx, sid=claims.session_id, user_id=claims.subject)
        )
