"""Bearer authentication."""

from __future__ import annotations

import pytest
from support.credentials import Recorder
from support.tokens import SID, USER, TokenBench

from gateway.errors import InvalidRequest, InvalidToken, MissingToken
from gateway.events import Name
from gateway.sessions.denial import RevocationIndex
from gateway.sessions.denied_use import DeniedUse
from gateway.sessions.ports import FeedEntry, FeedKind
from gateway.tokens.claims import AccessClaims
from gateway.web.bearer import MAX_TOKEN, BearerAuthenticator, bearer_token


class Notes:
    """Receipts, remembered."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bool]] = []

    def note(self, claims: AccessClaims, passive: bool) -> None:
        self.seen.append((claims.session_id, passive))


class Bench:
    def __init__(self) -> None:
        self.tokens = TokenBench()
        self.index = RevocationIndex()
        self.notes = Notes()
        self.events = Recorder()
        self.bearer = BearerAuthenticator(self.tokens.verifier, self.index, self.notes, DeniedUse(self.events))
        self.header = b"Bearer " + self.tokens.token()

    def deny(self, kind: FeedKind, key: str, value: int) -> None:
        self.index.apply([FeedEntry(1, kind, key, value, self.tokens.clock.now() + 1000)])


@pytest.mark.parametrize(
    ("values", "token"),
    [
        ([], None),
        ([b"Bearer abc"], b"abc"),
        ([b"bearer abc"], b"abc"),
        ([b"BEARER   abc "], b"abc"),
        ([b" Bearer a.b-c_d~e+f/g=="], b"a.b-c_d~e+f/g=="),
        ([b"Basic YTpi"], None),
        ([b"Bearerabc"], None),
        ([b""], None),
        ([b"DPoP abc"], None),
    ],
)
def test_token_of_the_header(values: list[bytes], token: bytes | None) -> None:
    assert bearer_token(values) == token


@pytest.mark.parametrize(
    "value",
    [
        b"Bearer",
        b"Bearer ",
        b"Bearer a b",
        b"Bearer a, Bearer b",
        b"Bearer a,b",
        b"Bearer \xff",
        b"Bearer =",
        b'Bearer "a"',
        b"Bearer \ta",
        b"Bearer\ta",
        b"bearer\t a",
        b"Bearer " + b"a" * (MAX_TOKEN + 1),
        b"Bearer " + b"a" * 10_240,
    ],
)
def test_malformed(value: bytes) -> None:
    with pytest.raises(InvalidToken):
        bearer_token([value])


def test_two_headers_are_a_bad_request() -> None:
    with pytest.raises(InvalidRequest):
        bearer_token([b"Bearer a", b"Bearer a"])


def test_a_good_token_is_a_receipt() -> None:
    bench = Bench()
    assert bench.bearer.require([bench.header]).subject == USER
    assert bench.bearer.require([bench.header], passive=True).session_id == SID
    assert bench.notes.seen == [(SID, False), (SID, True)]


@pytest.mark.parametrize("values", [[], [b"Basic YTpi"]])
def test_no_token(values: list[bytes]) -> None:
    with pytest.raises(MissingToken):
        Bench().bearer.require(values)


def test_a_refused_token_is_no_receipt() -> None:
    bench = Bench()
    with pytest.raises(InvalidToken):
        bench.bearer.require([b"Bearer a.b.c"])
    bench.deny(FeedKind.SESSION, SID, 0)
    with pytest.raises(InvalidToken) as refused:
        bench.bearer.require([bench.header])
    assert refused.value.debug == "session_revoked"
    assert bench.notes.seen == []
    assert bench.events.events == []


def test_verifying_alone_is_no_receipt() -> None:
    bench = Bench()
    assert bench.bearer.verify(bench.tokens.token()).subject == USER
    assert bench.notes.seen == []
    for odd in (b"", b"a b", b"\xff", b"a" * 5000):
        with pytest.raises(InvalidToken):
            bench.bearer.verify(odd)


def test_use_of_a_denied_delivery_is_suspicious() -> None:
    bench = Bench()
    bench.deny(FeedKind.DELIVERY, SID, 3 << 16 | 2)
    for _ in range(3):
        with pytest.raises(InvalidToken):
            bench.bearer.require([bench.header])
    (event,) = bench.events.events
    assert event.name is Name.SESSION_SUSPICIOUS
    assert event.session_id == SID
