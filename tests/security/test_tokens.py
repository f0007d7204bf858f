"""Access tokens an attacker would send: each refused with one constant answer (CVE numbers where there is one)."""

from __future__ import annotations

import hashlib
import hmac
import json

import orjson
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.tokens import AUDIENCE, ISSUER, USER, TokenBench, key_pair, segment

from gateway.errors import InvalidToken
from gateway.tokens import encoding
from gateway.tokens.access_token import INVALID_DETAIL, MAX_TOKEN_BYTES
from gateway.tokens.keyring import RingKey
from gateway.tokens.keys import Algorithm
from gateway.tokens.verified import VerifiedTokenCache

POLICY = object()


@pytest.fixture(params=list(Algorithm))
def bench(request: pytest.FixtureRequest) -> TokenBench:
    return TokenBench(request.param)


def assert_refused(bench: TokenBench, token: bytes) -> None:
    with pytest.raises(InvalidToken) as caught:
        bench.verifier.verify(token)
    assert caught.value.detail == INVALID_DETAIL
    assert caught.value.status == 401
    for part in token.split(b"."):
        assert len(part) < 8 or part.decode("latin-1") not in str(caught.value)


def test_the_bench_itself_makes_good_tokens(bench: TokenBench) -> None:
    assert bench.verifier.verify(bench.token()) == bench.claims
    assert bench.verifier.verify(bench.signed(bench.header, bench.payload())) == bench.claims


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "none ", "", None, 0, False, [], ["none"], {}])
def test_alg_none_in_every_spelling(bench: TokenBench, alg: object) -> None:
    header = {**bench.header, "alg": alg}
    message = segment(header) + b"." + segment(bench.payload())
    assert_refused(bench, message + b".")
    assert_refused(bench, message)
    assert_refused(bench, message + b"." + bench.token().split(b".")[2])
    assert_refused(bench, bench.signed(header, bench.payload()))


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_hmac_keyed_with_the_public_key(bench: TokenBench, alg: str) -> None:
    """CVE-2026-48526 and every algorithm confusion before it."""
    public = bench.pair._public
    secrets = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).strip(),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        orjson.dumps(bench.pair.jwk),
        bench.pair.kid.encode(),
        b"",
    ]
    for header in (segment({**bench.header, "alg": alg}), bench.pair.header):
        message = header + b"." + segment(bench.payload())
        for secret in secrets:
            digest = hmac.digest(secret, message, "sha" + alg[2:])
            assert_refused(bench, message + b"." + encoding.encode(digest))


@pytest.mark.parametrize("alg", ["EdDSA", "ES256", "RS256", "PS256", "ES384", "ES256K", "Ed25519", "eddsa", "rs256"])
def test_alg_that_is_not_the_keys(bench: TokenBench, alg: str) -> None:
    if alg != bench.pair.algorithm:
        assert_refused(bench, bench.signed({**bench.header, "alg": alg}, bench.payload()))


def test_a_key_of_another_algorithm_named_by_kid(bench: TokenBench) -> None:
    other = next(key_pair(algorithm) for algorithm in Algorithm if algorithm != bench.pair.algorithm)
    bench.ring.install([RingKey(bench.pair, 0.0, None), RingKey(other, 0.0, None)])
    assert_refused(bench, bench.signed({**bench.header, "kid": other.kid}, bench.payload()))
    theirs = {**bench.header, "alg": str(other.algorithm), "kid": other.kid}
    assert_refused(bench, bench.signed(theirs, bench.payload()))


@pytest.mark.parametrize(
    "extra",
    [
        {"crit": ["b64"]},
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": "b64"},
        {"b64": False},
        {"b64": False, "crit": ["b64"]},
        {"b64": "false"},
        {"b64": True},
        {"jku": "https://evil.example/keys.json"},
        {"x5u": "https://evil.example/cert.pem"},
        {"x5c": ["MIIB"]},
        {"x5t": "abc"},
        {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}},
        {"cty": "JWT"},
        {"zip": "DEF"},
        {"enc": "A256GCM"},
        {"iss": ISSUER},
        {"": ""},
    ],
    ids=lambda extra: "+".join(extra) or "empty",
)
def test_header_members_nobody_asked_for(bench: TokenBench, extra: dict[str, object]) -> None:
    assert_refused(bench, bench.signed({**bench.header, **extra}, bench.payload()))


