"""The canary and the incarnation of a store."""

from __future__ import annotations

import asyncio

import pytest
from support.clock import FrozenClock
from support.tokens import master_keys

from gateway.errors import CannotStart
from gateway.stores.memory.database import MemoryDatabase
from gateway.stores.memory.keys import MemoryKeys
from gateway.tokens.marks import check_canary, new_incarnation, store_incarnation
from gateway.tokens.master import MasterKeys

STRANGER = MasterKeys({1: b"x" * 32})


@pytest.fixture
def store() -> MemoryKeys:
    return MemoryKeys(MemoryDatabase(FrozenClock()))


async def test_first_start_then_the_same_key(store: MemoryKeys) -> None:
    await check_canary(master_keys(), store)
    mark = await store.get_mark("canary.1")
    await check_canary(master_keys(), store)
    assert mark is not None
    assert await store.get_mark("canary.1") == mark


async def test_a_wrong_key_cannot_start(store: MemoryKeys) -> None:
    await check_canary(master_keys(), store)
    with pytest.raises(CannotStart, match="key 1 is another one") as caught:
        await check_canary(STRANGER, store)
    assert caught.value.code == "cannot_start"


async def test_a_new_key_beside_the_old_one_then_alone(store: MemoryKeys) -> None:
    await check_canary(master_keys(1), store)
    await check_canary(master_keys(1, 2), store)
    await check_canary(master_keys(2), store)
    assert await store.get_mark("canary.2") is not None


async def test_a_new_key_in_place_of_the_old_one(store: MemoryKeys) -> None:
    await check_canary(master_keys(1), store)
    with pytest.raises(CannotStart, match="none of the keys"):
        await check_canary(master_keys(2), store)
    assert await store.get_mark("canary.2") is None


async def test_an_old_key_that_changed_beside_a_good_one(store: MemoryKeys) -> None:
    await check_canary(master_keys(1, 2), store)
    with pytest.raises(CannotStart, match="key 1 is another one"):
        await check_canary(MasterKeys({1: b"x" * 32, 2: bytes([2]) * 32}), store)


async def test_two_first_starts_with_different_keys(store: MemoryKeys) -> None:
    class Slow(MemoryKeys):
        async def get_mark(self, name: str) -> bytes | None:
            value = await super().get_mark(name)
            await asyncio.sleep(0)
            return value

    slow = Slow(MemoryDatabase(FrozenClock()))
    results = await asyncio.gather(
        check_canary(master_keys(), slow), check_canary(STRANGER, slow), return_exceptions=True
    )
    assert [type(result) for result in results] == [type(None), CannotStart]


async def test_incarnation_is_made_once(store: MemoryKeys) -> None:
    first, second = await asyncio.gather(store_incarnation(store), store_incarnation(store))
    assert first == second == await store_incarnation(store)
    assert len(first) == 16


async def test_a_new_incarnation_replaces_it(store: MemoryKeys) -> None:
    old = await store_incarnation(store)
    new = await new_incarnation(store)
    assert new != old
    assert await store_incarnation(store) == new
