"""One signing key in memory: made, loaded, named by its thumbprint, ready to sign and verify."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import PyJWTError

from gateway.tokens import encoding

TOKEN_TYPE = "at+jwt"
_RSA_BITS = 2048


class Algorithm(StrEnum):
    """How access tokens are signed: the JWS names (RFC 7518, RFC 8037)."""

    EDDSA = "EdDSA"
    ES256 = "ES256"
    RS256 = "RS256"


# PyJWT types each of these for its own key class; a RingKey holds only keys of the matching one.
_SCHEMES: Mapping[Algorithm, Any] = {
    Algorithm.EDDSA: OKPAlgorithm(),
    Algorithm.ES256: ECAlgorithm(ECAlgorithm.SHA256, ec.SECP256R1),
    Algorithm.RS256: RSAAlgorithm(RSAAlgorithm.SHA256),
}
_GENERATORS: Mapping[Algorithm, Callable[[], Any]] = {
    Algorithm.EDDSA: ed25519.Ed25519PrivateKey.generate,
    Algorithm.ES256: lambda: ec.generate_private_key(ec.SECP256R1()),
    Algorithm.RS256: lambda: rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS),
}
# RFC 7638 3.2 and RFC 8037 2: the members of a thumbprint, in the order they are hashed.
_THUMBPRINT_MEMBERS = {"OKP": ("crv", "kty", "x"), "EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n")}


@dataclass(frozen=True, slots=True, eq=False)
class KeyPair:
    """A private key and everything that follows from it.

    `header` is the first segment of every token the key signs, as bytes: a token with any other header is not ours.
    `jwk` is the public key as published, without a private member.
    """

    kid: str
    algorithm: Algorithm
    header: bytes
    jwk: Mapping[str, str]
    _private: Any
    _public: Any

    def __repr__(self) -> str:
        return f"KeyPair({self.kid}, {self.algorithm})"

    def sign(self, message: bytes) -> bytes:
        """The JWS signature of `message`."""
        signature: bytes = _SCHEMES[self.algorithm].sign(message, self._private)
        return signature

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether `signature` is one of this key on `message`, whatever its length or content."""
        valid: bool = _SCHEMES[self.algorithm].verify(message, self._public, signature)
        return valid

    def private_der(self) -> bytes:
        """The private key as PKCS 8 DER, to be sealed at once."""
        der: bytes = self._private.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return der


def generate(algorithm: Algorithm) -> KeyPair:
    """A new key. RSA takes a good part of a second of CPU: call it in a thread."""
    return _pair(algorithm, _GENERATORS[algorithm]())


def from_private_der(algorithm: Algorithm, der: bytes) -> KeyPair:
    """The key behind `private_der`; raises `ValueError` when it is not one of `algorithm`."""
    try:
        key = _SCHEMES[algorithm].prepare_key(serialization.load_der_private_key(der, password=None))
    except (ValueError, TypeError, UnsupportedAlgorithm, PyJWTError) as error:
        raise ValueError(f"not a private key for {algorithm}") from error
    if isinstance(key, ed448.Ed448PrivateKey) or (isinstance(key, rsa.RSAPrivateKey) and key.key_size < _RSA_BITS):
        raise ValueError(f"not a private key for {algorithm}: a curve or size the gateway does not sign with")
    return _pair(algorithm, key)


def public_text(pair: KeyPair) -> str:
    """The public key as JSON, for people who read the store; the gateway itself never believes it."""
    return orjson.dumps(pair.jwk).decode("ascii")


def thumbprint(jwk: Mapping[str, str]) -> str:
    """RFC 7638 with SHA-256: one name per public key, whoever computes it."""
    members = {name: jwk[name] for name in _THUMBPRINT_MEMBERS[jwk["kty"]]}
    return encoding.encode(hashlib.sha256(orjson.dumps(members)).digest()).decode("ascii")


def _pair(algorithm: Algorithm, private: Any) -> KeyPair:
    public = private.public_key()
    described: Mapping[str, str] = _SCHEMES[algorithm].to_jwk(public, as_dict=True)
    members = {name: described[name] for name in _THUMBPRINT_MEMBERS[described["kty"]]}
    kid = thumbprint(members)
    return KeyPair(
        kid=kid,
        algorithm=algorithm,
        header=encoding.encode(orjson.dumps({"alg": algorithm, "typ": TOKEN_TYPE, "kid": kid})),
        jwk={**members, "use": "sig", "alg": algorithm.value, "kid": kid},
        _private=private,
        _public=public,
    )