def test_detached_payload(bench: TokenBench) -> None:
    header = segment({**bench.header, "b64": False, "crit": ["b64"]})
    message = header + b"." + orjson.dumps(bench.payload())
    assert_refused(bench, header + b".." + encoding.encode(bench.pair.sign(message)))


@pytest.mark.parametrize(
    "kid",
    [
        "../../../../dev/null",
        "/etc/passwd",
        "' OR '1'='1",
        "x' UNION SELECT 'key'--",
        "; rm -rf /",
        "k" * 10_000,
        "",
        "\u0000",
        None,
        1,
        ["a"],
        {"a": 1},
        "unknown-kid-unknown-kid-unknown-kid-unknown",
    ],
)
def test_kid(bench: TokenBench, kid: object) -> None:
    assert_refused(bench, bench.signed({**bench.header, "kid": kid}, bench.payload()))


def test_kid_missing_or_with_a_suffix(bench: TokenBench) -> None:
    assert_refused(bench, bench.signed({"alg": str(bench.pair.algorithm), "typ": "at+jwt"}, bench.payload()))
    assert_refused(bench, bench.signed({**bench.header, "kid": bench.pair.kid + "\u0000"}, bench.payload()))
    assert_refused(bench, bench.signed({**bench.header, "kid": bench.pair.kid[:-1]}, bench.payload()))


@pytest.mark.parametrize("typ", ["JWT", "jwt", "AT+JWT", "application/at+jwt", "at+jwt ", "id+jwt", "", None, 1])
def test_typ_other_than_at_jwt(bench: TokenBench, typ: object) -> None:
    assert_refused(bench, bench.signed({**bench.header, "typ": typ}, bench.payload()))


def test_typ_missing(bench: TokenBench) -> None:
    assert_refused(bench, bench.signed({"alg": str(bench.pair.algorithm), "kid": bench.pair.kid}, bench.payload()))


def test_duplicate_header_members(bench: TokenBench) -> None:
    good = orjson.dumps(bench.header)
    for name, value in (("alg", "none"), ("typ", "JWT"), ("kid", "x"), ("alg", str(bench.pair.algorithm))):
        member = json.dumps(name) + ":" + json.dumps(value)
        assert_refused(bench, bench.signed(b"{" + member.encode() + b"," + good[1:], bench.payload()))
        assert_refused(bench, bench.signed(good[:-1] + b"," + member.encode() + b"}", bench.payload()))


def test_duplicate_claims(bench: TokenBench) -> None:
    """PyJWT keeps the last of two, others the first."""
    good = orjson.dumps(bench.payload())
    for member in (b'"sub":"mallory"', b'"exp":9999999999', b'"roles":["root"]', b'"sub":"' + USER.encode() + b'"'):
        assert_refused(bench, bench.signed(bench.header, b"{" + member + b"," + good[1:]))
        assert_refused(bench, bench.signed(bench.header, good[:-1] + b"," + member + b"}"))


@pytest.mark.parametrize("name", ["exp", "iat", "auth_time", "rg", "dn", "ue", "ra"])
@pytest.mark.parametrize("kind", ["text", "float", "true", "null", "list", "object", "missing", "huge", "infinite"])
def test_numbers_that_are_not_integers(name: str, kind: str) -> None:
    bench = TokenBench()
    payload = bench.payload()
    value = payload.pop(name)
    assert isinstance(value, int)
    texts = {
        "text": f'"{value}"',
        "float": f"{value}.5",
        "true": "true",
        "null": "null",
        "list": f"[{value}]",
        "object": "{}",
        "huge": "9" * 40,
        "infinite": "1e999",
    }
    data = orjson.dumps(payload)
    if kind != "missing":
        data = data[:-1] + f',"{name}":{texts[kind]}}}'.encode()
    assert_refused(bench, bench.signed(bench.header, data))


@pytest.mark.parametrize("text", ["1790000900.0", "17900009e2", "01790000900", "+1790000900", "0x6AB13B84", "NaN"])
def test_exp_in_another_spelling(text: str) -> None:
    bench = TokenBench()
    payload = bench.payload()
    assert payload.pop("exp") == 1_790_000_900
    assert_refused(bench, bench.signed(bench.header, orjson.dumps(payload)[:-1] + f',"exp":{text}}}'.encode()))


@pytest.mark.parametrize("name", ["exp", "iat", "auth_time", "rg", "ue", "ra"])
def test_negative_numbers(name: str) -> None:
    bench = TokenBench()
    assert_refused(bench, bench.signed(bench.header, {**bench.payload(), name: -1}))


