"""The wake-up of the revocation feed by Redis, without the database's own."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest
from support import redis

from gateway.stores.redis.client import open_redis
from gateway.stores.redis.wake import CHANNEL, RedisWake


class Watch:
    """Counts wake-ups."""

    def __init__(self) -> None:
        self.on_commit: Callable[[], None] | None = None
        self.woken = 0

    def grew(self) -> None:
        self.woken += 1


@pytest.fixture
def server() -> Iterator[redis.RedisServer]:
    """A server that a test may kill."""
    with redis.own_server() as made:
        yield made


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, not for a time."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_commit_wakes_every_other_process_also_after_redis_was_killed(server: redis.RedisServer) -> None:
    clients = [open_redis(server.url()) for _ in range(3)]
    watches = [Watch() for _ in clients]
    wakes = [RedisWake(client, watch) for client, watch in zip(clients, watches, strict=True)]
    for wake in wakes:
        wake.start()
    await until(lambda: all(watch.woken for watch in watches))  # whoever begins to listen looks once
    for watch in watches:
        watch.woken = 0
    call = watches[0].on_commit
    assert call is not None
    call()
    await until(lambda: all(watch.woken for watch in watches))
    server.stop(signal.SIGKILL)
    await until(lambda: not any(wake.listening for wake in wakes))
    began = time.monotonic()
    call()
    assert time.monotonic() - began < 0.1  # nobody waits for Redis
    for watch in watches:
        watch.woken = 0
    server.start()
    await until(lambda: all(watch.woken for watch in watches))
    for wake, client in zip(wakes, clients, strict=True):
        await wake.stop()
        await client.close()
    assert watches[0].on_commit is None


async def test_many_commits_are_few_calls(server: redis.RedisServer) -> None:
    client, watch = open_redis(server.url()), Watch()
    wake = RedisWake(client, watch)
    wake.start()
    await until(lambda: watch.woken == 1)
    for _ in range(100):
        wake.call()
    await until(lambda: watch.woken >= 2)
    await wake.stop()
    await client.close()
    assert watch.woken <= 3
    assert f"{CHANNEL}" == "gw:revoked"


async def test_a_redis_that_falls_silent_is_noticed(server: redis.RedisServer) -> None:
    client, watch = open_redis(server.url()), Watch()
    wake = RedisWake(client, watch, keepalive=0.05)
    wake.start()
    await until(lambda: wake.listening)
    await asyncio.sleep(0)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        await until(lambda: not wake.listening)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    watch.woken = 0
    await until(lambda: wake.listening and watch.woken > 0)
    await wake.stop()
    await client.close()
