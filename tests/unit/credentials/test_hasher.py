"""The hasher and its threads."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from argon2.exceptions import HashingError
from support.credentials import CHEAP

from gateway.credentials import pool as pool_module
from gateway.credentials.hasher import PasswordHasher
from gateway.credentials.pool import HashPool, default_permits
from gateway.credentials.schemes.argon2 import Argon2Hash, Argon2Parameters
from gateway.errors import TemporarilyUnavailable

BCRYPT_OF_PASSWORD = "$2b$12$bIRGj4QPPoSUMWsJE.4Pk.T1qTpDWz7HhMnuiQhGzGinKPsx/HQdq"


class Gate:
    """Work that does not end before it is told to."""

    def __init__(self) -> None:
        self.started = threading.Semaphore(0)
        self.open = threading.Event()

    def work(self) -> str:
        self.started.release()
        assert self.open.wait(10)
        return "done"

    async def wait_started(self) -> None:
        assert await asyncio.to_thread(self.started.acquire, timeout=10)


@pytest_asyncio.fixture
async def hasher() -> AsyncIterator[PasswordHasher]:
    made = PasswordHasher(CHEAP, permits=1)
    yield made
    await made.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for `condition`, at most ten seconds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def test_defaults_are_the_recommended_cost() -> None:
    assert Argon2Parameters() == Argon2Parameters(memory_kib=19456, passes=2, lanes=1)
    assert default_permits() >= 1


async def test_a_hash_is_phc_text_with_its_own_salt(hasher: PasswordHasher) -> None:
    one, other = await hasher.hash("correct horse"), await hasher.hash("correct horse")
    assert one.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert one != other
    verification = await hasher.verify("correct horse", one)
    assert (verification.ok, verification.outdated) == (True, False)
    assert not (await hasher.verify("correct mule", one)).ok


async def test_other_parameters_and_foreign_hashes_are_outdated(hasher: PasswordHasher) -> None:
    older = str(Argon2Hash.create(b"password", bytes(16), Argon2Parameters(16, 1, 1)))
    for stored in (older, BCRYPT_OF_PASSWORD):
        verification = await hasher.verify("password", stored)
        assert (verification.ok, verification.outdated) == (True, True)
        wrong = await hasher.verify("Password", stored)
        assert (wrong.ok, wrong.outdated) == (False, False)


async def test_no_hash_and_an_unusable_one_never_match(hasher: PasswordHasher) -> None:
    nobody = await hasher.verify("", None)
    assert (nobody.ok, nobody.unusable) == (False, None)
    broken = await hasher.verify("", "$6$rounds=5000$salt$digest")
    assert not broken.ok
    assert broken.unusable is not None
    assert "sha512_crypt" in broken.unusable


async def test_running_out_of_memory_is_no_wrong_password(
    hasher: PasswordHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> bytes:
        raise HashingError("Memory allocation error")

    monkeypatch.setattr("gateway.credentials.schemes.argon2.hash_secret_raw", fail)
    with pytest.raises(TemporarilyUnavailable) as outage:
        await hasher.hash("correct horse")
    assert outage.value.retry_after is not None


async def test_a_full_queue_refuses_at_once() -> None:
    gate, pool = Gate(), HashPool(permits=1, queue=1)
    running = asyncio.ensure_future(pool.run(gate.work))
    await gate.wait_started()
    waiting = asyncio.ensure_future(pool.run(gate.work))
    await until(lambda: pool.taken == 2)
    assert pool.refused == 0
    with pytest.raises(TemporarilyUnavailable) as refusal:
        await pool.run(gate.work)
    assert pool.refused == 1
    assert refusal.value.retry_after is not None
    gate.open.set()
    assert await asyncio.gather(running, waiting) == ["done", "done"]
    await until(lambda: pool.taken == 0)
    await pool.close()


async def test_a_cancelled_request_keeps_its_permit_until_the_hash_is_done() -> None:
    gate, pool = Gate(), HashPool(permits=1, queue=0)
    request = asyncio.ensure_future(pool.run(gate.work))
    await gate.wait_started()
    request.cancel()
    await asyncio.wait([request])
    assert request.cancelled()
    with pytest.raises(TemporarilyUnavailable):
        await pool.run(gate.work)
    gate.open.set()
    await until(lambda: pool.taken == 0)
    assert await pool.run(gate.work) == "done"
    await pool.close()


async def test_a_request_cancelled_in_the_queue_leaves_it() -> None:
    gate, pool = Gate(), HashPool(permits=1, queue=1)
    running = asyncio.ensure_future(pool.run(gate.work))
    await gate.wait_started()
    waiting = asyncio.ensure_future(pool.run(gate.work))
    await until(lambda: pool.taken == 2)
    waiting.cancel()
    await asyncio.wait([waiting])
    await until(lambda: pool.taken == 1)
    gate.open.set()
    assert await running == "done"
    await pool.close()


async def test_a_closed_pool_is_an_outage() -> None:
    pool = HashPool(permits=1, queue=1)
    await pool.close()
    with pytest.raises(TemporarilyUnavailable):
        await pool.run(lambda: None)
    assert pool.taken == 0


async def test_the_threads_step_back_for_the_event_loop() -> None:
    pool = HashPool(permits=1, queue=1)
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    theirs = await pool.run(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
    await pool.close()
    assert theirs == (19 if sys.platform == "linux" else mine)
    assert os.getpriority(os.PRIO_PROCESS, 0) == mine


def test_elsewhere_priority_and_cores_are_left_to_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module.sys, "platform", "darwin")
    monkeypatch.setattr(pool_module.os, "cpu_count", lambda: 6)
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    pool_module._settle(set())
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
    assert default_permits() == 5


@pytest.mark.parametrize(
    ("cores", "workers", "permits"), [(1, 1, 1), (2, 1, 1), (8, 1, 7), (8, 2, 3), (8, 0, 1), (16, 8, 1), (16, 5, 3)]
)
def test_workers_share_the_cores_but_one(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int, permits: int
) -> None:
    monkeypatch.setattr(pool_module, "_usable_cpus", lambda: set(range(cores)))
    assert default_permits(workers) == permits


async def test_a_hash_leaves_the_interpreter_to_the_event_loop() -> None:
    """Long hashes in one thread do not hold the interpreter's lock: the loop goes on while they run."""
    pool = HashPool(permits=1, queue=0)
    long = Argon2Parameters(memory_kib=65536, passes=4, lanes=1)
    work = asyncio.ensure_future(pool.run(lambda: Argon2Hash.create(b"secret", b"0123456789abcdef", long)))
    turns = 0
    while not work.done():
        turns += 1
        await asyncio.sleep(0)
    await work
    await pool.close()
    assert turns > 50
