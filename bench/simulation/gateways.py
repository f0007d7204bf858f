"""What stands at the other end: the real rule on a store in memory, behind the interface every peer has too."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from gateway.credentials.user import User
from gateway.risk.facts import ClientFacts
from gateway.sessions.decision import AccessGrant, Decision, Outcome, RevokeScope, Snapshot
from gateway.sessions.policy import RotationPolicy
from gateway.sessions.ports import RotationAttempt
from gateway.sessions.rotation import decide
from gateway.sessions.session import Channel, Session, begin_session

ACCESS_TTL = 900.0


class Kind(StrEnum):
    """What a refresh comes back with."""

    OK = "ok"
    SUPERSEDED = "superseded"
    CHALLENGED = "challenged"
    REFUSED = "refused"
    THEFT = "theft"


@dataclass(frozen=True, slots=True)
class Access:
    """An access token. `receipt_at`: from when its use closes the retry of `generation`, as its bearer can read."""

    generation: int
    delivery: int
    expires_at: float
    receipt_at: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a log-in or refresh. `token` is the refresh token to store, if any."""

    kind: Kind
    token: int | None = None
    access: Access | None = None


@dataclass(slots=True)
class Record:
    """What came of a session. `noticed`: when the first alarm rang; `caught`: when it was ended or challenged."""

    noticed: float | None = None
    caught: float | None = None
    challenged: bool = False
    ended_user: bool = False
    alarms: int = 0
    holder: str = "victim"  # to whom the newest generation was delivered last

    def alarm(self, now: float) -> None:
        """An event an operator sees."""
        self.alarms += 1
        if self.noticed is None:
            self.noticed = now

    def catch(self, now: float) -> None:
        """Nobody gets anything from this session without a new log-in or proof."""
        if self.caught is None:
            self.caught = now
        if self.noticed is None:
            self.noticed = now


class Gateway(Protocol):
    """One session on one gateway."""

    record: Record

    def log_in(self, facts: ClientFacts, now: float) -> Answer:
        """Start the session."""
        ...

    def refresh(self, token: int, facts: ClientFacts, now: float, waited: float, who: str) -> Answer:
        """Present a refresh token."""
        ...

    def use(self, access: Access, now: float, *, receipt: bool = True) -> bool:
        """Present an access token; `now` is the clock of the node that sees it."""
        ...

    def current(self) -> int:
        """The newest generation."""
        ...

    def open_for_retry(self, now: float) -> bool:
        """Whether the token before the newest would be answered with the newest again."""
        ...


@dataclass(slots=True)
class ReceiptConfirmed:
    """The gateway of this repository: `decide` decides, this only writes down what it says."""

    channel: Channel = Channel.COOKIE
    policy: RotationPolicy = field(default_factory=RotationPolicy)
    record: Record = field(default_factory=Record)
    _session: Session | None = None
    _retired: dict[int, float] = field(default_factory=dict)
    _denied: dict[int, int] = field(default_factory=dict)

    def log_in(self, facts: ClientFacts, now: float) -> Answer:
        """Start the session."""
        policy = self.policy
        self._session = begin_session("s", "u", self.channel, facts, now, policy)
        return Answer(Kind.OK, 1, Access(1, 1, now + policy.access_ttl, now + policy.receipt_after))

    def refresh(self, token: int, facts: ClientFacts, now: float, waited: float, who: str) -> Answer:
        """Present a refresh token."""
        attempt = RotationAttempt("s", token, self.channel, facts, waited, self.policy)
        decision = decide(Snapshot(self._session, _USER, self._retired.get(token), False), attempt, now)
        self._write(decision, now)
        if decision.outcome in _HANDED_OUT:
            self.record.holder = who
        kind = _KINDS.get(decision.outcome, Kind.OK)
        return Answer(kind, decision.successor, _access(decision.grant))

    def _write(self, decision: Decision, now: float) -> None:
        if decision.session is not None:
            self._session = decision.session
        if decision.retire is not None:
            generation, at = decision.retire
            self._retired.update(dict.fromkeys((*decision.lost, generation), at))
        session = self._session
        assert session is not None
        for generation, delivery in decision.denials:
            self._denied[generation] = max(delivery, self._denied.get(generation, 0))
        if "repeated_retries" in decision.suspicious:
            self.record.alarm(now)
        if decision.outcome is Outcome.CHALLENGED:
            self.record.challenged = True
            self.record.catch(now)
        if decision.revoke is not None:
            self.record.catch(now)
            self.record.ended_user = decision.revoke is RevokeScope.USER
            self._session = replace(session, revoked_at=now)

    def use(self, access: Access, now: float, *, receipt: bool = True) -> bool:
        """Present an access token; `now` is the clock of the node that sees it."""
        session = self._session
        assert session is not None
        if session.revoked_at is not None or now >= access.expires_at or self._is_denied(access):
            return False
        if receipt and now >= access.receipt_at and access.generation == session.generation:
            self._session = replace(session, confirmed_generation=session.generation)
        return True

    def _is_denied(self, access: Access) -> bool:
        if access.delivery > 0:
            return access.delivery < self._denied.get(access.generation, 0)
        return -access.delivery < self._denied.get(access.generation + 1, 0)

    def current(self) -> int:
        """The newest generation."""
        assert self._session is not None
        return self._session.generation

    def open_for_retry(self, now: float) -> bool:
        """Whether the token before the newest would be answered with the newest again."""
        session = self._session
        assert session is not None
        return (
            session.confirmed_generation < session.generation
            and now - session.rotated_at > self.policy.in_flight_window
        )


_USER = User("u", "u", "u", None, (), None, True, 0, 0.0, 0.0)
_HANDED_OUT = {Outcome.ROTATED, Outcome.RETRY, Outcome.AHEAD}
_KINDS = {
    Outcome.DEAD: Kind.REFUSED,
    Outcome.THEFT: Kind.THEFT,
    Outcome.CHALLENGED: Kind.CHALLENGED,
    Outcome.SUPERSEDED: Kind.SUPERSEDED,
}


def _access(grant: AccessGrant | None) -> Access | None:
    if grant is None:
        return None
    return Access(grant.generation, grant.delivery, grant.expires_at, grant.receipt_at)
