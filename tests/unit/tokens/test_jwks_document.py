"""The JWK Set: public members and nothing else."""

from __future__ import annotations

import orjson
import pytest
from support.tokens import key_pair

from gateway.tokens.jwks import jwks_document
from gateway.tokens.keyring import KeyRing, RingKey
from gateway.tokens.keys import Algorithm

MEMBERS = {
    Algorithm.EDDSA: {"kty", "crv", "x"},
    Algorithm.ES256: {"kty", "crv", "x", "y"},
    Algorithm.RS256: {"kty", "n", "e"},
}


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_members(algorithm: Algorithm) -> None:
    (jwk,) = orjson.loads(jwks_document(KeyRing([RingKey(key_pair(algorithm), 0.0, None)])))["keys"]
    assert set(jwk) == MEMBERS[algorithm] | {"use", "alg", "kid"}
    assert (jwk["use"], jwk["alg"], jwk["kid"]) == ("sig", algorithm, key_pair(algorithm).kid)


def test_every_key_of_the_ring_is_published_newest_first() -> None:
    ring = KeyRing()
    assert orjson.loads(jwks_document(ring)) == {"keys": []}
    ring.install([RingKey(key_pair(number=0), 0.0, 100.0), RingKey(key_pair(number=1), 100.0, None)])
    kids = [jwk["kid"] for jwk in orjson.loads(jwks_document(ring))["keys"]]
    assert kids == [key_pair(number=1).kid, key_pair(number=0).kid]
