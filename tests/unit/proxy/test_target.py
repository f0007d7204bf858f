"""One spelling per target."""

from __future__ import annotations

import pytest

from gateway.errors import InvalidRequest
from gateway.proxy.target import Target, check_authority, host_name, normalise, split


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("/", Target("/", "")),
        ("/a?b?c", Target("/a", "?b?c")),
        ("/a?", Target("/a", "?")),
        ("http://h", Target("/", "", ("http", "h"))),
        ("HTTP://h:1/a/b?c", Target("/a/b", "?c", ("http", "h:1"))),
        ("https://h?c", Target("/", "?c", ("https", "h"))),
    ],
)
def test_split(raw: str, expected: Target) -> None:
    assert split(raw) == expected


@pytest.mark.parametrize("raw", ["*", "", "a", "ftp://h/", "//", "http:/a", "/a#b", "/a?b#c", "http://h#f"])
def test_split_refuses(raw: str) -> None:
    if raw == "//":
        assert split(raw).path == "//"
        return
    with pytest.raises(InvalidRequest):
        split(raw)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "/"),
        ("/a.b/c..d/...", "/a.b/c..d/..."),
        ("/.well-known/x", "/.well-known/x"),
        ("/%7Euser", "/~user"),
        ("/%2D%2e%5f", "/-._"),
        ("/%e2%82%ac", "/%E2%82%AC"),
        ("/%20%21%3f", "/%20%21%3F"),
        ("/a'b(c)!$&*+,=:@", "/a'b(c)!$&*+,=:@"),
        ('/"<>[]^`{|}', '/"<>[]^`{|}'),
        ("/%25", "/%25"),
        ("/%25g0", "/%25g0"),
    ],
)
def test_normalise(path: str, expected: str) -> None:
    assert normalise(path) == (expected, False)
    assert normalise(expected) == (expected, False)


@pytest.mark.parametrize("path", ["/a%2fb", "/a%2Fb/c", "/a%2f"])
def test_encoded_slashes_are_reported(path: str) -> None:
    assert normalise(path) == (path.replace("%2f", "%2F"), True)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a",
        "%2fa",
        "//",
        "/a//b",
        "/.",
        "/..",
        "/a/..",
        "/a/./b",
        "/%2e",
        "/%2E%2e/",
        "/a%2f..",
        "/a%2f%2fb",
        "/%2fa",
        "/%",
        "/%4",
        "/%4g",
        "/%-1",
        "/% 1",
        "/%+1",
        "/%00",
        "/%1f",
        "/%7f",
        "/%5c",
        "/%3B",
        "/%23",
        "/;",
        "/\\",
        "/#",
        "/?",
        "/ ",
        "/\x00",
        "/\n",
        "/\x7f",
        "/\u00e9",
        "/\udcff",
        "/%ff",
        "/%c0%af",
        "/%ed%a0%80",
        "/%e2%82",
        "/%252e",
        "/%25aF",
    ],
)
def test_normalise_refuses(path: str) -> None:
    with pytest.raises(InvalidRequest):
        normalise(path)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (b"a", "a"),
        (b"A.Example.COM:443", "a.example.com"),
        (b"a.example.", "a.example"),
        (b"under_score.internal:0", "under_score.internal"),
        (b"127.0.0.1:65535", "127.0.0.1"),
        (b"[2001:DB8::1]:80", "[2001:db8::1]"),
    ],
)
def test_host_name(value: bytes, name: str) -> None:
    assert host_name(value) == name


@pytest.mark.parametrize(
    "value",
    [b"", b".", b"-a", b"a@b", b"a b", b"a/b", b"a:", b"a:b", b"a:65536", b"a:123456", b"[::1", b"::1", b"a,b", b"\xe9",
     b"a\t", b"[::1]x", b"a" * 300, b"a%41", b"a\x00"],
)  # fmt: skip
def test_host_name_refuses(value: bytes) -> None:
    with pytest.raises(InvalidRequest):
        host_name(value)


def test_an_absolute_target_names_the_host_of_the_host_header() -> None:
    check_authority(("http", "A.test"), b"a.test:80")
    check_authority(("https", "a.test:443"), b"a.test")
    for authority, host in [
        (("http", "b.test"), b"a.test"),
        (("https", "a.test:80"), b"a.test"),
        (("http", "u@a.test"), b"a.test"),
        (("http", "a.test"), None),
        (("http", ""), b""),
    ]:
        with pytest.raises(InvalidRequest):
            check_authority(authority, host)
