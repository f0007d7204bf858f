"""Origins."""

from __future__ import annotations

import pytest

from gateway.errors import CrossSiteRequest
from gateway.web.csrf import CrossSitePolicy, origin_of

POLICY = CrossSitePolicy("https://auth.example.com", ["https://app.example.com", "http://localhost:3000"])


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://a.example", "https://a.example"),
        ("HTTPS://A.Example:443/x?y", "https://a.example"),
        ("http://a.example:80", "http://a.example"),
        ("http://a.example:443", "http://a.example:443"),
        ("http://[2001:DB8::1]:8080", "http://[2001:db8::1]:8080"),
    ],
)
def test_origin_of(url: str, origin: str) -> None:
    assert origin_of(url) == origin


@pytest.mark.parametrize("url", ["", "null", "ftp://a.example", "https://", "a.example"])
def test_no_origin(url: str) -> None:
    with pytest.raises(ValueError, match="no http or https origin"):
        origin_of(url)


@pytest.mark.parametrize(
    ("origin", "site"),
    [
        ([b"https://auth.example.com"], []),
        ([b"https://app.example.com"], [b"same-site"]),
        ([b"http://localhost:3000"], [b"cross-site"]),
        ([], []),
        ([], [b"same-origin"]),
        ([], [b"none"]),
    ],
)
def test_passes(origin: list[bytes], site: list[bytes]) -> None:
    assert POLICY.check(origin, site) is None


@pytest.mark.parametrize(
    ("origin", "site"),
    [
        ([b"https://evil.example"], []),
        ([b"https://evil.example"], [b"same-origin"]),
        ([b"null"], []),
        ([b"null"], [b"same-origin"]),
        ([b""], []),
        ([b"https://auth.example.com.evil.example"], []),
        ([b"http://auth.example.com"], []),
        ([b"https://auth.example.com:444"], []),
        ([b"https://auth.example.com", b"https://auth.example.com"], []),
        ([b"https://auth.example.com/"], []),
        ([], [b"cross-site"]),
        ([], [b"same-site"]),
        ([], [b""]),
        ([], [b"none", b"none"]),
    ],
)
def test_refused(origin: list[bytes], site: list[bytes]) -> None:
    with pytest.raises(CrossSiteRequest):
        POLICY.check(origin, site)


def test_cors_headers_for_allowed_origins_only() -> None:
    allowed = dict(POLICY.cors_headers([b"https://app.example.com"]))
    assert allowed["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert allowed["Access-Control-Allow-Credentials"] == "true"
    assert allowed["Vary"] == "Origin"
    assert dict(POLICY.cors_headers([b"https://evil.example"])) == {"Vary": "Origin"}
    assert dict(POLICY.cors_headers([])) == {"Vary": "Origin"}
    assert CrossSitePolicy("https://a.example").cors_headers([b"https://a.example"]) == ()


def test_preflight() -> None:
    headers = dict(POLICY.preflight_headers([b"https://app.example.com"], ["POST", "OPTIONS"]))
    assert headers["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert headers["Access-Control-Allow-Methods"] == "POST, OPTIONS"
    assert headers["Access-Control-Allow-Headers"] == "Authorization, Content-Type"
    assert "Access-Control-Request-Method" in headers["Vary"]
    for origin in ([b"https://evil.example"], [b"null"], [], [b"https://app.example.com"] * 2):
        with pytest.raises(CrossSiteRequest):
            POLICY.preflight_headers(origin, ["POST"])
