"""Refresh tokens: derived, not stored. `gwr_` and 53 bytes: key number, session, generation, MAC (docs/rotation.md)."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from gateway.tokens import encoding
from gateway.tokens.errors import ForgedToken, WithdrawnKey
from gateway.tokens.master import MasterKeys

PREFIX = "gwr_"
MAX_GENERATION = 0xFFFF_FFFF
_CLAIM_BYTES = 1 + 16 + 4
_TOKEN_BYTES = _CLAIM_BYTES + 32
TOKEN_CHARACTERS = len(PREFIX) + (_TOKEN_BYTES * 8 + 5) // 6
_SALT = b"gateway refresh token 1"
_LABEL = b"rt1"
_PREFIX = PREFIX.encode("ascii")


@dataclass(frozen=True, slots=True)
class PresentedToken:
    """What a refresh token with a good MAC says: we issued it, for this session and generation."""

    kid: int
    sid: str
    generation: int


_KEYS = 1024  # derived keys that are kept: a refresh needs the same one twice


class RefreshTokens:
    """Issues and recognises the refresh tokens of one store incarnation. No I/O: a forgery costs no read."""

    __slots__ = ("_bound", "_keys", "_kids", "_master")

    def __init__(self, master: MasterKeys, incarnation: bytes) -> None:
        self._master = master
        self._kids = frozenset(master.kids)
        self._bound = _LABEL + incarnation
        self._keys: dict[bytes, bytes] = {}

    @property
    def kid(self) -> int:
        """The master key that sessions starting now are bound to."""
        return self._master.current

    def issue(self, kid: int, sid: str, generation: int) -> str:
        """The one token of this session and generation: the same every time it is asked for."""
        claim = bytes((kid,)) + bytes.fromhex(sid.replace("-", "")) + generation.to_bytes(4, "big")
        return PREFIX + encoding.encode(claim + self._mac(kid, claim)).decode("ascii")

    def parse(self, text: str | bytes) -> PresentedToken:
        """The claim of a genuine token; raises `ForgedToken`, or `WithdrawnKey` for a key the file has no more."""
        data = _decode(text)
        if data is None:
            raise ForgedToken(debug="not shaped like a refresh token")
        claim = data[:_CLAIM_BYTES]
        kid, sid = claim[0], _sid_text(claim[1:17].hex())
        if kid not in self._kids:
            # Numbers only grow: a lower one was taken out of the file, a higher one was never ours.
            if 0 < kid < self._master.current:
                raise WithdrawnKey(kid, sid)
            raise ForgedToken(debug="names a master key that never was")
        if not hmac.compare_digest(data[_CLAIM_BYTES:], self._mac(kid, claim)):
            raise ForgedToken(debug="wrong MAC")
        return PresentedToken(kid, sid, int.from_bytes(claim[17:], "big"))

    def _mac(self, kid: int, claim: bytes) -> bytes:
        # The kid selects the key, so it is bound without being in the message.
        key = self._keys.get(claim[:17])
        if key is None:
            if len(self._keys) >= _KEYS:
                self._keys.clear()
            key = self._keys[claim[:17]] = self._master.derive(kid, claim[1:17], _SALT)
        # Unlike hmac.digest this keeps the interpreter lock, which other threads would be waiting to take for longer.
        return hmac.new(key, self._bound + claim[1:], "sha256").digest()


def _sid_text(digits: str) -> str:
    """UUID text of 32 hex digits; `uuid.UUID` costs several times as much."""
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _decode(text: str | bytes) -> bytes | None:
    if len(text) != TOKEN_CHARACTERS or not text.isascii():
        return None
    raw = text if isinstance(text, bytes) else text.encode("ascii")
    return encoding.decode(raw[len(_PREFIX) :]) if raw.startswith(_PREFIX) else None
