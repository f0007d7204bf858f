"""A session service on the memory store, with a frozen clock and a store that fails when told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from gateway.credentials.user import User
from gateway.events import Event, Name
from gateway.risk.facts import ClientFacts, RequestContext
from gateway.sessions.denial import RevocationIndex
from gateway.sessions.issued import Issued
from gateway.sessions.policy import RotationPolicy
from gateway.sessions.ports import SessionStore
from gateway.sessions.receipts import ReceiptQueue
from gateway.sessions.service import SessionService
from gateway.sessions.session import Channel, Session
from gateway.stores.memory import open_memory
from gateway.tokens.access_token import AccessTokenIssuer, AccessTokenVerifier
from gateway.tokens.claims import AccessClaims
from gateway.tokens.keyring import KeyRing, RingKey
from gateway.tokens.refresh_token import RefreshTokens
from support.clock import FrozenClock
from support.stores import LAPTOP, PHONE, a_user
from support.tokens import AUDIENCE, ISSUER, key_pair, master_keys

__all__ = ["LAPTOP", "PHONE", "FaultyStore", "Pauses", "Recorder", "SessionBench", "context", "until"]


class Recorder:
    """An event sink that keeps what it gets."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def names(self) -> list[Name]:
        return [event.name for event in self.events]

    def take(self) -> list[Event]:
        """The events so far; the next call starts from here."""
        taken, self.events = self.events, []
        return taken


class FaultyStore:
    """Passes every call on, but raises what was put in `fail` under the method's name, and counts calls."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self.fail: dict[str, Exception] = {}
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.before: dict[str, Callable[[], Any]] = {}

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **named: Any) -> Any:
            self.calls.append((name, args))
            if name in self.before:
                await self.before[name]()
            if name in self.fail:
                raise self.fail[name]
            return await getattr(self._store, name)(*args, **named)

        return call

    def count(self, name: str) -> int:
        return sum(1 for called, _ in self.calls if called == name)


class Pauses:
    """Stands in for `asyncio.sleep`: notes how long, and goes on at once, or when `release` is called."""

    def __init__(self, *, held: bool = False) -> None:
        self.seconds: list[float] = []
        self._gate = asyncio.Event()
        if not held:
            self._gate.set()

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)
        await self._gate.wait()

    def release(self) -> None:
        self._gate.set()


async def until(condition: Callable[[], bool], turns: int = 2000) -> None:
    """Let other tasks run until `condition` holds, for a bounded number of turns."""
    for _ in range(turns):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("the condition never held")


def context(facts: ClientFacts = LAPTOP, *, arrived: float = 1000.0, request_id: str = "req-1") -> RequestContext:
    """A request as the domain sees it."""
    return RequestContext(request_id, facts, arrived)


class SessionBench:
    """Everything a session needs, in memory."""

    def __init__(self, policy: RotationPolicy | None = None, *, pauses: Pauses | None = None) -> None:
        self.policy = policy or RotationPolicy()
        self.clock = FrozenClock()
        self.stores = open_memory(self.clock)
        self.store = FaultyStore(self.stores.sessions)
        self.events = Recorder()
        self.index = RevocationIndex()
        self.pauses = pauses or Pauses(held=True)
        self.receipts = ReceiptQueue(self.store, self.clock, self.events, pause=self.pauses)
        self.tokens = RefreshTokens(master_keys(1, 2), b"incarnation")
        ring = KeyRing([RingKey(key_pair(), 0.0, None)])
        self.verifier = AccessTokenVerifier(ring, ISSUER, AUDIENCE, self.clock)
        self.service = SessionService(
            self.store,
            self.tokens,
            AccessTokenIssuer(ring, ISSUER, AUDIENCE),
            self.index,
            self.receipts,
            self.events,
            self.clock,
            self.policy,
        )

    async def add_user(self, name: str = "ada", **changes: object) -> User:
        user = a_user(name, now=self.clock.now(), **changes)
        await self.stores.users.add(user)
        return user

    def context(self, facts: ClientFacts = LAPTOP, *, waited: float = 0.0) -> RequestContext:
        """A request that arrived `waited` seconds ago."""
        return context(facts, arrived=self.clock.monotonic() - waited)

    async def login(self, user: User | None = None, channel: Channel = Channel.COOKIE) -> Issued:
        """A new session, its events forgotten."""
        user = user or await self.stores.users.by_username_key("ada") or await self.add_user()
        issued = await self.service.start(user, channel, self.context(), ("pwd",))
        self.events.take()
        return issued

    async def refresh(
        self, token: str | None, facts: ClientFacts = LAPTOP, channel: Channel = Channel.COOKIE, *, waited: float = 0.0
    ) -> Issued:
        assert token is not None
        return await self.service.refresh(token, channel, self.context(facts, waited=waited))

    def token(self, issued: Issued, generation: int) -> str:
        """The refresh token of any generation of this session."""
        return self.tokens.issue(issued.session.kid, issued.session.sid, generation)

    def claims(self, issued: Issued) -> AccessClaims:
        """What the access token says; its signature is checked."""
        return self.verifier.verify(issued.access_token.encode())

    def works(self, issued: Issued) -> bool:
        """Whether the access token would be let through."""
        return self.index.denial(self.claims(issued)) is None

    async def stored(self, issued: Issued) -> Session:
        session = await self.stores.sessions.get(issued.session.sid)
        assert session is not None
        return session

    def session_like(self, issued: Issued, **changes: object) -> Session:
        return replace(issued.session, **changes)  # type: ignore[arg-type]

    async def confirm(self, issued: Issued) -> None:
        """Let the receipt window pass and use the access token, as a client does."""
        self.clock.advance(self.policy.receipt_after + 1)
        self.receipts.note(self.claims(issued), False)
        await self.receipts.flush(issued.session.sid)
