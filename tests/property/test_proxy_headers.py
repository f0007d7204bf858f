"""The PROXY header under any bytes: it ends, it names an address or nobody, and it never reads beyond itself."""

from __future__ import annotations

import ipaddress
import struct

from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.proxy_protocol import LONGEST, UNKNOWN, MalformedHeader, Source, length_of, parse

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
PORTS = st.integers(0, 65535)


@given(st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\x00\x0c"]), st.binary())
def test_any_bytes_end_in_a_source_more_or_a_refusal(start: bytes, rest: bytes) -> None:
    data = start + rest
    try:
        length = length_of(data)
        if length is None:
            assert len(data) < LONGEST
            return
        assert 0 < length <= len(data)
        source = parse(data[:length])
    except MalformedHeader:
        return
    if source is not None and source.address != UNKNOWN:
        assert str(ipaddress.ip_address(source.address)) == source.address
        assert 0 <= source.port <= 65535


@given(st.binary(max_size=300), st.data())
def test_what_is_refused_or_whole_stays_so_with_more_bytes(data: bytes, draw: st.DataObject) -> None:
    less = data[: draw.draw(st.integers(0, len(data)))]
    try:
        length = length_of(less)
    except MalformedHeader:
        length = -1
    if length is not None:
        try:
            assert length_of(data) == length
        except MalformedHeader:
            assert length == -1


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), PORTS, st.binary(max_size=40), st.booleans())
def test_both_versions_name_the_same_client(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, tail: bytes, text: bool
) -> None:
    if text:
        header = f"PROXY TCP{address.version} {address} {address} {port} 443\r\n".encode()
    else:
        pair = address.packed * 2 + struct.pack("!HH", port, 443)
        header = SIGNATURE + bytes([0x21, 0x11 if address.version == 4 else 0x21]) + struct.pack("!H", len(pair)) + pair
    assert length_of(header + tail) == len(header)
    assert parse(header) == Source(str(address), port)
