"""The keys a process signs and verifies with right now: a snapshot that is replaced as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.errors import TemporarilyUnavailable
from gateway.tokens.keys import KeyPair


@dataclass(frozen=True, slots=True)
class RingKey:
    """A key with its times: it signs from `active_from` until the next one does. Epoch seconds."""

    pair: KeyPair
    active_from: float
    retired_at: float | None

    @property
    def never_signs(self) -> bool:
        """Replaced before its turn came."""
        return self.retired_at is not None and self.retired_at <= self.active_from

    def retired(self, at: float) -> bool:
        """Whether another key signs since."""
        return self.retired_at is not None and self.retired_at <= at


class KeyRing:
    """Signing and verification keys, in process. `epoch` grows whenever a token may have become valid or invalid."""

    __slots__ = ("_by_header", "_signers", "epoch", "keys")

    def __init__(self, keys: Sequence[RingKey] = ()) -> None:
        self.epoch = 0
        self.keys: tuple[RingKey, ...] = ()
        self._by_header: Mapping[bytes, KeyPair] = {}
        self._signers: tuple[RingKey, ...] = ()
        self.install(keys)

    def install(self, keys: Sequence[RingKey]) -> None:
        """Replace all keys."""
        ordered = tuple(sorted(keys, key=lambda key: key.active_from, reverse=True))
        by_header = {key.pair.header: key.pair for key in ordered}
        if by_header.keys() != self._by_header.keys():
            self.epoch += 1
        self.keys = ordered
        self._by_header = by_header
        self._signers = tuple(key for key in ordered if not key.never_signs)

    def due(self, at: float) -> KeyPair | None:
        """The key that signs at `at`. With none due yet (a clock went back) the one that comes first."""
        for key in self._signers:
            if key.active_from <= at:
                return key.pair
        return self._signers[-1].pair if self._signers else None

    def signing(self, at: float) -> KeyPair:
        """The same, for a caller that cannot do without."""
        pair = self.due(at)
        if pair is None:
            raise TemporarilyUnavailable(debug="the key ring holds no signing key")
        return pair

    def find(self, header: bytes) -> KeyPair | None:
        """The key whose tokens begin with this header segment."""
        return self._by_header.get(header)
