"""One way to talk to Redis, whatever stands behind the URL: bounded, with a deadline, and never a command twice.

The driver would repeat a command whose answer was lost. What was asked may have been done: a counter would count twice
and a rotation would be answered as theft. So every retry of the driver is off, and whoever calls decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha1
from typing import Any, Final

from redis import exceptions
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.client import PubSub
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from gateway.errors import CannotStart, StoreBusy, StoreUnavailable
from gateway.stores.redis.errors import hand_on
from gateway.stores.redis.target import Kind, Target, target_of

POOL: Final = 16
"""The most connections of a worker to one server."""
DEADLINE: Final = 1.0
"""Seconds a call may take, waiting for a connection included."""

Word = str | bytes | int | float


class Script:
    """A Lua script; `keys` of one call must share one hash slot."""

    __slots__ = ("sha", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha = sha1(source.encode(), usedforsecurity=False).hexdigest()


class RedisClient:
    """A client that connects when it is first used. `label` says where, without a password."""

    def __init__(
        self,
        driver: Redis | RedisCluster,
        target: Target,
        *,
        size: int,
        deadline: float,
        options: dict[str, Any],
        sentinels: Sequence[Redis] = (),
    ) -> None:
        self.driver = driver
        """For what has no method here; its exceptions are the driver's own."""
        self.target = target
        self.label = target.label
        self.deadline = deadline
        self._room = asyncio.Semaphore(size)
        self._closed = False
        self._options = options
        self._sentinels = sentinels

    async def call(self, *command: Word, deadline: float | None = None, **options: Any) -> Any:
        """Run one command, once; bytes come back. Raises `StoreBusy` or `StoreUnavailable`.

        `options` go to the driver, such as `target_nodes` for a cluster.
        """
        async with self._bounded(deadline):
            return await self.driver.execute_command(*command, **options)

    async def run(
        self, script: Script, keys: Sequence[Word], arguments: Sequence[Word] = (), *, deadline: float | None = None
    ) -> Any:
        """Run `script`, once: it is sent whole only after the server said that it did not know and did not run it."""
        async with self._bounded(deadline):
            try:
                return await self.driver.execute_command("EVALSHA", script.sha, len(keys), *keys, *arguments)
            except exceptions.NoScriptError:
                return await self.driver.execute_command("EVAL", script.source, len(keys), *keys, *arguments)

    async def ping(self) -> None:
        """Raise `StoreBusy` or `StoreUnavailable` when it does not answer."""
        await self.call("PING")

    @asynccontextmanager
    async def subscribed(self, channel: str) -> AsyncIterator[PubSub]:
        """A connection of its own that hears what is published. Its calls raise the driver's exceptions."""
        driver, own = await self._any_node()
        pubsub = driver.pubsub()
        try:
            async with asyncio.timeout(self.deadline):
                await pubsub.subscribe(channel)
            yield pubsub
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]
            if own:
                await driver.aclose()

    async def close(self) -> None:
        """Close every connection. Idempotent."""
        self._closed = True
        for driver in (self.driver, *self._sentinels):
            await driver.aclose()

    async def _any_node(self) -> tuple[Redis, bool]:
        """A plain client and whether it is the caller's: in a cluster every node hears what is published at any."""
        if isinstance(self.driver, Redis):
            return self.driver, False
        async with asyncio.timeout(self.deadline):
            await self.driver.initialize()
        node = self.driver.get_default_node()
        if node is None:
            raise exceptions.ConnectionError("the cluster has no node that answers")
        return Redis(host=node.host, port=int(node.port), **self._options), True

    @asynccontextmanager
    async def _bounded(self, deadline: float | None) -> AsyncIterator[None]:
        if self._closed:
            raise StoreUnavailable(debug="the Redis client is closed")
        entered = False
        try:
            async with asyncio.timeout(self.deadline if deadline is None else deadline), self._room:
                entered = True
                yield
        except Exception as error:
            if not entered and isinstance(error, TimeoutError):
                raise StoreBusy(debug="all connections to Redis are in use", retry_after=1) from error
            hand_on(error)


def open_redis(url: str, *, ca_file: str | None = None, size: int = POOL, deadline: float = DEADLINE) -> RedisClient:
    """A client for `url`; nothing is connected yet. Raises `CannotStart`, never with a part of the URL.

    `ca_file`: PEM authorities for `rediss`, null: the system's. At most `size` calls at once, each of at most
    `deadline` seconds.
    """
    try:
        target = target_of(url)
    except ValueError as error:
        raise CannotStart(f"the Redis URL {error}") from None
    options = _options(target, ca_file)
    if target.kind is Kind.SENTINEL:
        manager = _sentinels(target, options)
        driver: Redis | RedisCluster = manager.master_for(target.service, db=target.db, max_connections=size, **options)
        sentinels: Sequence[Redis] = manager.sentinels
    else:
        driver, sentinels = _driver(target, options, size), ()
    return RedisClient(driver, target, size=size, deadline=deadline, options=options, sentinels=sentinels)


def _options(target: Target, ca_file: str | None) -> dict[str, Any]:
    """What every connection to a Redis of `target` is made with."""
    options: dict[str, Any] = {
        "username": target.username,
        "password": target.password,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,  # version 3 only adds messages that nobody asked for
        "socket_timeout": None,  # each call has a deadline of its own
        "socket_connect_timeout": None,
    }
    if target.tls:
        options |= {"ssl": True, "ssl_ca_certs": ca_file, "ssl_cert_reqs": "required", "ssl_check_hostname": True}
    return options


def _driver(target: Target, options: dict[str, Any], size: int) -> Redis | RedisCluster:
    if target.kind is Kind.CLUSTER:
        nodes = [ClusterNode(host, port) for host, port in target.hosts]
        return RedisCluster(startup_nodes=nodes, max_connections=size, **options)
    options = {**options, "db": target.db, "max_connections": size}
    if target.kind is Kind.SOCKET:
        return Redis(unix_socket_path=target.path, **options)
    [(host, port)] = target.hosts
    return Redis(host=host, port=port, **options)


def _sentinels(target: Target, options: dict[str, Any]) -> Sentinel:
    login = {"username": target.sentinel_username, "password": target.sentinel_password, "max_connections": 4}
    return Sentinel(target.hosts, sentinel_kwargs={**options, **login})  # type: ignore[no-untyped-call]
