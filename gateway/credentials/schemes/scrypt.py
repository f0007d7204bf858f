"""scrypt (RFC 7914): PHC text as passlib and others write it, and Django's form."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

from gateway.credentials.schemes.base import malformed, too_costly, unpadded_base64

SCHEME = "scrypt"
MAX_MEMORY = 256 * 1024 * 1024
# N × r × p: four times OWASP's strongest, a few seconds on one core.
MAX_WORK = 2**22

_NUMBER = r"([1-9]\d{0,9})"
_PHC = re.compile(rf"\$scrypt\$ln={_NUMBER},r={_NUMBER},p={_NUMBER}\$([A-Za-z0-9+/]*)\$([A-Za-z0-9+/]+)")
_DJANGO = re.compile(rf"scrypt\${_NUMBER}\$([^$]+)\${_NUMBER}\${_NUMBER}\$([A-Za-z0-9+/]+=*)")
_MAX_LOG_N = 63
_MIN_DIGEST, _MAX_DIGEST = 16, 128


@dataclass(frozen=True, slots=True)
class ScryptHash:
    """One scrypt hash."""

    n: int
    r: int
    p: int
    salt: bytes
    digest: bytes

    @classmethod
    def parse(cls, text: str) -> ScryptHash | None:
        """Read either form; None when it is another scheme."""
        if text.startswith("$scrypt$"):
            found = cls._from_phc(text)
        elif text.startswith("scrypt$"):
            found = cls._from_django(text)
        else:
            return None
        found._check()
        return found

    @classmethod
    def _from_phc(cls, text: str) -> ScryptHash:
        match = _PHC.fullmatch(text)
        if match is None:
            raise malformed(SCHEME)
        log_n, r, p = int(match[1]), int(match[2]), int(match[3])
        if log_n > _MAX_LOG_N:
            raise malformed(SCHEME)
        return cls(2**log_n, r, p, unpadded_base64(match[4], SCHEME), unpadded_base64(match[5], SCHEME))

    @classmethod
    def _from_django(cls, text: str) -> ScryptHash:
        match = _DJANGO.fullmatch(text)
        if match is None:
            raise malformed(SCHEME)
        n, salt, r, p, digest = match.groups()
        return cls(int(n), int(r), int(p), salt.encode(), unpadded_base64(digest, SCHEME))

    def verify(self, secret: bytes) -> bool:
        """Whether `secret` made this hash. HMAC pads its key with NUL, so a secret with NUL never matches."""
        made = hashlib.scrypt(
            secret,
            salt=self.salt,
            n=self.n,
            r=self.r,
            p=self.p,
            maxmem=2 * MAX_MEMORY,
            dklen=len(self.digest),
        )
        return hmac.compare_digest(made, self.digest) and b"\0" not in secret

    def _check(self) -> None:
        # RFC 7914 section 2: N a power of two greater than 1 and less than 2^(16 r), r × p < 2^30.
        power = self.n > 1 and self.n & (self.n - 1) == 0 and self.n.bit_length() <= 16 * self.r
        if not power or self.r * self.p >= 2**30 or not _MIN_DIGEST <= len(self.digest) <= _MAX_DIGEST:
            raise malformed(SCHEME)
        if 128 * self.r * (self.n + self.p) > MAX_MEMORY or self.n * self.r * self.p > MAX_WORK:
            raise too_costly(SCHEME, f"{MAX_MEMORY // 2**20} MiB and N × r × p = {MAX_WORK}")
