"""One client has one address, however it is written."""

from __future__ import annotations

import pytest

from gateway.risk.network import UNKNOWN_NETWORK, canonical_address, network_prefix


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1 ", "192.0.2.1"),
        ("192.0.2.1:443", "192.0.2.1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:80", "fe80::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:c000:201]:80", "192.0.2.1"),
    ],
)
def test_reads_an_address(text: str, expected: str) -> None:
    assert canonical_address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unknown",
        "unix",
        "192.0.2.256",
        "192.0.02.1",
        "192.0.2.1:",
        "192.0.2.1:65536",
        "192.0.2.1:x",
        "192.0.2.1:\u0661",
        "[192.0.2.1]",
        "[2001:db8::1",
        "[2001:db8::1]x",
        "[2001:db8::1]:",
        "2001:db8::1::2",
        "192.0.2.1, 192.0.2.2",
        "1" * 10_000,
    ],
)
def test_what_cannot_be_read_is_none(text: str) -> None:
    assert canonical_address(text) is None
    assert network_prefix(text) == UNKNOWN_NETWORK


def test_networks_are_slash_24_and_slash_56() -> None:
    assert network_prefix("198.51.100.77") == "198.51.100.0/24"
    assert network_prefix("2001:db8:1:2ff::1") == "2001:db8:1:200::/56"
    assert network_prefix("::ffff:198.51.100.77") == "198.51.100.0/24"


def test_prefix_lengths_can_be_set() -> None:
    assert network_prefix("198.51.100.77", v4=32) == "198.51.100.77/32"
    assert network_prefix("2001:db8:1:2ff::1", v6=48) == "2001:db8:1::/48"
