"""Sessions from log-in to end: the store decides and commits, this hands out tokens and says what happened."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from gateway.clock import Clock
from gateway.credentials.user import User
from gateway.events import EventSink
from gateway.risk.facts import RequestContext
from gateway.sessions import session_events
from gateway.sessions.decision import AccessGrant, Outcome
from gateway.sessions.denial import RevocationIndex
from gateway.sessions.issued import Issuance, Issued
from gateway.sessions.policy import RotationPolicy
from gateway.sessions.ports import Ended, SessionStore
from gateway.sessions.receipts import ReceiptQueue
from gateway.sessions.refresh import Refresher
from gateway.sessions.session import Channel, RevokeReason, Session, begin_session
from gateway.tokens.access_token import AccessTokenIssuer
from gateway.tokens.claims import AccessClaims
from gateway.tokens.errors import ForgedToken
from gateway.tokens.refresh_token import RefreshTokens

__all__ = ["Issued", "SessionService"]

RESTS: Final = 2.0
MOST_PER_USER: Final = 10_000
"""What `sessions.max_per_user` can be at most."""
RETENTION: Final = 30 * 24 * 3600.0


class SessionService:
    """What the HTTP side and the command line do with sessions.

    Whatever ends a session is in this process's revocation index, and therefore in force, before the call returns.
    """

    def __init__(
        self,
        store: SessionStore,
        refresh_tokens: RefreshTokens,
        access: AccessTokenIssuer,
        index: RevocationIndex,
        receipts: ReceiptQueue,
        events: EventSink,
        clock: Clock,
        policy: RotationPolicy,
        *,
        retention: float = RETENTION,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        """`retention`: how long an ended session stays in the store, in seconds. `new_id` makes UUID text."""
        self._store = store
        self._refresh_tokens = refresh_tokens
        self._issuance = Issuance(refresh_tokens, access, new_id)
        self._refresher = Refresher(store, refresh_tokens, self._issuance, index, receipts, events, clock, policy)
        self._index = index
        self._events = events
        self._clock = clock
        self._policy = policy
        self._retention = retention
        self._new_id = new_id

    async def start(self, user: User, channel: Channel, ctx: RequestContext, amr: tuple[str, ...]) -> Issued:
        """Begin a session for a user who has just proved who they are; emits `login.succeeded`.

        Raises `InvalidCredentials` when the user was revoked, disabled or removed since.
        """
        now, kid = await self._store.now(), self._refresh_tokens.kid
        created = await self._store.create(
            begin_session(self._new_id(), user.user_id, channel, ctx.facts, now, self._policy, kid=kid, amr=amr),
            user_epoch=user.epoch,
            max_per_user=self._policy.max_per_user,
            password_changed_at=user.password_changed_at,
        )
        session = created.session
        self._events.emit(session_events.logged_in(session, user, ctx))
        self.announce(created.evicted, ctx)
        receipt_at = now + self._policy.receipt_after
        grant = AccessGrant(session.generation, session.delivery, session.max_access_exp, receipt_at=receipt_at)
        return self._issuance.issue(session, user, grant, session.generation, Outcome.ROTATED, now)

    async def refresh(self, token: str, channel: Channel, ctx: RequestContext) -> Issued:
        """Exchange a refresh token for the next one, as docs/rotation.md has it.

        Raises `InvalidGrant`, `RefreshTokenReused`, `SuspiciousActivity`, `RefreshSuperseded`,
        `InsufficientUserAuthentication` or `TemporarilyUnavailable`, each after its event.
        """
        return await self._refresher.refresh(token, channel, ctx)

    def too_late(self, issued: Issued) -> Issued:
        """`issued` for an answer that may not carry its refresh token any more: what the loser of a race gets.

        Its access token is no receipt, or its use would prove the arrival of a refresh token that was never sent.
        """
        session, now = issued.session, self._clock.now()
        life = min(self._policy.race_access_ttl, self._policy.access_ttl)
        expires_at = min(now + life, session.max_access_exp)
        grant = AccessGrant(session.generation - 1, -session.delivery, expires_at, receipt_at=expires_at)
        return self._issuance.issue(session, issued.user, grant, None, issued.outcome, now)

    async def logout(
        self,
        *,
        refresh_token: str | None,
        channel: Channel | None,
        access: AccessClaims | None,
        ctx: RequestContext,
    ) -> None:
        """End the session of a refresh token, of a verified access token, or both.

        A spent, expired or forged refresh token ends nothing and raises nothing. `channel` None: whichever way the
        token came.
        """
        if refresh_token is not None and (sid := await self._session_of(refresh_token, channel)) is not None:
            await self.end(sid, RevokeReason.LOGOUT, ctx)
        if access is not None:
            await self.end(access.session_id, RevokeReason.LOGOUT, ctx, user_id=access.subject)

    async def end(self, sid: str, reason: RevokeReason, ctx: RequestContext | None, user_id: str | None = None) -> bool:
        """End one session, and only if it is `user_id`'s when that is given; whether there was one to end."""
        ended = await self._store.end(sid, reason, user_id=user_id)
        self.announce(ended, ctx)
        return bool(ended.sessions)

    async def end_user(
        self, user_id: str, reason: RevokeReason, ctx: RequestContext | None, keep: str | None = None
    ) -> int:
        """End the user's sessions but `keep`; returns how many."""
        ended = await self._store.end_user(user_id, reason, keep=keep)
        self.announce(ended, ctx)
        return len(ended.sessions)

    def announce(self, ended: Ended, ctx: RequestContext | None) -> None:
        """Put in force and make known what was ended, by this service or through another port."""
        self._index.apply(ended.feed)
        for session in ended.sessions:
            self._events.emit(session_events.revoked(session, ctx))

    async def list_sessions(self, user_id: str) -> tuple[Session, ...]:
        """The user's live sessions, newest use first."""
        return await self._store.list_live(user_id)

    async def page(self, user_id: str | None, *, limit: int, after: str = "") -> tuple[Session, ...]:
        """At most `limit` live sessions by sid, of one user or of all, those after the sid `after`."""
        if user_id is None:
            return await self._store.list_live(limit=limit, after=after)
        # A user's come by time of use; there are few enough to put all of them in order here.
        found = await self._store.list_live(user_id, limit=MOST_PER_USER)
        return tuple(sorted((session for session in found if session.sid > after), key=_sid)[:limit])

    async def look_up(self, sid: str) -> tuple[Session, bool] | None:
        """The session, ended or not, and whether it could be refreshed now; None when unknown."""
        session = await self._store.get(sid)
        return None if session is None else (session, session.is_live(await self._store.now()))

    async def is_live(self, sid: str) -> bool:
        """Whether the session could be refreshed now."""
        session = await self._store.get(sid)
        return session is not None and session.is_live(await self._store.now())

    async def access_until(self, sids: Sequence[str]) -> Mapping[str, float]:
        """For those of the sessions that live: until when the newest of their access tokens is good, epoch seconds.

        Later than the `exp` of a token: the session was refreshed since that one was issued.
        """
        return await self._store.access_until(sids)

    async def cleanup(self, batch: int, rest: Callable[[float], Awaitable[object]] = asyncio.sleep) -> int:
        """End what is past its limits and delete what ended long ago, `batch` rows at a time; returns how many.

        Between two batches it rests `RESTS` times as long as the last one took: refreshes use the store meanwhile.
        """
        total, batch, full = 0, max(1, batch), True
        while full:
            began = self._clock.monotonic()
            ended = await self._store.expire(limit=batch)
            self.announce(ended, None)
            purged = await self._store.purge(retention=self._retention, limit=batch)
            total += len(ended.sessions) + purged
            full = max(len(ended.sessions), purged) >= batch
            if full:
                await rest(RESTS * (self._clock.monotonic() - began))
        return total

    async def _session_of(self, token: str, channel: Channel | None) -> str | None:
        """The live session this refresh token may end."""
        try:
            presented = self._refresh_tokens.parse(token)
        except ForgedToken:
            return None
        session = await self._store.get(presented.sid)
        if session is None or channel not in (None, session.channel):
            return None
        now = await self._store.now()
        if not session.is_live(now) or self._is_spent(session, presented.generation, now):
            return None
        return session.sid

    def _is_spent(self, session: Session, generation: int, now: float) -> bool:
        """Whether a token has had its successor. One whose answer was lost has not: it is the newest the client has."""
        if generation >= session.generation:
            return False
        lost = session.confirmed_generation < session.generation
        in_flight = now - session.rotated_at <= self._policy.in_flight_window
        return generation < session.generation - 1 or in_flight or not lost


def _sid(session: Session) -> str:
    return session.sid
