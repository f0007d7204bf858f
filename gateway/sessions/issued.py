"""What a log-in or a refresh hands out, made from what was committed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from gateway.credentials.user import User
from gateway.sessions.decision import AccessGrant, Outcome
from gateway.sessions.session import Session
from gateway.tokens.access_token import AccessTokenIssuer
from gateway.tokens.claims import AccessClaims
from gateway.tokens.refresh_token import RefreshTokens


@dataclass(frozen=True, slots=True)
class Issued:
    """Tokens for a client. `refresh_token` None: hand out none, the client has it or will get it from another answer.

    `expires_in` and `refresh_expires_in` are whole seconds. An answer that leaves later than half the in-flight window
    after `rotated_at` (the store's clock) must not set the cookie any more.
    """

    session: Session
    user: User
    access_token: str
    expires_in: int
    refresh_token: str | None
    refresh_expires_in: int
    outcome: Outcome
    rotated_at: float


class Issuance:
    """Signs the access token and derives the refresh token of a session as it was committed."""

    __slots__ = ("_access", "_new_id", "_refresh")

    def __init__(
        self,
        refresh_tokens: RefreshTokens,
        access: AccessTokenIssuer,
        new_id: Callable[[], str],
    ) -> None:
        self._refresh = refresh_tokens
        self._access = access
        self._new_id = new_id

    def issue(
        self, session: Session, user: User, grant: AccessGrant, successor: int | None, outcome: Outcome, now: float
    ) -> Issued:
        """`user` and `session` as read and written under the lock; `now` is the store's time of that."""
        return Issued(
            session=session,
            user=user,
            access_token=self._access.issue(self._claims(session, user, grant, now)),
            expires_in=max(0, int(grant.expires_at) - int(now)),
            refresh_token=None if successor is None else self._refresh.issue(session.kid, session.sid, successor),
            refresh_expires_in=max(0, int(session.ends_at - now)),
            outcome=outcome,
            rotated_at=session.rotated_at,
        )

    def _claims(self, session: Session, user: User, grant: AccessGrant, now: float) -> AccessClaims:
        return AccessClaims(
            subject=user.user_id,
            session_id=session.sid,
            generation=grant.generation,
            delivery=grant.delivery,
            user_epoch=user.epoch,
            issued_at=int(now),
            expires_at=int(grant.expires_at),
            receipt_at=_receipt_at(grant, now),
            auth_time=int(session.auth_time),
            amr=session.amr,
            username=user.username,
            email=user.email,
            roles=user.roles,
            token_id=self._new_id(),
        )


def _receipt_at(grant: AccessGrant, now: float) -> int:
    """Rounded up, as the cookie jar must have had its time to reach the disk; what counts at once counts at once."""
    return int(now) if grant.receipt_at <= now else math.ceil(grant.receipt_at)