@pytest.mark.parametrize("name", ["sub", "sid", "jti", "username", "iss", "aud", "client_id"])
@pytest.mark.parametrize("value", [None, 1, True, "", [], ["x"], {"a": "b"}])
def test_texts_that_are_not_text(name: str, value: object) -> None:
    bench = TokenBench()
    assert_refused(bench, bench.signed(bench.header, {**bench.payload(), name: value}))
    payload = bench.payload()
    del payload[name]
    assert_refused(bench, bench.signed(bench.header, payload))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("aud", [AUDIENCE]),
        ("aud", [AUDIENCE, "other"]),
        ("aud", "Gateway"),
        ("aud", "gateway "),
        ("aud", "other"),
        ("iss", [ISSUER]),
        ("iss", ISSUER + "/"),
        ("iss", "https://evil.example"),
        ("client_id", "other"),
    ],
)
def test_issuer_and_audience_are_exact(name: str, value: object) -> None:
    bench = TokenBench()
    assert_refused(bench, bench.signed(bench.header, {**bench.payload(), name: value}))


@pytest.mark.parametrize("name", ["roles", "amr"])
@pytest.mark.parametrize("value", [None, "admin", ["admin", 1], [None], [["admin"]], {"0": "admin"}, True])
def test_lists_that_are_not_lists_of_texts(name: str, value: object) -> None:
    bench = TokenBench()
    assert_refused(bench, bench.signed(bench.header, {**bench.payload(), name: value}))


@pytest.mark.parametrize("value", [None, 1, ["a@example.com"]])
def test_email_that_is_not_text(value: object) -> None:
    bench = TokenBench()
    assert_refused(bench, bench.signed(bench.header, {**bench.payload(), "email": value}))


def test_exp_has_no_leeway_and_iat_thirty_seconds() -> None:
    bench = TokenBench()
    token = bench.token()
    bench.clock.advance(899.999)
    assert bench.verifier.verify(token) == bench.claims
    bench.clock.advance(0.001)
    assert_refused(bench, token)
    now = int(bench.clock.now())
    ahead = {**bench.payload(), "iat": now + 30, "exp": now + 900}
    assert bench.verifier.verify(bench.signed(bench.header, ahead)).issued_at == now + 30
    assert_refused(bench, bench.signed(bench.header, {**ahead, "iat": now + 31}))


def test_another_gateways_key(bench: TokenBench) -> None:
    stranger = key_pair(bench.pair.algorithm, 1)
    message = b".".join(bench.token().split(b".")[:2])
    assert_refused(bench, message + b"." + encoding.encode(stranger.sign(message)))
    ours = bench.token()
    bench.ring.install([RingKey(stranger, 0.0, None)])
    assert_refused(bench, ours)


def test_signature_of_any_other_length(bench: TokenBench) -> None:
    head, _, signature = bench.token().rpartition(b".")
    raw = encoding.decode(signature)
    assert raw is not None
    for wrong in (b"", raw[:-1], raw + b"\0", b"\0" + raw, raw * 2, bytes(len(raw)), b"\xff" * len(raw), raw[::-1]):
        assert_refused(bench, head + b"." + encoding.encode(wrong))


def test_every_flipped_bit_of_the_signature() -> None:
    bench = TokenBench()
    head, _, signature = bench.token().rpartition(b".")
    raw = bytearray(encoding.decode(signature) or b"")
    for position in range(0, len(raw) * 8, 5):
        raw[position // 8] ^= 1 << position % 8
        assert_refused(bench, head + b"." + encoding.encode(bytes(raw)))
        raw[position // 8] ^= 1 << position % 8
    assert bench.verifier.verify(head + b"." + encoding.encode(bytes(raw))) == bench.claims


def test_second_spellings_of_a_good_token(bench: TokenBench) -> None:
    """PyJWT takes padding; other decoders take whitespace, the other alphabet and loose trailing bits."""
    token = bench.token()
    header, body, signature = token.split(b".")
    last = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    loose = signature[:-1] + last[last.index(signature[-1:]) ^ 1 :][:1]
    for other in (
        token + b"=",
        token + b"==",
        token + b"\n",
        b" " + token,
        token + b" ",
        token + b".",
        b"." + token,
        token + b"\0",
        header + b"=." + body + b"." + signature,
        header + b"." + body + b"==." + signature,
        header + b"." + body[:4] + b"\n" + body[4:] + b"." + signature,
        header + b"." + body + b"." + loose,
        token.replace(b"-", b"+").replace(b"_", b"/") + b"+",
        token.decode().encode("utf-16-le"),
        b"\xef\xbb\xbf" + token,
    ):
        assert_refused(bench, other)


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b".",
        b"..",
        b"...",
        b"a.b",
        b"a.b.c",
        b"\xff.\xfe.\xfd",
        b"null",
        b"{}",
        b"Bearer x",
        b"A" * 5000,
        b"." * 4096,
    ],
)
def test_garbage(token: bytes) -> None:
    assert_refused(TokenBench(), token)


