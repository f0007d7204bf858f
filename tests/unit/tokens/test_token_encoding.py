"""Base64url: one text per value."""

from __future__ import annotations

import base64

import pytest

from gateway.tokens import encoding


@pytest.mark.parametrize("data", [b"", b"\0", b"ab", b"abc", b"\xfb\xff\xbe", bytes(range(256))])
def test_round_trip_and_the_standard_library_agrees(data: bytes) -> None:
    text = encoding.encode(data)
    assert text == base64.urlsafe_b64encode(data).rstrip(b"=")
    assert encoding.decode(text) == data


@pytest.mark.parametrize(
    "text",
    [
        b"A",
        b"AAAAA",
        b"AB",
        b"AAB",
        b"AA==",
        b"AA=",
        b"====",
        b"+/AA",
        b"A A",
        b" AA",
        b"AA\n",
        b"A\0AA",
        b"\xffAAA",
        b"AA!A",
    ],
)
def test_what_is_not_canonical_is_none(text: bytes) -> None:
    assert encoding.decode(text) is None
