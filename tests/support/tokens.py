"""Keys, claims and hand-built tokens for tests."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import orjson

from gateway.tokens import encoding, keys
from gateway.tokens.access_token import AccessTokenIssuer, AccessTokenVerifier
from gateway.tokens.claims import AccessClaims
from gateway.tokens.keyring import KeyRing, RingKey
from gateway.tokens.keys import Algorithm, KeyPair
from gateway.tokens.master import MasterKeys
from support.clock import FrozenClock

ISSUER = "http://127.0.0.1:8080"
AUDIENCE = "gateway"
SID = "7b0c9f4e-55a1-4c0e-9d8b-0a4f9a1f6d21"
USER = "0e1f4c56-2f0a-4f7e-8a54-6d2f8f1f9b10"


@cache
def key_pair(algorithm: Algorithm = Algorithm.EDDSA, number: int = 0) -> KeyPair:
    """One key per algorithm and number for the whole run: making RSA keys is slow."""
    return keys.generate(algorithm)


def master_keys(*kids: int) -> MasterKeys:
    """Fixed master keys with these numbers (1 if none is named)."""
    return MasterKeys({kid: bytes([kid]) * 32 for kid in kids or (1,)})


def make_claims(clock: FrozenClock, **changes: object) -> AccessClaims:
    """Claims of a fifteen-minute token issued now."""
    now = int(clock.now())
    values: dict[str, object] = {
        "subject": USER,
        "session_id": SID,
        "generation": 3,
        "delivery": 1,
        "user_epoch": 0,
        "issued_at": now,
        "expires_at": now + 900,
        "receipt_at": now + 60,
        "auth_time": now - 100,
        "amr": ("pwd",),
        "username": "alice",
        "email": "alice@example.com",
        "roles": ("admin", "dev"),
        "token_id": "1c5b8a0e-0c1d-4a43-93a1-3f3c42b4f6a7",
    }
    return AccessClaims(**{**values, **changes})  # type: ignore[arg-type]


class TokenBench:
    """An issuer and a verifier on one ring, and the means to sign what no issuer would."""

    def __init__(self, algorithm: Algorithm = Algorithm.EDDSA, *, email: str | None = "alice@example.com") -> None:
        self.clock = FrozenClock()
        self.pair = key_pair(algorithm)
        self.ring = KeyRing([RingKey(self.pair, 0.0, None)])
        self.issuer = AccessTokenIssuer(self.ring, ISSUER, AUDIENCE)
        self.verifier = AccessTokenVerifier(self.ring, ISSUER, AUDIENCE, self.clock)
        self.claims = make_claims(self.clock, email=email)
        self.header: dict[str, object] = {"alg": str(algorithm), "typ": "at+jwt", "kid": self.pair.kid}

    def token(self) -> bytes:
        """A good token."""
        return self.issuer.issue(self.claims).encode()

    def payload(self) -> dict[str, object]:
        """The payload of a good token."""
        data = encoding.decode(self.token().split(b".")[1])
        assert data is not None
        payload: dict[str, object] = orjson.loads(data)
        return payload

    def signed(self, header: Mapping[str, object] | bytes, payload: Mapping[str, object] | bytes) -> bytes:
        """Any header and payload (objects, or the JSON itself) under the ring's real key."""
        message = b".".join(segment(part) for part in (header, payload))
        return message + b"." + encoding.encode(self.pair.sign(message))


def segment(part: Mapping[str, object] | bytes) -> bytes:
    """A token segment of this JSON."""
    return encoding.encode(part if isinstance(part, bytes) else orjson.dumps(part))
