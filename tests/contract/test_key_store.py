"""KeyStore: keys in order, one winner of a race, marks that racing writers agree on."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.errors import Conflict
from gateway.stores.bundle import Stores
from gateway.tokens.ports import StoredKey


def a_key(kid: str, created_at: float = 100.0) -> StoredKey:
    return StoredKey(kid, "EdDSA", b"\x00sealed\xff", 1, '{"kty":"OKP"}', created_at, created_at + 60, None)


async def test_keys_come_back_oldest_first(stores: Stores) -> None:
    first, second = a_key("first", 200.0), a_key("second", 100.0)
    assert await stores.keys.list_keys() == ()
    assert await stores.keys.put_key(first, retire=None, at=0.0) is True
    assert await stores.keys.put_key(second, retire="first", at=300.0) is True
    assert await stores.keys.list_keys() == (replace(first, retired_at=300.0), second)


async def test_only_the_newest_unretired_key_is_succeeded(stores: Stores) -> None:
    await stores.keys.put_key(a_key("first"), retire=None, at=0.0)
    await stores.keys.put_key(a_key("second"), retire="first", at=1.0)
    before = await stores.keys.list_keys()
    for stale in (None, "first", "unknown"):
        assert await stores.keys.put_key(a_key("third"), retire=stale, at=2.0) is False
    assert await stores.keys.list_keys() == before


async def test_two_that_rotate_at_once_make_one_key(stores: Stores) -> None:
    await stores.keys.put_key(a_key("first"), retire=None, at=0.0)
    rotations = (stores.keys.put_key(a_key(f"next-{number}"), retire="first", at=1.0) for number in range(8))
    assert sorted(await asyncio.gather(*rotations)) == [False] * 7 + [True]
    assert len(await stores.keys.list_keys()) == 2


async def test_two_that_start_at_once_make_one_key(stores: Stores) -> None:
    starts = (stores.keys.put_key(a_key(f"key-{number}"), retire=None, at=1.0) for number in range(8))
    assert sum(await asyncio.gather(*starts)) == 1


async def test_a_key_id_is_given_once(stores: Stores) -> None:
    await stores.keys.put_key(a_key("same"), retire=None, at=0.0)
    with pytest.raises(Conflict):
        await stores.keys.put_key(a_key("same"), retire="same", at=1.0)
    assert await stores.keys.list_keys() == (a_key("same"),)


async def test_a_deleted_key_is_gone_and_another_may_begin(stores: Stores) -> None:
    await stores.keys.put_key(a_key("first"), retire=None, at=0.0)
    await stores.keys.delete_key("first")
    await stores.keys.delete_key("first")
    assert await stores.keys.list_keys() == ()
    assert await stores.keys.put_key(a_key("second"), retire=None, at=0.0) is True


async def test_a_mark_is_set_once(stores: Stores) -> None:
    assert await stores.keys.get_mark("incarnation") is None
    assert await stores.keys.put_mark("incarnation", b"\x00one") == b"\x00one"
    assert await stores.keys.put_mark("incarnation", b"two") == b"\x00one"
    assert await stores.keys.get_mark("incarnation") == b"\x00one"


async def test_a_mark_is_replaced_on_purpose(stores: Stores) -> None:
    await stores.keys.put_mark("canary", b"one")
    assert await stores.keys.put_mark("canary", b"two", replace=True) == b"two"
    assert await stores.keys.put_mark("other", b"three", replace=True) == b"three"
    assert await stores.keys.get_mark("canary") == b"two"


async def test_racing_writers_agree_on_a_mark(stores: Stores) -> None:
    answers = await asyncio.gather(*(stores.keys.put_mark("canary", bytes([number])) for number in range(8)))
    assert len(set(answers)) == 1
    assert await stores.keys.get_mark("canary") == answers[0]
