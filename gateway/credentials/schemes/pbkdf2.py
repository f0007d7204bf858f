"""PBKDF2 in Django's form: `pbkdf2_sha256$iterations$salt$digest`, and the same with sha1."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

from gateway.credentials.schemes.base import malformed, too_costly, unpadded_base64

SCHEME = "django_pbkdf2"
MAX_ITERATIONS = 5_000_000

_TEXT = re.compile(r"pbkdf2_(sha256|sha1)\$([1-9]\d{0,9})\$([^$]+)\$([A-Za-z0-9+/]+=*)")
_PREFIX = re.compile(r"pbkdf2_(?:sha256|sha1)\$")


@dataclass(frozen=True, slots=True)
class Pbkdf2Hash:
    """One PBKDF2 hash."""

    algorithm: str
    iterations: int
    salt: bytes
    digest: bytes

    @classmethod
    def parse(cls, text: str) -> Pbkdf2Hash | None:
        """Read Django's text; None when it is another scheme."""
        if not _PREFIX.match(text):
            return None
        match = _TEXT.fullmatch(text)
        if match is None:
            raise malformed(SCHEME)
        algorithm, iterations, salt, digest = match.groups()
        found = cls(algorithm, int(iterations), salt.encode(), unpadded_base64(digest, SCHEME))
        if len(found.digest) != hashlib.new(algorithm).digest_size:
            raise malformed(SCHEME)
        if found.iterations > MAX_ITERATIONS:
            raise too_costly(SCHEME, f"{MAX_ITERATIONS} iterations")
        return found

    def verify(self, secret: bytes) -> bool:
        """Whether `secret` made this hash. HMAC pads its key with NUL, so a secret with NUL never matches."""
        made = hashlib.pbkdf2_hmac(self.algorithm, secret, self.salt, self.iterations)
        return hmac.compare_digest(made, self.digest) and b"\0" not in secret
