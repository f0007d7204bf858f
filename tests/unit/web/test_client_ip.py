"""Who the client is behind proxies."""

from __future__ import annotations

import pytest

from gateway.web.client_ip import MAX_HOPS, ClientAddress

TRUSTING = ClientAddress(["10.0.0.0/8", "2001:db8::/32", "192.0.2.1"])
PEER = "10.0.0.1"


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ([], PEER),
        ([b"203.0.113.7"], "203.0.113.7"),
        ([b"198.51.100.1, 203.0.113.7"], "203.0.113.7"),
        ([b"203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        ([b"203.0.113.7", b"10.0.0.2"], "203.0.113.7"),
        ([b"evil", b"203.0.113.7, 192.0.2.1"], "203.0.113.7"),
        ([b"203.0.113.7:4711"], "203.0.113.7"),
        ([b"[2a00::1]:443"], "2a00::1"),
        ([b"2A00:0::0001"], "2a00::1"),
        ([b"::ffff:203.0.113.7"], "203.0.113.7"),
        ([b"203.0.113.7, ::ffff:10.1.2.3"], "203.0.113.7"),
        ([b"10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ([b"garbage"], PEER),
        ([b"203.0.113.7, garbage"], PEER),
        ([b"203.0.113.7, unknown"], PEER),
        ([b"203.0.113.7, "], PEER),
        ([b""], PEER),
        ([b"010.0.0.1"], PEER),
        ([b"203.0.113.7:99999"], PEER),
        ([b"[203.0.113.7]"], PEER),
        ([b"\xff\xfe"], PEER),
        ([b"1" * 5000], PEER),
        ([b", ".join([b"203.0.113.7"] * 500)], "203.0.113.7"),
        ([b"203.0.113.7, " + b", ".join([b"10.0.0.2"] * 500)], PEER),
        ([b"203.0.113.7, " + b", ".join([b"10.0.0.2"] * (MAX_HOPS - 1))], "203.0.113.7"),
    ],
)
def test_rightmost_untrusted(forwarded: list[bytes], client: str) -> None:
    assert TRUSTING.resolve(PEER, forwarded) == client


def test_an_untrusted_peer_is_the_client_whatever_it_says() -> None:
    assert TRUSTING.resolve("203.0.113.9", [b"198.51.100.1"]) == "203.0.113.9"
    assert not TRUSTING.is_trusted("203.0.113.9")
    assert ClientAddress().resolve("127.0.0.1", [b"198.51.100.1"]) == "127.0.0.1"


@pytest.mark.parametrize(
    ("peer", "client", "trusted"),
    [
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("2001:db8::1", "2001:db8::1", True),
        ("fe80::1%eth0", "fe80::1", False),
        ("127.0.0.1", "127.0.0.1", False),
    ],
)
def test_peers_have_one_text_form(peer: str, client: str, trusted: bool) -> None:
    assert TRUSTING.resolve(peer) == client
    assert TRUSTING.is_trusted(peer) is trusted


@pytest.mark.parametrize("peer", [None, "", "/run/gateway.sock", "@abstract", "not an address"])
def test_a_peer_without_an_address(peer: str | None) -> None:
    assert TRUSTING.resolve(peer, [b"203.0.113.7"]) == "unix"


@pytest.mark.parametrize("name", ["unix", "unix:"])
def test_unix_peers_are_trusted_when_named(name: str) -> None:
    addresses = ClientAddress([name])
    assert addresses.resolve("", [b"203.0.113.7"]) == "203.0.113.7"
    assert addresses.resolve("", [b"garbage"]) == "unix"
    assert addresses.is_trusted(None)
