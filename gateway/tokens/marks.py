"""Marks in the store that tie it to its master key file and tell it from its own backups."""

from __future__ import annotations

import os

from gateway.errors import CannotStart
from gateway.tokens.errors import SealBroken
from gateway.tokens.master import MasterKeys, RandomBytes
from gateway.tokens.ports import KeyStore

INCARNATION = "incarnation"
INCARNATION_BYTES = 16
_ANCHOR = "canary"
_PURPOSE = b"canary"
_CANARY = b"this store and this master key belong together"


async def check_canary(master: MasterKeys, store: KeyStore) -> None:
    """Prove that the key file belongs to the store; raises `CannotStart` when it does not.

    Each key seals a canary when the store first sees it. A key whose canary does not open is wrong, and so is a file
    none of whose keys the store knows: a new key is added beside an old one, never in its place.
    """
    known = False
    for kid in master.kids:
        mark = await store.get_mark(_name(kid))
        if mark is not None:
            _open(master, kid, mark)
            known = True
    if not known and await store.get_mark(_ANCHOR) is not None:
        raise CannotStart(
            "the master key file does not belong to this store: it holds none of the keys the store knows"
        )
    for kid in master.kids:
        # Whoever comes second reads the first one's canary, so two processes with different keys cannot both start.
        _open(master, kid, await store.put_mark(_name(kid), _seal(master, kid)))
    await store.put_mark(_ANCHOR, b"1")


async def store_incarnation(store: KeyStore, random_bytes: RandomBytes = os.urandom) -> bytes:
    """The 16 bytes that every refresh token of this store is bound to, made at the first start."""
    mark = await store.get_mark(INCARNATION)
    return mark if mark is not None else await store.put_mark(INCARNATION, random_bytes(INCARNATION_BYTES))


async def new_incarnation(store: KeyStore, random_bytes: RandomBytes = os.urandom) -> bytes:
    """Turn the store into another one: every refresh token issued so far is forged from the next start on."""
    return await store.put_mark(INCARNATION, random_bytes(INCARNATION_BYTES), replace=True)


def _name(kid: int) -> str:
    return f"{_ANCHOR}.{kid}"


def _seal(master: MasterKeys, kid: int) -> bytes:
    return master.seal(_CANARY, _PURPOSE, kid=kid)[1]


def _open(master: MasterKeys, kid: int, mark: bytes) -> None:
    try:
        master.open(kid, mark, _PURPOSE)
    except SealBroken:
        raise CannotStart(f"the master key file does not belong to this store: key {kid} is another one") from None
