"""phpass's portable hash: $P$ (WordPress before 6.8 and others) and $H$ (phpBB3)."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from dataclasses import dataclass

from gateway.credentials.schemes.base import malformed, too_costly

SCHEME = "phpass"
MAX_LOG_ROUNDS = 18

_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TEXT = re.compile(r"\$[PH]\$([./0-9A-Za-z])([./0-9A-Za-z]{8})([./0-9A-Za-z]{22})")
_MIN_LOG_ROUNDS, _LAST_LOG_ROUNDS = 7, 30
_ROUNDS_PER_TURN = 256


@dataclass(frozen=True, slots=True)
class PhpassHash:
    """One phpass hash: MD5, repeated 2^log_rounds times."""

    log_rounds: int
    salt: bytes
    digest: str

    @classmethod
    def parse(cls, text: str) -> PhpassHash | None:
        """Read `$P$` or `$H$` text; None when it is another scheme."""
        if not text.startswith(("$P$", "$H$")):
            return None
        match = _TEXT.fullmatch(text)
        if match is None:
            raise malformed(SCHEME)
        log_rounds = _ALPHABET.index(match[1])
        if not _MIN_LOG_ROUNDS <= log_rounds <= _LAST_LOG_ROUNDS:
            raise malformed(SCHEME)
        if log_rounds > MAX_LOG_ROUNDS:
            raise too_costly(SCHEME, f"2^{MAX_LOG_ROUNDS} rounds")
        return cls(log_rounds, match[2].encode(), match[3])

    def verify(self, secret: bytes) -> bool:
        """Whether `secret` made this hash."""
        made = hashlib.md5(self.salt + secret, usedforsecurity=False).digest()
        for turn in range(2**self.log_rounds):
            made = hashlib.md5(made + secret, usedforsecurity=False).digest()
            if turn % _ROUNDS_PER_TURN == 0:
                # MD5 of a few bytes never lets go of the interpreter lock; the event loop is waiting for it.
                time.sleep(0)
        return hmac.compare_digest(_encode64(made), self.digest)


def _encode64(data: bytes) -> str:
    number = int.from_bytes(data, "little")
    return "".join(_ALPHABET[number >> shift & 63] for shift in range(0, 8 * len(data), 6))
