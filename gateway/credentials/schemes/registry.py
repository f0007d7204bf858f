"""From the text of a stored hash to something that can verify a password."""

from __future__ import annotations

from gateway.credentials.schemes.argon2 import Argon2Hash
from gateway.credentials.schemes.base import StoredHash
from gateway.credentials.schemes.bcrypt import BcryptHash
from gateway.credentials.schemes.pbkdf2 import Pbkdf2Hash
from gateway.credentials.schemes.phpass import PhpassHash
from gateway.credentials.schemes.refused import refused_scheme
from gateway.credentials.schemes.scrypt import ScryptHash
from gateway.errors import InvalidRequest

MAX_HASH_TEXT = 1024
SUPPORTED = "argon2, bcrypt, scrypt, PBKDF2 in Django's format, phpass"

_SCHEMES: tuple[type[Argon2Hash | BcryptHash | ScryptHash | Pbkdf2Hash | PhpassHash], ...] = (
    Argon2Hash,
    BcryptHash,
    ScryptHash,
    Pbkdf2Hash,
    PhpassHash,
)


def parse_hash(text: str) -> StoredHash:
    """Understand `text`, or raise `InvalidRequest`: malformed, too costly to verify, or a scheme that is not taken.

    No message repeats `text`: the column it came from may hold passwords by mistake.
    """
    if len(text) > MAX_HASH_TEXT or not text.isascii():
        # A salt in Django's format may be any text, but none of its hashers makes one that is not ASCII.
        raise InvalidRequest("password hash: not a hash")
    for scheme in _SCHEMES:
        if (found := scheme.parse(text)) is not None:
            return found
    name = refused_scheme(text)
    if name is None:
        raise InvalidRequest(f"password hash: format not recognised; supported: {SUPPORTED}")
    raise InvalidRequest(f"hash scheme {name} is not supported; supported: {SUPPORTED}")
