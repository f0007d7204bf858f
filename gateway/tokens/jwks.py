"""The public keys as a JWK Set (RFC 7517), for backends that verify assertions and tokens themselves."""

from __future__ import annotations

import orjson

from gateway.tokens.keyring import KeyRing

CONTENT_TYPE = "application/jwk-set+json"
MAX_AGE = 300
"""Seconds a client may keep the document. A new key is published for longer than that before it signs."""


def jwks_document(ring: KeyRing) -> bytes:
    """The document. The members were made when the keys were loaded: writing it costs less than a cache would."""
    return orjson.dumps({"keys": [key.pair.jwk for key in ring.keys]})
