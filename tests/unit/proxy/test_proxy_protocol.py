"""The PROXY header: where it ends and whom it names."""

from __future__ import annotations

import ipaddress
import struct

import pytest

from gateway.proxy.proxy_protocol import LONGEST, UNKNOWN, MalformedHeader, Source, length_of, parse

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V4 = ipaddress.ip_address("192.0.2.7").packed + ipaddress.ip_address("10.0.0.1").packed + struct.pack("!HH", 4711, 443)
V6 = ipaddress.ip_address("2001:db8::7").packed + ipaddress.ip_address("fd00::1").packed + struct.pack("!HH", 4711, 443)


def v2(addresses: bytes, family: int = 0x11, command: int = 0x21) -> bytes:
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", len(addresses)) + addresses


@pytest.mark.parametrize(
    ("header", "source"),
    [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n", Source("192.0.2.7", 4711)),
        (b"PROXY TCP6 2001:db8::7 fd00::1 4711 443\r\n", Source("2001:db8::7", 4711)),
        (b"PROXY TCP6 2001:DB8:0::7 fd00::1 0 65535\r\n", Source("2001:db8::7", 0)),
        (b"PROXY UNKNOWN\r\n", Source(UNKNOWN)),
        (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", Source(UNKNOWN)),
        (v2(V4), Source("192.0.2.7", 4711)),
        (v2(V6, 0x21), Source("2001:db8::7", 4711)),
        (v2(b"/run/a".ljust(108, b"\0") + b"/run/b".ljust(108, b"\0"), 0x31), Source(UNKNOWN)),
        (v2(b"", 0x00), Source(UNKNOWN)),
        (v2(b"whatever", 0x00), Source(UNKNOWN)),
        (v2(b"", 0x00, 0x20), None),
        (v2(V4, 0x11, 0x20), None),
        (v2(V4 + b"\x01\x00\x02h2" + b"\x04\x00\x00"), Source("192.0.2.7", 4711)),
    ],
)
def test_every_kind_names_its_source(header: bytes, source: Source | None) -> None:
    assert parse(header) == source
    assert length_of(header + b"GET / HTTP/1.1\r\n") == len(header)
    assert [length_of(header[:size]) for size in range(len(header))] == [None] * len(header)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03",
        b"proxy TCP4 192.0.2.7 10.0.0.1 4711 443\r\n",
        b"PROXY" + b" " * 107,
        b"PROXY TCP4 " + b"1" * 200,
        b"\r\n\r\nGET",
        SIGNATURE + b"\x11\x11\x00\x0c" + V4,
        SIGNATURE + b"\x22\x11\x00\x0c" + V4,
        SIGNATURE + b"\x21\x11" + struct.pack("!H", LONGEST),
    ],
)
def test_what_is_no_header_is_known_at_once(data: bytes) -> None:
    with pytest.raises(MalformedHeader):
        length_of(data)


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 4711\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443 \r\n",
        b"PROXY TCP4  192.0.2.7 10.0.0.1 4711 443\r\n",
        b"PROXY TCP4 2001:db8::7 10.0.0.1 4711 443\r\n",
        b"PROXY TCP6 192.0.2.7 fd00::1 4711 443\r\n",
        b"PROXY TCP6 fe80::1%eth0 fd00::1 4711 443\r\n",
        b"PROXY TCP4 192.0.2.007 10.0.0.1 4711 443\r\n",
        b"PROXY TCP4 192.0.2.7 nowhere 4711 443\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 443\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 -1 443\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 04711 443\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 \r\n",
        b"PROXY TCP5 192.0.2.7 10.0.0.1 4711 443\r\n",
        b"PROXY UDP4 192.0.2.7 10.0.0.1 4711 443\r\n",
        b"PROXY unknown\r\n",
        b"PROXY \r\n",
        b"PROXY TCP4 192.0.2.\xb2 10.0.0.1 4711 443\r\n",
        v2(V4[:-1]),
        v2(V4, 0x21),
        v2(V4, 0x12),
        v2(V4, 0x41),
        v2(V4 + b"\x01\x00"),
        v2(V4 + b"\x01\x00\x03ab"),
    ],
)
def test_a_malformed_header_names_nobody(header: bytes) -> None:
    with pytest.raises(MalformedHeader):
        parse(header)
