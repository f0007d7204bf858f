"""Labels name what stays the same when a client is updated."""

from __future__ import annotations

import pytest

from gateway.risk.client import MAX_USER_AGENT, client_facts
from gateway.risk.device import UNKNOWN, device_label, preload

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("user_agent", "expected"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Firefox on Linux"),
        ("Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Android 14; Mobile; rv:127.0) Gecko/127.0 Firefox/127.0", "Firefox on Android"),
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/126.0.0.0 Safari/537.36", "Chrome on Windows"),
        (f"Mozilla/5.0 (Windows NT 10.0) {WEBKIT} Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0", "Edge on Windows"),
        (f"Mozilla/5.0 (Linux; Android 10; K) {WEBKIT} Chrome/126.0.0.0 Mobile Safari/537.36", "Chrome on Android"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/17.5 Safari/605.1.15", "Safari on macOS"),
        (f"{IPHONE} Version/17.5 Mobile/15E148 Safari/604.1", "Safari on iOS"),
        (f"{IPHONE} CriOS/126.0.6478.54 Mobile/15E148 Safari/604.1", "Chrome on iOS"),
        (f"{IPHONE} FxiOS/127.0 Mobile/15E148 Safari/605.1.15", "Firefox on iOS"),
    ],
)
def test_browsers(user_agent: str, expected: str) -> None:
    assert device_label(user_agent) == expected


@pytest.mark.parametrize(
    ("user_agent", "expected"),
    [
        ("curl/8.5.0", "curl"),
        ("python-requests/2.32.3", "python-requests"),
        ("okhttp/4.12.0", "okhttp"),
        ("Go-http-client/2.0", "Go-http-client"),
        ("MyApp/3.2 CFNetwork/1496.0.7 Darwin/23.5.0", "MyApp on iOS"),
        ("MyApp/4.1 (Android 14; Pixel 8)", "MyApp on Android"),
        ("MyApp-4.1.2/release", "MyApp"),
    ],
)
def test_other_clients_go_by_their_product_name(user_agent: str, expected: str) -> None:
    assert device_label(user_agent) == expected


@pytest.mark.parametrize("user_agent", ["", "  ", "Mozilla/5.0", "garbage", "x" * 100_000, "\x00\xff/1"])
def test_what_cannot_be_parsed_is_a_value_of_its_own(user_agent: str) -> None:
    assert device_label(user_agent) == UNKNOWN


def test_a_platform_alone_is_kept() -> None:
    assert device_label("Mozilla/5.0 (Windows NT 10.0)") == "unknown on Windows"


def test_a_new_version_is_the_same_device() -> None:
    labels = {device_label(f"Mozilla/5.0 (X11; Linux x86_64; rv:{v}.0) Firefox/{v}.0") for v in range(90, 140)}
    assert labels == {"Firefox on Linux"}


def test_labels_are_printable_and_short() -> None:
    label = device_label("Mozilla/5.0 (Linux; Android 14) " + "\u20ac\u0007" * 40 + "Chrome/1")
    assert label.isprintable()
    assert label.isascii()
    assert len(label) <= 140


def test_preloading_changes_no_answer() -> None:
    preload()
    assert device_label("curl/1") == "curl"


def test_facts_bring_everything_together() -> None:
    facts = client_facts("::ffff:192.0.2.9", "curl/8.5.0")
    assert (facts.address, facts.network, facts.device) == ("192.0.2.9", "192.0.2.0/24", "curl")
    assert client_facts("2001:db8::1", "", v6=48).network == "2001:db8::/48"


def test_facts_of_an_unreadable_address_are_kept_and_bounded() -> None:
    facts = client_facts("unix", "a/1 " + "x" * 10_000)
    assert (facts.address, facts.network, facts.device) == ("unix", "unknown", "a")
    assert len(facts.user_agent) == MAX_USER_AGENT
    assert len(client_facts("y" * 5000, "").address) == 64
