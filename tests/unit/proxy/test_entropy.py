"""Pooled random bytes."""

from __future__ import annotations

from gateway.proxy.entropy import PooledEntropy


def test_bytes_are_fetched_in_bulk_and_used_once() -> None:
    asked = []

    def source(size: int) -> bytes:
        asked.append(size)
        return bytes([len(asked)]) + bytes(n % 251 for n in range(size - 1))

    pool = PooledEntropy(source)
    portions = [pool(16) for _ in range(256)]
    assert asked == [4096]
    assert b"".join(portions) == b"\x01" + bytes(n % 251 for n in range(4095))
    assert pool(16)[0] == 2
    assert len(pool(5000)) == 5000
    assert asked == [4096, 4096, 5000]


def test_the_default_source_is_random() -> None:
    pool = PooledEntropy()
    assert len({pool(16) for _ in range(1000)}) == 1000
