"""bcrypt in modular crypt text: $2a$, $2b$, $2y$, and Django's `bcrypt$` before it.

$2x$ marks hashes made by a broken implementation: it is refused.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass

import bcrypt

from gateway.credentials.schemes.base import malformed, too_costly

SCHEME = "bcrypt"
MAX_COST = 15
MIN_COST = 4
# Everything behind it never reached the cipher in the implementations that made these hashes; bcrypt 5 raises instead.
SIGNIFICANT_BYTES = 72

# 16 and 23 bytes do not fill their characters: the last of the salt is one of 4, of the digest one of 16. What has
# others in those places came out of no bcrypt.
_TEXT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{30}[.CGKOSWaeimquy26]")
_PREFIX = re.compile(r"(?:bcrypt\$)?\$2[abxy]?\$")


@dataclass(frozen=True, slots=True)
class BcryptHash:
    """One bcrypt hash."""

    text: str

    @classmethod
    def parse(cls, text: str) -> BcryptHash | None:
        """Read modular crypt text; None when it is another scheme."""
        if not _PREFIX.match(text):
            return None
        bare = text.removeprefix("bcrypt$")
        match = _TEXT.fullmatch(bare)
        if match is None or int(match[1]) < MIN_COST:
            raise malformed(SCHEME)
        if int(match[1]) > MAX_COST:
            raise too_costly(SCHEME, f"cost {MAX_COST}")
        return cls(bare)

    def verify(self, secret: bytes) -> bool:
        """Whether the first 72 bytes of `secret` made this hash.

        bcrypt repeats its key with the closing NUL, so `a` and `a NUL a` are one key: a secret with NUL never matches.
        """
        made = bcrypt.hashpw(secret[:SIGNIFICANT_BYTES], self.text.encode())
        return hmac.compare_digest(made, self.text.encode()) and b"\0" not in secret
