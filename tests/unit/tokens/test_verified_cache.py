"""The verified-token cache: bounded, and right on every hit. Attacks on it are in tests/security."""

from __future__ import annotations

import pytest
from support.tokens import TokenBench, key_pair

from gateway.tokens.keyring import RingKey
from gateway.tokens.verified import VerifiedTokenCache

POLICY = object()


class Cached:
    def __init__(self, size: int) -> None:
        self.bench = TokenBench()
        self.cache: VerifiedTokenCache[bytes] = VerifiedTokenCache(size, self.bench.ring)

    def put(self, token: bytes, policy: object = POLICY) -> None:
        self.cache.put(token, policy, self.bench.claims, b"X-User: " + token, self.bench.ring.epoch)

    def hit(self, token: bytes, policy: object = POLICY) -> bool:
        return self.cache.get(token, policy, self.bench.clock.now()) is not None


def test_a_hit_returns_claims_and_rendered_bytes() -> None:
    cached = Cached(4)
    cached.put(b"a")
    entry = cached.cache.get(b"a", POLICY, cached.bench.clock.now())
    assert entry is not None
    assert (entry.claims, entry.rendered) == (cached.bench.claims, b"X-User: a")
    assert not cached.hit(b"b")


def test_it_stays_bounded_and_keeps_what_is_used() -> None:
    cached = Cached(4)
    for token in (b"a", b"b", b"c", b"d"):
        cached.put(token)
    assert cached.hit(b"a")
    for number in range(3):
        cached.put(b"new%d" % number)
        assert len(cached.cache) == 4
    assert cached.hit(b"a")
    assert not any(cached.hit(token) for token in (b"b", b"c", b"d"))


def test_eviction_ends_when_everything_was_used() -> None:
    cached = Cached(3)
    for token in (b"a", b"b", b"c"):
        cached.put(token)
        assert cached.hit(token)
    cached.put(b"d")
    assert len(cached.cache) == 3
    assert cached.hit(b"d")
    assert not cached.hit(b"a")


def test_putting_a_token_again_replaces_it() -> None:
    cached = Cached(2)
    cached.put(b"a")
    cached.put(b"b")
    other = object()
    cached.put(b"a", other)
    assert len(cached.cache) == 2
    assert cached.hit(b"b")
    assert cached.hit(b"a", other)


def test_another_policy_is_a_miss_that_frees_the_place() -> None:
    cached = Cached(2)
    cached.put(b"a")
    assert not cached.hit(b"a", object())
    assert len(cached.cache) == 0


def test_a_new_key_is_a_miss() -> None:
    cached = Cached(2)
    cached.put(b"a")
    keys = cached.bench.ring.keys
    cached.bench.ring.install([*keys, RingKey(key_pair(number=1), 0.0, None)])
    assert not cached.hit(b"a")


@pytest.mark.parametrize("size", [0, -1])
def test_size_zero_keeps_nothing(size: int) -> None:
    cached = Cached(size)
    cached.put(b"a")
    assert len(cached.cache) == 0


def test_clear() -> None:
    cached = Cached(2)
    cached.put(b"a")
    cached.cache.clear()
    assert len(cached.cache) == 0
