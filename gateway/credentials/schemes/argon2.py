"""Argon2 in PHC text (RFC 9106): our own hashes, and foreign ones of every variant and version.

Django's form is the same text behind the word `argon2`.
"""

from __future__ import annotations

import base64
import hmac
import re
from dataclasses import dataclass

from argon2.low_level import ARGON2_VERSION, Type, hash_secret_raw

from gateway.credentials.schemes.base import malformed, too_costly, unpadded_base64

SCHEME = "argon2"
# One verification stays under a quarter of a GiB and a few seconds on one core.
MAX_MEMORY_KIB = 256 * 1024
MAX_MEMORY_TIMES_PASSES_KIB = 1024 * 1024
MAX_LANES = 16
MIN_SALT, MAX_SALT = 8, 64
MIN_DIGEST, MAX_DIGEST = 12, 128

_NUMBER = r"(0|[1-9]\d{0,9})"
_TEXT = re.compile(
    rf"\$argon2(id|i|d)(?:\$v={_NUMBER})?\$m={_NUMBER},t={_NUMBER},p={_NUMBER}\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)"
)
_PREFIX = re.compile(r"(?:argon2)?\$argon2")
_TYPES = {"id": Type.ID, "i": Type.I, "d": Type.D}
_FIRST_VERSION = 0x10


@dataclass(frozen=True, slots=True)
class Argon2Parameters:
    """The cost of our own hashes. Memory in KiB. The default is OWASP's first choice: 19 MiB, two passes, one lane."""

    memory_kib: int = 19456
    passes: int = 2
    lanes: int = 1


@dataclass(frozen=True, slots=True)
class Argon2Hash:
    """One Argon2 hash, taken apart."""

    variant: str
    version: int
    parameters: Argon2Parameters
    salt: bytes
    digest: bytes

    @classmethod
    def create(cls, secret: bytes, salt: bytes, parameters: Argon2Parameters) -> Argon2Hash:
        """Hash `secret` with Argon2id. Blocks for as long as the parameters say."""
        shell = cls.unmatchable(salt, bytes(32), parameters)
        return cls("id", ARGON2_VERSION, parameters, salt, shell._derive(secret))

    @classmethod
    def unmatchable(cls, salt: bytes, digest: bytes, parameters: Argon2Parameters) -> Argon2Hash:
        """A hash with a `digest` that nobody made: verifying it costs the same and fails."""
        return cls("id", ARGON2_VERSION, parameters, salt, digest)

    @classmethod
    def parse(cls, text: str) -> Argon2Hash | None:
        """Read PHC text, Django's prefix or not; None when it is another scheme."""
        if not _PREFIX.match(text):
            return None
        # Django's separator is the first `$` of the PHC text: `argon2$argon2id$…`.
        match = _TEXT.fullmatch(text.removeprefix("argon2"))
        if match is None:
            raise malformed(SCHEME)
        variant, version, memory, passes, lanes, salt, digest = match.groups()
        parameters = Argon2Parameters(int(memory), int(passes), int(lanes))
        _check_cost(parameters)
        found = cls(
            variant,
            int(version) if version else _FIRST_VERSION,
            parameters,
            unpadded_base64(salt, SCHEME),
            unpadded_base64(digest, SCHEME),
        )
        found._check_shape()
        return found

    def verify(self, secret: bytes) -> bool:
        """Whether `secret` made this hash."""
        return hmac.compare_digest(self._derive(secret), self.digest)

    def is_current(self, parameters: Argon2Parameters) -> bool:
        """Whether a hash made now with `parameters` would have the same shape."""
        shape = (self.variant, self.version, self.parameters, len(self.salt), len(self.digest))
        return shape == ("id", ARGON2_VERSION, parameters, 16, 32)

    def __str__(self) -> str:
        """PHC text."""
        cost = f"m={self.parameters.memory_kib},t={self.parameters.passes},p={self.parameters.lanes}"
        return f"$argon2{self.variant}$v={self.version}${cost}${_encode(self.salt)}${_encode(self.digest)}"

    def _derive(self, secret: bytes) -> bytes:
        return hash_secret_raw(
            secret,
            self.salt,
            time_cost=self.parameters.passes,
            memory_cost=self.parameters.memory_kib,
            parallelism=self.parameters.lanes,
            hash_len=len(self.digest),
            type=_TYPES[self.variant],
            version=self.version,
        )

    def _check_shape(self) -> None:
        cost = self.parameters
        known = self.version in (_FIRST_VERSION, ARGON2_VERSION)
        sane = cost.passes >= 1 and cost.lanes >= 1 and cost.memory_kib >= 8 * cost.lanes
        sized = MIN_SALT <= len(self.salt) <= MAX_SALT and MIN_DIGEST <= len(self.digest) <= MAX_DIGEST
        if not (known and sane and sized):
            raise malformed(SCHEME)


def _check_cost(cost: Argon2Parameters) -> None:
    if cost.memory_kib > MAX_MEMORY_KIB:
        raise too_costly(SCHEME, f"m={MAX_MEMORY_KIB}")
    if cost.memory_kib * cost.passes > MAX_MEMORY_TIMES_PASSES_KIB:
        raise too_costly(SCHEME, f"m × t = {MAX_MEMORY_TIMES_PASSES_KIB}")
    if cost.lanes > MAX_LANES:
        raise too_costly(SCHEME, f"p={MAX_LANES}")


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")
