"""Access tokens (RFC 9068): signed here, and believed only when they are exactly what is signed here."""

from __future__ import annotations

from typing import Any, Final

import orjson

from gateway.clock import Clock
from gateway.errors import GatewayError, InvalidToken
from gateway.tokens import encoding
from gateway.tokens.claims import AccessClaims
from gateway.tokens.keyring import KeyRing

CLIENT_ID: Final = "gateway"
MAX_TOKEN_BYTES: Final = 4096
ISSUED_AT_LEEWAY: Final = 30
INVALID_DETAIL: Final = "The access token is malformed, expired, revoked or not from this gateway."

_TEXTS: Final = ("sub", "sid", "jti", "username")
_COUNTS: Final = ("iat", "exp", "auth_time", "rg", "ue", "ra")
_LISTS: Final = ("amr", "roles")


class AccessTokenIssuer:
    """Signs access tokens with the key that is due at their `iat`."""

    __slots__ = ("_audience", "_issuer", "_ring")

    def __init__(self, ring: KeyRing, issuer: str, audience: str) -> None:
        self._ring = ring
        self._issuer = issuer
        self._audience = audience

    def issue(self, claims: AccessClaims) -> str:
        """The token for `claims`. One too long for the verifier is refused here, where the operator sees it."""
        key = self._ring.signing(claims.issued_at)
        message = key.header + b"." + encoding.encode(orjson.dumps(self._payload(claims)))
        token = message + b"." + encoding.encode(key.sign(message))
        if len(token) > MAX_TOKEN_BYTES:
            raise GatewayError(debug=f"an access token of {len(token)} bytes for user {claims.subject}: too many roles")
        return token.decode("ascii")

    def _payload(self, claims: AccessClaims) -> dict[str, object]:
        payload: dict[str, object] = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": claims.subject,
            "client_id": CLIENT_ID,
            "iat": claims.issued_at,
            "exp": claims.expires_at,
            "jti": claims.token_id,
            "sid": claims.session_id,
            "rg": claims.generation,
            "dn": claims.delivery,
            "ue": claims.user_epoch,
            "ra": claims.receipt_at,
            "auth_time": claims.auth_time,
            "amr": claims.amr,
            "username": claims.username,
            "roles": claims.roles,
        }
        if claims.email is not None:
            payload["email"] = claims.email
        return payload


class AccessTokenVerifier:
    """Turns the bytes of a bearer token into claims, or refuses them. Revocation is the caller's next question.

    Nothing of a token is parsed before its signature is good: the header segment is looked up as bytes among the ones
    the ring's keys sign with, so `alg`, `typ`, `kid`, `crit`, `jku` and the like are never read from a client.
    """

    __slots__ = ("_audience", "_clock", "_issuer", "_ring")

    def __init__(self, ring: KeyRing, issuer: str, audience: str, clock: Clock) -> None:
        self._ring = ring
        self._issuer = issuer
        self._audience = audience
        self._clock = clock

    def verify(self, token: bytes) -> AccessClaims:
        """The claims of a token that is genuine and not expired; otherwise `InvalidToken` with a constant detail."""
        payload = _load(self._open(token))
        now = self._clock.now()
        self._check_origin(payload)
        _check_types(payload)
        if payload["exp"] <= now:
            raise _refusal("expired")
        if payload["iat"] > now + ISSUED_AT_LEEWAY:
            raise _refusal("issued in the future")
        return _claims(payload)

    def _open(self, token: bytes) -> bytes:
        """The payload bytes behind a good signature."""
        if len(token) > MAX_TOKEN_BYTES:
            raise _refusal("too long")
        segments = token.split(b".")
        if len(segments) != 3:
            raise _refusal("not three segments")
        header, body, trailer = segments
        key = self._ring.find(header)
        if key is None:
            raise _refusal("header of no key in force")
        payload, signature = encoding.decode(body), encoding.decode(trailer)
        if payload is None or signature is None:
            raise _refusal("not canonical base64url")
        if not key.verify(token[: -len(trailer) - 1], signature):
            raise _refusal("wrong signature")
        return payload

    def _check_origin(self, payload: dict[str, Any]) -> None:
        if payload.get("iss") != self._issuer:
            raise _refusal("another issuer")
        if payload.get("aud") != self._audience:
            raise _refusal("another audience")
        if payload.get("client_id") != CLIENT_ID:
            raise _refusal("another client")


def _refusal(reason: str) -> InvalidToken:
    return InvalidToken(INVALID_DETAIL, debug=f"access token refused: {reason}")


def _load(data: bytes) -> dict[str, Any]:
    try:
        payload = orjson.loads(data)
        # Writing it again gives the same bytes only without duplicate keys, odd numbers, escapes and white space.
        if type(payload) is dict and orjson.dumps(payload) == data:
            return payload
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        raise _refusal("payload is not JSON") from None
    raise _refusal("payload is not an object in the form we write")


def _check_types(payload: dict[str, Any]) -> None:
    for name in _TEXTS:
        if type(payload.get(name)) is not str or not payload[name]:
            raise _refusal(f"{name} is not text")
    for name in _COUNTS:
        if type(payload.get(name)) is not int or payload[name] < 0:
            raise _refusal(f"{name} is not a count")
    if type(payload.get("dn")) is not int:
        raise _refusal("dn is not a number")
    if type(payload.get("email", "")) is not str:
        raise _refusal("email is not text")
    for name in _LISTS:
        if type(payload.get(name)) is not list or any(type(item) is not str for item in payload[name]):
            raise _refusal(f"{name} is not a list of texts")


def _claims(payload: dict[str, Any]) -> AccessClaims:
    return AccessClaims(
        subject=payload["sub"],
        session_id=payload["sid"],
        generation=payload["rg"],
        delivery=payload["dn"],
        user_epoch=payload["ue"],
        issued_at=payload["iat"],
        expires_at=payload["exp"],
        receipt_at=payload["ra"],
        auth_time=payload["auth_time"],
        amr=tuple(payload["amr"]),
        username=payload["username"],
        email=payload.get("email"),
        roles=tuple(payload["roles"]),
        token_id=payload["jti"],
    )
