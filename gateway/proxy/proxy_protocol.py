"""The PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt): who is behind the load balancer. Pure."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from typing import Final

LONGEST: Final = 4096
"""Bytes of a header, TLVs included, beyond which a connection is closed."""
UNKNOWN: Final = "unknown"
_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED: Final = 16
_V1: Final = b"PROXY "
_V1_LONGEST: Final = 107
_LOCAL, _PROXY = 0x20, 0x21
_INET, _INET6, _UNIX = 0x1, 0x2, 0x3
_STREAM: Final = 0x1
_SIZES: Final = {_INET: 12, _INET6: 36, _UNIX: 216}


class MalformedHeader(Exception):
    """The connection does not begin with a PROXY header; there is nobody to answer."""


@dataclass(frozen=True, slots=True)
class Source:
    """Who a connection comes from. `address` is `UNKNOWN` where the header names nobody (a unix socket, another
    family): no address, so never trusted, and never the load balancer itself.
    """

    address: str
    port: int = 0


def length_of(data: bytes) -> int | None:
    """Bytes of the header that begins `data`; None when it goes on behind `data`. Raises `MalformedHeader`."""
    if data[: len(_V1)] == _V1[: len(data)]:
        return _length_v1(data)
    if data[: len(_SIGNATURE)] != _SIGNATURE[: len(data)]:
        raise MalformedHeader("no signature")
    if len(data) < _FIXED:
        return None
    if data[12] not in {_LOCAL, _PROXY}:
        raise MalformedHeader("unknown version or command")
    length = _FIXED + int.from_bytes(data[14:16], "big")
    if length > LONGEST:
        raise MalformedHeader("too long")
    return length if len(data) >= length else None


def _length_v1(data: bytes) -> int | None:
    end = data.find(b"\n", 0, _V1_LONGEST)
    if end >= 0:
        return end + 1
    if len(data) >= _V1_LONGEST:
        raise MalformedHeader("too long")
    return None


def parse(header: bytes) -> Source | None:
    """Who a whole header names; None where the peer speaks for itself (LOCAL). Raises `MalformedHeader`."""
    return _parse_v1(header) if header.startswith(_V1) else _parse_v2(header)


def _parse_v1(header: bytes) -> Source:
    if not header.endswith(b"\r\n") or not header.isascii():
        raise MalformedHeader("not a line")
    words = header[:-2].decode("ascii").split(" ")
    if words[1] == "UNKNOWN":
        return Source(UNKNOWN)
    if len(words) != 6 or words[1] not in {"TCP4", "TCP6"}:
        raise MalformedHeader("not five words")
    address = _address(words[2], words[1])
    _address(words[3], words[1])
    _port(words[5])
    return Source(address, _port(words[4]))


def _address(text: str, family: str) -> str:
    if "%" in text:  # a zone belongs to one machine and says nothing to another
        raise MalformedHeader("not an address")
    try:
        return str(ipaddress.IPv4Address(text) if family == "TCP4" else ipaddress.IPv6Address(text))
    except ValueError:
        raise MalformedHeader("not an address") from None


def _port(text: str) -> int:
    if not text.isdigit() or len(text) > 5 or int(text) > 65535 or (len(text) > 1 and text[0] == "0"):
        raise MalformedHeader("not a port")
    return int(text)


def _parse_v2(header: bytes) -> Source | None:
    if header[12] == _LOCAL:
        return None
    family, transport = header[13] >> 4, header[13] & 0xF
    rest = header[_FIXED:]
    if header[13] == 0:
        return Source(UNKNOWN)
    if family not in _SIZES or transport != _STREAM:
        raise MalformedHeader("not a stream of a known family")
    size = _SIZES[family]
    if len(rest) < size:
        raise MalformedHeader("addresses cut off")
    _check_tlvs(rest[size:])
    if family == _UNIX:
        return Source(UNKNOWN)
    width = 4 if family == _INET else 16
    port = struct.unpack_from("!H", rest, 2 * width)[0]
    return Source(str(ipaddress.ip_address(rest[:width])), port)


def _check_tlvs(data: bytes) -> None:
    """They are skipped, but must be what they say."""
    at = 0
    while at < len(data):
        if len(data) - at < 3:
            raise MalformedHeader("TLV cut off")
        at += 3 + int.from_bytes(data[at + 1 : at + 3], "big")
    if at > len(data):
        raise MalformedHeader("TLV cut off")
