"""Access tokens as RFC 9068 has them. What must be refused is in tests/security."""

from __future__ import annotations

import jwt
import orjson
import pytest
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from support.tokens import AUDIENCE, ISSUER, SID, USER, TokenBench, make_claims

from gateway.errors import GatewayError
from gateway.tokens.access_token import MAX_TOKEN_BYTES, AccessTokenIssuer
from gateway.tokens.jwks import jwks_document
from gateway.tokens.keyring import KeyRing
from gateway.tokens.keys import Algorithm

READERS = {
    Algorithm.EDDSA: OKPAlgorithm.from_jwk,
    Algorithm.ES256: ECAlgorithm.from_jwk,
    Algorithm.RS256: RSAAlgorithm.from_jwk,
}


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_another_library_verifies_with_the_published_keys(algorithm: Algorithm) -> None:
    bench = TokenBench(algorithm)
    token = bench.token()
    (jwk,) = orjson.loads(jwks_document(bench.ring))["keys"]
    assert jwt.get_unverified_header(token) == {"alg": algorithm, "typ": "at+jwt", "kid": jwk["kid"]}
    claims = jwt.decode(
        token,
        READERS[algorithm](jwk),  # type: ignore[arg-type]
        algorithms=[algorithm],
        audience=AUDIENCE,
        issuer=ISSUER,
        options={"verify_exp": False, "verify_iat": False, "strict_aud": True},
    )
    now = int(bench.clock.now())
    assert claims == {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": USER,
        "client_id": "gateway",
        "iat": now,
        "exp": now + 900,
        "jti": "1c5b8a0e-0c1d-4a43-93a1-3f3c42b4f6a7",
        "sid": SID,
        "rg": 3,
        "dn": 1,
        "ue": 0,
        "ra": now + 60,
        "auth_time": now - 100,
        "amr": ["pwd"],
        "username": "alice",
        "email": "alice@example.com",
        "roles": ["admin", "dev"],
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"email": None},
        {"roles": ()},
        {"amr": ()},
        {"delivery": -3},
        {"username": "Ünïcödé 名前 😀"},
        {"generation": 2**32 - 1, "user_epoch": 2**53},
    ],
)
def test_what_is_issued_is_what_is_verified(changes: dict[str, object]) -> None:
    bench = TokenBench()
    claims = make_claims(bench.clock, **changes)
    assert bench.verifier.verify(bench.issuer.issue(claims).encode()) == claims


def test_no_email_is_no_claim() -> None:
    assert "email" not in TokenBench(email=None).payload()


def test_a_token_too_long_to_verify_is_not_issued() -> None:
    bench = TokenBench()
    claims = make_claims(bench.clock, roles=tuple(f"role-{number:04d}" for number in range(300)))
    with pytest.raises(GatewayError, match="too many roles"):
        bench.issuer.issue(claims)
    fits = make_claims(bench.clock, roles=tuple(f"role-{number:04d}" for number in range(200)))
    assert len(bench.issuer.issue(fits)) <= MAX_TOKEN_BYTES


def test_nothing_is_issued_without_a_key() -> None:
    bench = TokenBench()
    with pytest.raises(GatewayError, match="no signing key"):
        AccessTokenIssuer(KeyRing(), ISSUER, AUDIENCE).issue(bench.claims)