def test_the_size_cap_comes_first() -> None:
    bench = TokenBench()
    padded = bench.signed(bench.header, {**bench.payload(), "note": "x" * 3200})
    assert len(padded) > MAX_TOKEN_BYTES
    assert_refused(bench, padded)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b'"text"',
        b"1",
        b"{",
        b"\xff\xfe",
        b'{"sub":"\xff"}',
        b'{"sub":"\\ud800"}',
        b"{'sub':1}",
        b"{}",
        b"[" * 1000 + b"]" * 1000,
        b'{"a":' * 400 + b"1" + b"}" * 400,
        b'{"exp":NaN}',
        b"\xef\xbb\xbf{}",
    ],
)
def test_payload_that_is_not_our_json(data: bytes) -> None:
    bench = TokenBench()
    assert_refused(bench, bench.signed(bench.header, data))


def test_payload_in_another_spelling() -> None:
    bench = TokenBench()
    payload = bench.payload()
    for data in (
        orjson.dumps(payload) + b" ",
        json.dumps(payload).encode(),
        json.dumps(payload, separators=(",", ":")).replace("alice", "\\u0061lice").encode(),
        orjson.dumps(payload, option=orjson.OPT_INDENT_2),
    ):
        assert_refused(bench, bench.signed(bench.header, data))


def test_a_claim_of_a_later_version_is_no_reason_to_refuse() -> None:
    bench = TokenBench()
    assert bench.verifier.verify(bench.signed(bench.header, {**bench.payload(), "new": {"a": [1]}})) == bench.claims


def test_encrypted_and_nested_tokens() -> None:
    bench = TokenBench()
    assert_refused(bench, b".".join([segment({"alg": "dir", "enc": "A256GCM"}), b"", b"AAAA", b"AAAA", b"AAAA"]))
    assert_refused(bench, bench.signed({**bench.header, "cty": "JWT"}, bench.token()))


def test_cache_hit_after_exp() -> None:
    bench = TokenBench()
    cache: VerifiedTokenCache[bytes] = VerifiedTokenCache(8, bench.ring)
    token = bench.token()
    cache.put(token, POLICY, bench.verifier.verify(token), b"", bench.ring.epoch)
    expires = bench.claims.expires_at
    assert cache.get(token, POLICY, expires - 0.001) is not None
    assert cache.get(token, POLICY, expires) is None


def test_cache_hit_after_the_key_was_withdrawn() -> None:
    bench = TokenBench()
    cache: VerifiedTokenCache[bytes] = VerifiedTokenCache(8, bench.ring)
    token = bench.token()
    cache.put(token, POLICY, bench.verifier.verify(token), b"", bench.ring.epoch)
    bench.ring.install([RingKey(key_pair(number=1), 0.0, None)])
    assert cache.get(token, POLICY, bench.clock.now()) is None
    assert_refused(bench, token)


def test_verdict_reached_before_the_key_was_withdrawn_and_kept_after() -> None:
    bench = TokenBench()
    cache: VerifiedTokenCache[bytes] = VerifiedTokenCache(8, bench.ring)
    token, epoch = bench.token(), bench.ring.epoch
    claims = bench.verifier.verify(token)
    bench.ring.install([RingKey(key_pair(number=1), 0.0, None)])
    cache.put(token, POLICY, claims, b"", epoch)
    assert cache.get(token, POLICY, bench.clock.now()) is None


def test_cache_is_not_fooled_by_part_of_a_token() -> None:
    bench = TokenBench()
    cache: VerifiedTokenCache[bytes] = VerifiedTokenCache(8, bench.ring)
    token = bench.token()
    cache.put(token, POLICY, bench.claims, b"", bench.ring.epoch)
    head, _, _ = token.rpartition(b".")
    for other in (head, head + b".", token[:-1], token + b"=", token.lower(), hashlib.sha256(token).digest()):
        assert cache.get(other, POLICY, bench.clock.now()) is None
