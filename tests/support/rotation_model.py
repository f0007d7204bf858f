"""The smallest thing that applies decisions: one user, some sessions, in plain dictionaries.

Tests of the rule play transcripts on it; property tests of the stores take it as the oracle.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from gateway.credentials.user import User
from gateway.risk.facts import ClientFacts
from gateway.sessions.decision import AccessGrant, Decision, RevokeScope, Snapshot
from gateway.sessions.policy import RotationPolicy
from gateway.sessions.ports import RotationAttempt
from gateway.sessions.rotation import decide
from gateway.sessions.session import Channel, RevokeReason, Session, begin_session

START = 1_790_000_000.0
HOME = ClientFacts("203.0.113.7", "203.0.113.0/24", "Firefox/140.0 (X11; Linux)", "Firefox on Linux")
CAFE = replace(HOME, address="198.51.100.9", network="198.51.100.0/24")
PHONE = ClientFacts("203.0.113.7", "203.0.113.0/24", "Safari (iPhone)", "Safari on iOS")
THEFT_MEMORY = 24 * 3600.0


def make_user(user_id: str = "user-1", *, active: bool = True, epoch: int = 0) -> User:
    """A user with nothing special."""
    return User(user_id, "ada", "ada", None, (), None, active, epoch, START, START)


def make_session(
    sid: str = "session-1",
    *,
    user_id: str = "user-1",
    channel: Channel = Channel.COOKIE,
    now: float = START,
    policy: RotationPolicy | None = None,
    facts: ClientFacts = HOME,
) -> Session:
    """A session as log-in makes it."""
    return begin_session(sid, user_id, channel, facts, now, policy or RotationPolicy())


@dataclass(frozen=True, slots=True)
class Held:
    """An access token as a client holds it."""

    sid: str
    grant: AccessGrant
    user_epoch: int


@dataclass
class RotationModel:
    """Sessions of one user, the retired generations, and what the feed denies."""

    policy: RotationPolicy = field(default_factory=RotationPolicy)
    now: float = START
    user: User = field(default_factory=make_user)
    sessions: dict[str, Session] = field(default_factory=dict)
    retired: dict[tuple[str, int], float] = field(default_factory=dict)
    denied: set[tuple[str, int, int]] = field(default_factory=set)

    def start(self, sid: str = "session-1", channel: Channel = Channel.COOKIE, facts: ClientFacts = HOME) -> Held:
        """Log in; the access token of the answer."""
        session = make_session(sid, channel=channel, now=self.now, policy=self.policy, facts=facts)
        self.sessions[sid] = session
        grant = AccessGrant(1, 1, session.max_access_exp, self.now + self.policy.receipt_after)
        return Held(sid, grant, self.user.epoch)

    def present(
        self,
        generation: int,
        *,
        sid: str = "session-1",
        facts: ClientFacts = HOME,
        channel: Channel | None = None,
        waited: float = 0.0,
    ) -> Decision:
        """Present a refresh token and apply what is decided."""
        session = self.sessions.get(sid)
        way = channel or (session.channel if session else Channel.COOKIE)
        attempt = RotationAttempt(sid, generation, way, facts, waited, self.policy)
        snapshot = Snapshot(session, self.user, self.retired.get((sid, generation)), self._recent_theft(sid))
        decision = decide(snapshot, attempt, self.now)
        self.apply(sid, decision)
        return decision

    def apply(self, sid: str, decision: Decision) -> None:
        """Write a decision as a store would."""
        if decision.session is not None:
            self.sessions[sid] = decision.session
        if decision.retire is not None:
            generation, at = decision.retire
            self.retired.update({(sid, spent): at for spent in (*decision.lost, generation)})
        self.denied.update((sid, *denial) for denial in decision.denials)
        if decision.revoke is RevokeScope.SESSION:
            self.end(sid, RevokeReason.REUSE)
        elif decision.revoke is RevokeScope.USER:
            self.end_all(RevokeReason.REUSE)

    def held(self, decision: Decision, sid: str = "session-1") -> Held:
        """The access token a decision hands out."""
        assert decision.grant is not None
        return Held(sid, decision.grant, self.user.epoch)

    def use(self, held: Held, *, passive: bool = False) -> bool:
        """Call the gateway with an access token: whether it is let through; it may be a receipt."""
        if not self.usable(held):
            return False
        session = self.sessions[held.sid]
        if held.grant.generation == session.generation and self.now >= held.grant.receipt_at:
            session = replace(session, confirmed_generation=session.generation)
        used = {"last_passive_at": self.now} if passive else {"last_seen_at": self.now}
        self.sessions[held.sid] = replace(session, **used)
        return True

    def usable(self, held: Held) -> bool:
        """Whether an access token is valid, by expiry, epoch, session and delivery."""
        session = self.sessions[held.sid]
        if self.now >= held.grant.expires_at or held.user_epoch < self.user.epoch or session.revoked_at is not None:
            return False
        return not any(sid == held.sid and _denies(denial, held.grant) for sid, *denial in self.denied)

    def end(self, sid: str, reason: RevokeReason = RevokeReason.LOGOUT) -> None:
        """End one session."""
        session = self.sessions[sid]
        if session.revoked_at is None:
            self.sessions[sid] = replace(session, revoked_at=self.now, revoke_reason=reason)

    def end_all(self, reason: RevokeReason = RevokeReason.LOGOUT_ALL) -> None:
        """End every session of the user and raise the epoch."""
        self.user = replace(self.user, epoch=self.user.epoch + 1)
        for sid in self.sessions:
            self.end(sid, reason)

    @property
    def session(self) -> Session:
        """The first session."""
        return self.sessions["session-1"]

    def _recent_theft(self, sid: str) -> bool:
        return any(
            s.revoke_reason is RevokeReason.REUSE
            and s.revoked_at is not None
            and s.revoked_at > self.now - THEFT_MEMORY
            for s in self.sessions.values()
            if s.sid != sid
        )


def _denies(denial: list[int], grant: AccessGrant) -> bool:
    """Earlier deliveries of the generation, and the race tokens of the rotation that made it."""
    generation, delivery = denial
    if grant.generation == generation:
        return 0 < grant.delivery < delivery
    return grant.generation == generation - 1 and -delivery < grant.delivery < 0
