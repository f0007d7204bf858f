"""What others do, on the same traces. Each is generous: a theft ends every access token at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from bench.simulation.gateways import ACCESS_TTL, Access, Answer, Gateway, Kind, ReceiptConfirmed, Record
from gateway.risk.facts import ClientFacts
from gateway.sessions.session import Channel

NEVER = float("inf")


@dataclass(slots=True)
class _Family:
    """Refresh tokens by number, in the order they were issued; the base of every peer."""

    record: Record = field(default_factory=Record)
    newest: int = 0
    parent: dict[int, int] = field(default_factory=dict)
    used_at: dict[int, float] = field(default_factory=dict)

    def log_in(self, facts: ClientFacts, now: float) -> Answer:
        """Start the session."""
        return self._issue(0, now)

    def use(self, access: Access, now: float, *, receipt: bool = True) -> bool:
        """Present an access token."""
        return self.record.caught is None and now < access.expires_at

    def current(self) -> int:
        """The newest token."""
        return self.newest

    def open_for_retry(self, now: float) -> bool:
        """Whether the token before the newest would be answered."""
        return False

    def _issue(self, parent: int, now: float, who: str = "victim") -> Answer:
        self.used_at.setdefault(parent, now)
        self.newest += 1
        self.parent[self.newest] = parent
        self.record.holder = who
        return self._answer(self.newest, now)

    def _answer(self, token: int, now: float) -> Answer:
        return Answer(Kind.OK, token, Access(token, 1, now + ACCESS_TTL, NEVER))

    def _theft(self, now: float) -> Answer:
        if self.record.caught is not None:
            return Answer(Kind.REFUSED)
        self.record.catch(now)
        self.record.ended_user = True
        return Answer(Kind.THEFT)


@dataclass(slots=True)
class StrictSingleUse(_Family):
    """A token is good once."""

    def refresh(self, token: int, facts: ClientFacts, now: float, waited: float, who: str) -> Answer:
        """Present a refresh token."""
        if self.record.caught is not None or token in self.used_at:
            return self._theft(now)
        return self._issue(token, now, who)


@dataclass(slots=True)
class Leeway(_Family):
    """For a minute a spent token is answered with another new one; several live at a time."""

    leeway: float = 60.0

    def refresh(self, token: int, facts: ClientFacts, now: float, waited: float, who: str) -> Answer:
        """Present a refresh token."""
        if self.record.caught is not None or now - self.used_at.get(token, now) > self.leeway:
            return self._theft(now)
        return self._issue(token, now, who)


@dataclass(slots=True)
class ValidUntilSuccessorUsed(_Family):
    """SuperTokens: the old token stays good until one of its successors, or its access token, is used."""

    active: int = 1

    def refresh(self, token: int, facts: ClientFacts, now: float, waited: float, who: str) -> Answer:
        """Present a refresh token."""
        if self.record.caught is None and self.parent.get(token) == self.active:
            self.active = token
        if self.record.caught is not None or token != self.active:
            return self._theft(now)
        return self._issue(token, now, who)

    def use(self, access: Access, now: float, *, receipt: bool = True) -> bool:
        """Present an access token: the first use of a new one retires the old refresh token."""
        if self.record.caught is not None or now >= access.expires_at:
            return False
        if self.parent[access.generation] == self.active:
            self.active = access.generation
        return True

    def _answer(self, token: int, now: float) -> Answer:
        return Answer(Kind.OK, token, Access(token, 1, now + ACCESS_TTL, now))

    def open_for_retry(self, now: float) -> bool:
        """Whether the token before the newest would be answered."""
        return self.parent[self.newest] == self.active


@dataclass(slots=True)
class ReuseInterval(_Family):
    """Supabase: within ten seconds, or when it is the parent of the active one, a spent token gets the active one."""

    interval: float = 10.0

    def refresh(self, token: int, facts: ClientFacts, now: float, waited: float, who: str) -> Answer:
        """Present a refresh token."""
        if self.record.caught is not None:
            return self._theft(now)
        if token == self.newest:
            return self._issue(token, now, who)
        if self.parent[self.newest] == token or now - self.used_at[token] <= self.interval:
            self.record.holder = who
            return self._answer(self.newest, now)
        return self._theft(now)

    def open_for_retry(self, now: float) -> bool:
        """Whether the token before the newest would be answered."""
        return True


PEERS: dict[str, Callable[[Channel], Gateway]] = {
    "receipt-confirmed": lambda channel: ReceiptConfirmed(channel=channel),
    "strict single use": lambda _: StrictSingleUse(),
    "60 s leeway, new tokens": lambda _: Leeway(),
    "valid until successor used": lambda _: ValidUntilSuccessorUsed(),
    "10 s reuse, parent allowed": lambda _: ReuseInterval(),
}
OURS = "receipt-confirmed"
