"""Which key signs when, and what counts as a change."""

from __future__ import annotations

import pytest
from support.tokens import key_pair

from gateway.errors import TemporarilyUnavailable
from gateway.tokens.keyring import KeyRing, RingKey

A, B, C = key_pair(number=0), key_pair(number=1), key_pair(number=2)


def test_the_newest_key_whose_time_has_come_signs() -> None:
    ring = KeyRing([RingKey(B, 200.0, None), RingKey(A, 100.0, 200.0)])
    assert ring.signing(100.0) is A
    assert ring.signing(199.9) is A
    assert ring.signing(200.0) is B
    assert ring.find(A.header) is A
    assert ring.find(B.header) is B
    assert ring.find(C.header) is None


def test_before_any_key_is_due_the_first_one_signs() -> None:
    ring = KeyRing([RingKey(A, 100.0, 200.0), RingKey(B, 200.0, None)])
    assert ring.signing(50.0) is A


def test_a_key_replaced_before_its_turn_never_signs_but_verifies() -> None:
    ring = KeyRing([RingKey(A, 0.0, 300.0), RingKey(B, 300.0, 110.0), RingKey(C, 110.0, None)])
    assert [ring.signing(at) for at in (100.0, 110.0, 299.0, 300.0, 1000.0)] == [A, C, C, C, C]
    assert ring.find(B.header) is B


def test_an_empty_ring_cannot_sign() -> None:
    assert KeyRing().due(0.0) is None
    with pytest.raises(TemporarilyUnavailable):
        KeyRing().signing(0.0)


def test_the_epoch_grows_with_each_change_of_keys_only() -> None:
    ring = KeyRing([RingKey(A, 0.0, None)])
    first = ring.epoch
    ring.install([RingKey(A, 0.0, 100.0)])
    assert ring.epoch == first
    ring.install([RingKey(A, 0.0, 100.0), RingKey(B, 100.0, None)])
    assert ring.epoch == first + 1
    ring.install([RingKey(B, 100.0, None)])
    assert ring.epoch == first + 2
    ring.install([RingKey(C, 100.0, None)])
    assert ring.epoch == first + 3
