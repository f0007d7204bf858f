"""Cookies from bytes."""

from __future__ import annotations

import pytest

from gateway.web.cookies import CookiePolicy, read_cookie, without_cookies

NAME = b"__Host-gw_refresh"


@pytest.mark.parametrize(
    ("headers", "value"),
    [
        ([b"__Host-gw_refresh=abc"], "abc"),
        ([b"a=1; __Host-gw_refresh=abc; b=2"], "abc"),
        ([b"a=1;__Host-gw_refresh=abc"], "abc"),
        ([b"a=1;\t__Host-gw_refresh=abc"], "abc"),
        ([b"a=1", b"__Host-gw_refresh=abc"], "abc"),
        ([b"__Host-gw_refresh=a=b"], "a=b"),
        ([b"__Host-gw_refresh="], ""),
        ([b"nameless; __Host-gw_refresh=abc; =x"], "abc"),
        ([b"x=__Host-gw_refresh; __Host-gw_refresh=abc"], "abc"),
        ([b"bad\xff=\xfe; __Host-gw_refresh=abc"], "abc"),
    ],
)
def test_the_one_cookie_of_the_exact_name(headers: list[bytes], value: str) -> None:
    assert read_cookie(headers, NAME) == value


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [b""],
        [b"other=1"],
        [b"__Host-gw_refresh"],
        [b"__host-gw_refresh=abc"],
        [b"__Host-gw_refresh2=abc"],
        [b"x__Host-gw_refresh=abc"],
        [b"__Host-gw_refresh =abc"],
        [b'"__Host-gw_refresh"=abc'],
        [b"=__Host-gw_refresh=abc"],
        ["\u2000__Host-gw_refresh=abc".encode()],
        ["\u00a0__Host-gw_refresh=abc".encode()],
        [b"\xa0__Host-gw_refresh=abc"],
        [b"\x0b__Host-gw_refresh=abc"],
        [b"a=1,__Host-gw_refresh=abc"],
        [b"__Host-gw_refresh=a; __Host-gw_refresh=b"],
        [b"__Host-gw_refresh=a; __Host-gw_refresh=a"],
        [b"__Host-gw_refresh=a", b"__Host-gw_refresh=b"],
        [b"__Host-gw_refresh=a; __Host-gw_refresh="],
        [b"__Host-gw_refresh=\xc3\xa9"],
        [b"__Host-gw_refresh=" + b"a" * 5000],
    ],
)
def test_anything_else_is_anonymous(headers: list[bytes]) -> None:
    assert read_cookie(headers, NAME) is None


def test_a_look_alike_does_not_hide_the_cookie() -> None:
    header = "__Host-gw_refresh=mine; \u2000__Host-gw_refresh=evil; \u00a0__Host-gw_refresh=evil".encode()
    assert read_cookie([header], NAME) == "mine"


@pytest.mark.parametrize(
    ("header", "left"),
    [
        (b"a=1; __Host-gw_refresh=x; b=2", b"a=1; b=2"),
        (b"__Host-gw_refresh=x", b""),
        (b"__Host-gw_refresh=x; a=1", b"a=1"),
        (b"a=1; __Host-gw_refresh=x", b"a=1"),
        (b"__host-GW_refresh=x; a=1", b"a=1"),
        (b"__Host-gw_refresh ; a=1", b"a=1"),
        (b'"__Host-gw_refresh"=x; a=1', b"a=1"),
        ("\u2000__Host-gw_refresh=x; a=1".encode(), b"a=1"),
        (b"\xa0__Host-gw_refresh=x; a=1", b"a=1"),
        (b"a=__Host-gw_refresh; b=\xff", b"a=__Host-gw_refresh; b=\xff"),
        (b"a=1, __Host-gw_refresh=x; b=2", b"b=2"),
        (b"b=2; a=1,__Host-gw_refresh=x", b"b=2"),
        (b"a=1, __host-gw_refresh = x", b""),
        (b"a=1 __Host-gw_refresh=x; b=2", b"b=2"),
        (b"a=1\t__Host-gw_refresh\t=x; b=2", b"b=2"),
        (b"a=1\x0b__Host-gw_refresh=x; b=2", b"b=2"),
        ("a=1\u2003__Host-gw_refresh=x; b=2".encode(), b"b=2"),
        (b'a="1", "__Host-gw_refresh"=x; b=2', b"b=2"),
        (b"'__Host-gw_refresh'=x; b=2", b"b=2"),
        (b"a=1,2; b=x__Host-gw_refresh=1", b"a=1,2; b=x__Host-gw_refresh=1"),
    ],
)
def test_own_cookies_are_removed_in_every_spelling(header: bytes, left: bytes) -> None:
    assert without_cookies(header, [NAME]) == left


@pytest.mark.parametrize(
    ("policy", "name"),
    [
        (CookiePolicy(), "__Host-gw_refresh"),
        (CookiePolicy(domain="example.com"), "__Secure-gw_refresh"),
        (CookiePolicy(secure=False), "gw_refresh"),
        (CookiePolicy(secure=False, domain="example.com"), "gw_refresh"),
        (CookiePolicy(name="sid"), "__Host-sid"),
    ],
)
def test_names(policy: CookiePolicy, name: str) -> None:
    assert policy.full_name == name
    assert policy.raw_name == name.encode()


def test_built_cookies() -> None:
    assert CookiePolicy().build("t", 60) == "__Host-gw_refresh=t; Max-Age=60; Path=/; Secure; HttpOnly; SameSite=Strict"
    assert CookiePolicy(secure=False).build("t", 60) == "gw_refresh=t; Max-Age=60; Path=/; HttpOnly; SameSite=Strict"
    assert CookiePolicy(domain="example.com", same_site="none").build("t", 1) == (
        "__Secure-gw_refresh=t; Max-Age=1; Path=/; Domain=example.com; Secure; HttpOnly; SameSite=None"
    )


def test_clearing_names_the_same_cookie() -> None:
    cleared = CookiePolicy().clear()
    assert cleared.startswith("__Host-gw_refresh=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/; Secure")
