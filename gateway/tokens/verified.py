"""Tokens verified before: what makes the signature check free on the hot path."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

from gateway.tokens.claims import AccessClaims
from gateway.tokens.keyring import KeyRing

Rendered = TypeVar("Rendered")


class VerifiedToken(Generic[Rendered]):
    """A cached verdict: the claims, and whatever the caller rendered from them (its identity header bytes)."""

    __slots__ = ("claims", "expires_at", "key_epoch", "policy", "rendered", "used")

    def __init__(self, claims: AccessClaims, rendered: Rendered, policy: object, key_epoch: int) -> None:
        self.claims = claims
        self.rendered = rendered
        self.policy = policy
        self.key_epoch = key_epoch
        self.expires_at = claims.expires_at
        self.used = False


class VerifiedTokenCache(Generic[Rendered]):
    """At most `size` tokens, looked up by all of their bytes. Revocation is asked for on every hit, by the caller.

    A full cache drops the oldest entry that was not used since it last stood at the front (second chance). Refused
    tokens are never kept: they would let a client fill the cache with what it made up.
    """

    __slots__ = ("_entries", "_ring", "_size", "misses")

    def __init__(self, size: int, ring: KeyRing) -> None:
        self._size = size
        self._ring = ring
        self._entries: OrderedDict[bytes, VerifiedToken[Rendered]] = OrderedDict()
        self.misses = 0
        """How many good tokens were not here, so far."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, token: bytes, policy: object, now: float) -> VerifiedToken[Rendered] | None:
        """The verdict on `token` if it still holds: not expired, rendered under `policy`, no key changed since."""
        entry = self._entries.get(token)
        if entry is None:
            return None
        if not self.holds(entry, policy, now):
            del self._entries[token]
            return None
        return entry

    def holds(self, entry: VerifiedToken[Rendered], policy: object, now: float) -> bool:
        """Whether a verdict that was given out still holds."""
        if now >= entry.expires_at or entry.key_epoch != self._ring.epoch or entry.policy is not policy:
            return False
        entry.used = True
        return True

    def put(
        self, token: bytes, policy: object, claims: AccessClaims, rendered: Rendered, key_epoch: int
    ) -> VerifiedToken[Rendered]:
        """Keep the verdict on a token; `key_epoch` is the ring's from before it was verified."""
        self.misses += 1
        entry = VerifiedToken(claims, rendered, policy, key_epoch)
        if self._size > 0:
            self._entries.pop(token, None)
            if len(self._entries) >= self._size:
                self._evict()
            self._entries[token] = entry
        return entry

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def _evict(self) -> None:
        # Ends after one round at the latest: each entry that is spared has lost its second chance.
        while True:
            token, entry = self._entries.popitem(last=False)
            if not entry.used:
                return
            entry.used = False
            self._entries[token] = entry
