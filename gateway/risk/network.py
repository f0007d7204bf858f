"""One text form for a client's address, and the network it belongs to."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Final

UNKNOWN_NETWORK: Final = "unknown"
_LONGEST: Final = 64  # a bracketed IPv6 address with zone and port is shorter
_CACHED: Final = 4096


def canonical_address(text: str) -> str | None:
    """The address in `text` in its canonical form, or None when there is none to be read.

    Takes `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1`, `[2001:db8::1]` and `[2001:db8::1]:443`. An IPv4-mapped IPv6
    address is the IPv4 address it means, and a zone is dropped, so that one client has one address.
    """
    return _canonical(text) if len(text) <= _LONGEST else None


@lru_cache(maxsize=_CACHED)
def _canonical(text: str) -> str | None:
    host = _host(text.strip())
    if host is None:
        return None
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ipaddress.IPv6Address(int(address)))


def network_prefix(address: str, v4: int = 24, v6: int = 56) -> str:
    """The network of `address` in CIDR form; what is no address is in the network `unknown`, equal only to itself."""
    canonical = canonical_address(address)
    return _network(canonical, v6 if ":" in canonical else v4) if canonical is not None else UNKNOWN_NETWORK


@lru_cache(maxsize=_CACHED)
def _network(address: str, length: int) -> str:
    return str(ipaddress.ip_network(f"{address}/{length}", strict=False))


def _host(text: str) -> str | None:
    """`text` without brackets and port; None when what surrounds the host is not a port."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host:
            return None
        return host if not rest or (rest.startswith(":") and _is_port(rest[1:])) else None
    if text.count(":") != 1:
        return text
    host, _, port = text.partition(":")
    return host if _is_port(port) else None


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535
