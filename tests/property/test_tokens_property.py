"""Whatever the bytes: a token is one we made, or it is refused in the one way there is."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from support.tokens import TokenBench, master_keys

from gateway.errors import InvalidToken
from gateway.tokens import encoding
from gateway.tokens.access_token import INVALID_DETAIL
from gateway.tokens.errors import ForgedToken
from gateway.tokens.keys import Algorithm
from gateway.tokens.refresh_token import PresentedToken, RefreshTokens

BENCHES = {algorithm: TokenBench(algorithm) for algorithm in Algorithm}
BENCH = BENCHES[Algorithm.EDDSA]
TOKENS = RefreshTokens(master_keys(2, 4), b"s" * 16)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
CLAIM_NAMES = [*BENCH.payload(), "nbf", "", "\u0000"]


def assert_refused(bench: TokenBench, token: bytes) -> None:
    with pytest.raises(InvalidToken) as caught:
        bench.verifier.verify(token)
    assert caught.value.detail == INVALID_DETAIL


@given(st.binary(max_size=200))
@example(b"..")
def test_any_bytes_are_refused(token: bytes) -> None:
    assert_refused(BENCH, token)


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=5), st.booleans())
def test_any_segments_are_refused(parts: list[bytes], encoded: bool) -> None:
    assert_refused(BENCH, b".".join(encoding.encode(part) if encoded else part for part in parts))


@given(st.sampled_from(list(Algorithm)), st.data())
def test_any_change_of_a_good_token_is_refused(algorithm: Algorithm, data: st.DataObject) -> None:
    bench = BENCHES[algorithm]
    token = bytearray(bench.signed(bench.header, bench.payload()))
    start = data.draw(st.integers(0, len(token)))
    stop = data.draw(st.integers(start, min(len(token), start + 5)))
    replacement = data.draw(st.binary(max_size=5))
    changed = bytes(token[:start]) + replacement + bytes(token[stop:])
    if changed == token:
        assert bench.verifier.verify(changed) == bench.claims
    else:
        assert_refused(bench, changed)


@given(st.sampled_from(list(Algorithm)), st.binary(max_size=300))
def test_any_signature_is_refused(algorithm: Algorithm, signature: bytes) -> None:
    bench = BENCHES[algorithm]
    message = bench.token().rpartition(b".")[0]
    assert_refused(bench, message + b"." + encoding.encode(signature))


@given(st.dictionaries(st.sampled_from(["alg", "typ", "kid", "crit", "b64", "jku"]), JSON))
def test_any_signed_header_but_ours_is_refused(header: dict[str, object]) -> None:
    assume(header != BENCH.header)
    assert_refused(BENCH, BENCH.signed(_dumped(header), BENCH.payload()))


@given(st.binary(max_size=120))
def test_any_signed_payload_that_is_not_claims_is_refused(payload: bytes) -> None:
    assert_refused(BENCH, BENCH.signed(BENCH.header, payload))


@given(st.sampled_from(CLAIM_NAMES), JSON)
def test_any_claim_value_is_taken_as_it_is_or_refused(name: str, value: object) -> None:
    data = _dumped({**BENCH.payload(), name: value})
    token = BENCH.signed(BENCH.header, data)
    try:
        claims = BENCH.verifier.verify(token)
    except InvalidToken as error:
        assert error.detail == INVALID_DETAIL
        return
    assert orjson.loads(data) == {**BENCH.payload(), name: orjson.loads(data)[name]}
    assert type(claims.expires_at) is int
    assert claims.expires_at > BENCH.clock.now()


@given(st.text(max_size=90) | st.binary(max_size=90))
@example("gwr_" + "A" * 71)
@example("gwr_AQ" + "A" * 69)
@example("\ud800" * 75)
def test_any_text_is_no_refresh_token(text: str | bytes) -> None:
    with pytest.raises(ForgedToken):
        TOKENS.parse(text)


@given(st.binary(min_size=53, max_size=53))
def test_any_53_bytes_are_no_refresh_token(data: bytes) -> None:
    with pytest.raises(ForgedToken):
        TOKENS.parse("gwr_" + encoding.encode(data).decode())


@given(st.sampled_from([2, 4]), st.uuids(), st.integers(0, 2**32 - 1))
def test_every_refresh_token_parses_to_what_it_was_made_from(kid: int, sid: object, generation: int) -> None:
    assert TOKENS.parse(TOKENS.issue(kid, str(sid), generation)) == PresentedToken(kid, str(sid), generation)


@given(st.uuids(), st.integers(0, 2**32 - 1), st.integers(0, 74), st.characters(codec="utf-8"))
def test_any_other_character_anywhere_is_forged(sid: object, generation: int, at: int, character: str) -> None:
    token = TOKENS.issue(2, str(sid), generation)
    changed = token[:at] + character + token[at + 1 :]
    if changed != token:
        with pytest.raises(ForgedToken):
            TOKENS.parse(changed)
    else:
        assert TOKENS.parse(changed).generation == generation


@settings(max_examples=300)
@given(st.binary(max_size=40))
def test_base64url_has_one_text_per_value(text: bytes) -> None:
    data = encoding.decode(text)
    assert data is None or encoding.encode(data) == text
    assert encoding.decode(encoding.encode(text)) == text


def _dumped(value: object) -> bytes:
    """As orjson writes it; what it cannot write (integers beyond 64 bits) as the standard library does."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=True).encode()
