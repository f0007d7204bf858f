"""Request ids."""

from __future__ import annotations

import pytest

from gateway.web.request_id import RequestIds

IDS = RequestIds(lambda count: b"\x01" * count)


def test_made_from_the_given_entropy() -> None:
    assert IDS.of([], trusted=False) == "01" * 16
    assert len(RequestIds().of([], trusted=True)) == 32


def test_no_two_are_the_same() -> None:
    ids = RequestIds()
    assert len({ids.fresh() for _ in range(1000)}) == 1000


def test_kept_from_a_trusted_peer_only() -> None:
    assert IDS.of([b"abc-123"], trusted=True) == "abc-123"
    assert IDS.of([b"abc-123"], trusted=False) == "01" * 16


@pytest.mark.parametrize(
    "values", [[b"a", b"b"], [b""], [b"a b"], [b"a\nb"], [b"\xff"], [b"x" * 129], [b'"'], [b"a,b"]]
)
def test_odd_ones_are_replaced(values: list[bytes]) -> None:
    assert IDS.of(values, trusted=True) == "01" * 16
