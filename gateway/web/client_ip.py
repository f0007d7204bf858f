"""The client's address: the peer, or what trusted proxies in front say about it."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from gateway.risk.network import canonical_address

MAX_HOPS: Final = 32
UNIX_PEER: Final = "unix"
_UNIX_NAMES: Final = frozenset({"unix", "unix:"})
_LONGEST: Final = 64  # bracketed IPv6 with a port is 47 characters
_CACHED: Final = 4096


class ClientAddress:
    """Finds the client behind `trusted_proxies` (CIDRs, single addresses, and `unix` for peers on a unix socket).

    X-Forwarded-For is believed only from a trusted peer, and read from the right: the first address that is not
    itself trusted is the client. An entry that cannot be read ends the walk with the peer's address, because what
    stands left of it was vouched for by nobody.
    """

    __slots__ = ("_networks", "_read", "_trusts_unix")

    def __init__(self, trusted_proxies: Sequence[str] = ()) -> None:
        names = [entry.strip() for entry in trusted_proxies]
        self._trusts_unix = any(name in _UNIX_NAMES for name in names)
        self._networks = tuple(ipaddress.ip_network(name, strict=False) for name in names if name not in _UNIX_NAMES)
        # An ipaddress object costs microseconds, and a proxy sees the same few peers again and again.
        self._read = lru_cache(maxsize=_CACHED)(self._read_entry)

    def resolve(self, peer: str | None, forwarded: Sequence[bytes] = ()) -> str:
        """The client's address in canonical form, from the peer and the raw X-Forwarded-For values in order.

        A peer without an address (a unix socket) is called `unix`.
        """
        address, trusted = self._peer(peer)
        if not trusted or not forwarded:
            return address
        found = address
        for hop, entry in enumerate(_from_the_right(forwarded)):
            # What is too long for an address must not fill the caches either.
            if hop >= MAX_HOPS or len(entry) > _LONGEST:
                return address
            text, hop_trusted = self._read(entry.strip(b" \t").decode("latin-1"))
            if text is None:
                return address
            found = text
            if not hop_trusted:
                break
        return found

    def is_trusted(self, peer: str | None) -> bool:
        """Whether what the peer says in X-Forwarded-* and X-Request-Id is believed."""
        return self._peer(peer)[1]

    def _peer(self, peer: str | None) -> tuple[str, bool]:
        if not peer or peer.startswith(("/", "@", "\0")):
            return UNIX_PEER, self._trusts_unix
        text, trusted = self._read(peer)
        return text or UNIX_PEER, trusted

    def _read_entry(self, entry: str) -> tuple[str | None, bool]:
        """(canonical text, trusted), or (None, False) when `entry` is no address."""
        text = canonical_address(entry)
        if text is None:
            return None, False
        address = ipaddress.ip_address(text)
        return text, any(address in network for network in self._networks)


def _from_the_right(values: Sequence[bytes]) -> list[bytes]:
    # What lies beyond the limit stays one unsplit piece, which is enough to know that the limit is passed.
    return b",".join(values).rsplit(b",", MAX_HOPS)[::-1]
