"""Who sends a request, and what is asked on every one of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.clock import FrozenClock
from support.proxying import CLAIMS, IDENTITY, TOKEN, FakeVerifier, Notes

from gateway.errors import (
    GatewayError,
    InsufficientScope,
    InsufficientUserAuthentication,
    InvalidRequest,
    InvalidToken,
    MissingToken,
    TemporarilyUnavailable,
)
from gateway.proxy.authenticate import ProxyAuthenticator
from gateway.proxy.authorize import authorize
from gateway.proxy.headers import RequestHead
from gateway.proxy.identity import IdentityHeaders
from gateway.proxy.route_table import AuthMode, RouteSpec, UpstreamSpec
from gateway.risk.client import client_facts
from gateway.risk.facts import RequestContext
from gateway.sessions.denial import RevocationIndex
from gateway.sessions.denied_use import DeniedUse
from gateway.sessions.ports import FeedEntry, FeedKind
from gateway.tokens.verified import VerifiedTokenCache

ROUTE = RouteSpec("r", "/", (UpstreamSpec("http://up.test"),))


class Ring:
    epoch = 1


class Desk:
    """An authenticator and everything around it."""

    def __init__(self) -> None:
        self.clock = FrozenClock()
        self.verifier, self.index, self.notes = FakeVerifier(), RevocationIndex(), Notes()
        self.verifier.tokens[TOKEN] = replace(CLAIMS, expires_at=int(self.clock.now()) + 900)
        self.ring: Any = Ring()
        self.stale = 0.0
        self.cache: VerifiedTokenCache[bytes] = VerifiedTokenCache(10, self.ring)
        self.it = ProxyAuthenticator(
            self.verifier,
            self.ring,
            self.cache,
            self.index,
            self.notes,
            DeniedUse(self.notes),
            IdentityHeaders(IDENTITY),
            self.clock,
            lambda: self.stale,
        )

    def ask(self, value: bytes | list[bytes] | None, route: RouteSpec = ROUTE, query: str = "") -> Any:
        head = RequestHead()
        head.authorization = value
        return self.it.identify(head, route, query, self.context)

    @staticmethod
    def context() -> RequestContext:
        return RequestContext("id-1", client_facts("192.0.2.1", "curl/8"), 0.0)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_token_is_verified_once_and_noted_every_time(desk: Desk) -> None:
    first = desk.ask(b"Bearer " + TOKEN)
    second = desk.ask(b"bearer  " + TOKEN + b" ", replace(ROUTE, passive=True))
    assert first is second
    assert desk.verifier.calls == 1
    assert [passive for _, passive in desk.notes.receipts] == [False, True]
    assert first.rendered.startswith(b"X-User-Id: " + CLAIMS.subject.encode() + b"\r\nX-User-Name: alice\r\n")


def test_what_is_remembered_ends_with_the_token_the_keys_and_revocation(desk: Desk) -> None:
    desk.ask(b"Bearer " + TOKEN)
    desk.ring.epoch += 1
    desk.ask(b"Bearer " + TOKEN)
    assert desk.verifier.calls == 2
    desk.index.apply([FeedEntry(1, FeedKind.USER, CLAIMS.subject, 1, CLAIMS.expires_at)])
    with pytest.raises(InvalidToken):
        desk.ask(b"Bearer " + TOKEN)
    assert desk.notes.events == []
    desk.clock.advance(901)
    del desk.verifier.tokens[TOKEN]
    with pytest.raises(InvalidToken):
        desk.ask(b"Bearer " + TOKEN)
    assert len(desk.notes.receipts) == 2


def test_a_denied_delivery_is_suspicious_once(desk: Desk) -> None:
    desk.index.apply([FeedEntry(1, FeedKind.DELIVERY, CLAIMS.session_id, (1 << 16) | 2, CLAIMS.expires_at)])
    for _ in range(2):
        with pytest.raises(InvalidToken):
            desk.ask(b"Bearer " + TOKEN)
    [event] = desk.notes.events
    assert event.name == "session.suspicious"
    assert (event.request_id, event.address, event.session_id) == ("id-1", "192.0.2.1", CLAIMS.session_id)
    assert desk.notes.receipts == []


@pytest.mark.parametrize(
    ("value", "auth", "error"),
    [
        (None, AuthMode.REQUIRED, MissingToken),
        (b"Basic x", AuthMode.REQUIRED, MissingToken),
        (b"", AuthMode.REQUIRED, MissingToken),
        (b"Bearer", AuthMode.REQUIRED, InvalidToken),
        (b"Bearer ", AuthMode.OPTIONAL, InvalidToken),
        (b"Bearer a,b", AuthMode.OPTIONAL, InvalidToken),
        (b"Bearer " + b"a" * 4097, AuthMode.OPTIONAL, InvalidToken),
        ([b"Bearer a", b"Bearer a"], AuthMode.NONE, InvalidRequest),
        (None, AuthMode.OPTIONAL, None),
        (b"Basic x", AuthMode.OPTIONAL, None),
        (b"Bearer bad", AuthMode.NONE, None),
    ],
)
def test_modes(desk: Desk, value: Any, auth: AuthMode, error: type[GatewayError] | None) -> None:
    route = replace(ROUTE, auth=auth)
    if error is None:
        assert desk.ask(value, route) is None
    else:
        with pytest.raises(error):
            desk.ask(value, route)
    assert len(desk.cache) == 0
    assert desk.notes.receipts == []


def test_a_token_in_the_query_too_is_refused(desk: Desk) -> None:
    with pytest.raises(InvalidRequest):
        desk.ask(b"Bearer " + TOKEN, query="?access_token=x")
    with pytest.raises(InvalidRequest):
        desk.ask(b"Bearer " + TOKEN, query="?a=1;access_token=x")
    assert desk.ask(b"Bearer " + TOKEN, query="?old_access_token=x") is not None
    assert desk.ask(b"Bearer " + TOKEN, query="?page=2") is not None


def test_strict_routes_need_a_fresh_feed(desk: Desk) -> None:
    strict = replace(ROUTE, strict_revocation=True)
    desk.stale = 5.0
    assert desk.ask(b"Bearer " + TOKEN, strict) is not None
    desk.stale = 5.1
    assert desk.ask(b"Bearer " + TOKEN) is not None
    with pytest.raises(TemporarilyUnavailable):
        desk.ask(b"Bearer " + TOKEN, strict)


def test_authorize() -> None:
    authorize(ROUTE, None)
    authorize(ROUTE, CLAIMS)
    roles = replace(ROUTE, roles=frozenset({"admin", "editor"}))
    authorize(roles, CLAIMS)
    with pytest.raises(InsufficientScope):
        authorize(replace(ROUTE, roles=frozenset({"admin"})), CLAIMS)
    with pytest.raises(MissingToken):
        authorize(roles, None)
    mfa = replace(ROUTE, mfa=True)
    authorize(mfa, replace(CLAIMS, amr=("pwd", "otp", "mfa")))
    with pytest.raises(InsufficientUserAuthentication) as caught:
        authorize(mfa, CLAIMS)
    assert caught.value.acr_values == ("mfa",)


def test_identity_headers() -> None:
    headers = IdentityHeaders(IDENTITY)
    assert (
        headers.render(replace(CLAIMS, username="J\u00fcrgen \u20ac", email=None, roles=()))
        == (
            f"X-User-Id: {CLAIMS.subject}\r\nX-User-Name: J\u00fcrgen \u20ac\r\nX-Session-Id: {CLAIMS.session_id}\r\n"
        ).encode()
    )
    for bad in ("a\r\nX: y", "a\x00", "a\x7f"):
        with pytest.raises(GatewayError):
            headers.render(replace(CLAIMS, username=bad))
    with pytest.raises(ValueError, match="folded"):
        IdentityHeaders([("X-User-Id", "sub"), ("X_User_Id", "sid")])


@pytest.mark.parametrize("change", ["expired", "keys", "session", "user", "stale", "query"])
def test_who_was_found_for_the_same_header_is_asked_about_every_time(desk: Desk, change: str) -> None:
    route = replace(ROUTE, strict_revocation=True)
    entry = desk.ask(b"Bearer " + TOKEN, route)
    assert desk.it.still_identifies(entry, route, "?q=1")
    assert len(desk.notes.receipts) == 2
    if change == "expired":
        desk.clock.advance(900)
    elif change == "keys":
        desk.ring.epoch += 1
    elif change == "session":
        desk.index.apply([FeedEntry(1, FeedKind.SESSION, CLAIMS.session_id, 0, 4e9)])
    elif change == "user":
        desk.index.apply([FeedEntry(1, FeedKind.USER, CLAIMS.subject, 1, 4e9)])
    elif change == "stale":
        desk.stale = 6.0
    assert not desk.it.still_identifies(entry, route, "?access_token=x" if change == "query" else "")
    assert len(desk.notes.receipts) == 2
