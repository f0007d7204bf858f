"""The Redis client on real servers: every way to reach one, nothing done twice, nothing waited for without end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from support import redis
from support.certificates import Authority

from gateway.errors import CannotStart, InvalidRequest, StoreBusy, StoreUnavailable
from gateway.stores.factory import open_redis as open_optional
from gateway.stores.redis.client import RedisClient, Script, open_redis


@asynccontextmanager
async def client_of(url: str, **options: object) -> AsyncIterator[RedisClient]:
    client = open_redis(url, **options)  # type: ignore[arg-type]
    try:
        yield client
    finally:
        await client.close()


@pytest.fixture
def server() -> Iterator[redis.RedisServer]:
    """A server that a test may kill."""
    with redis.own_server() as made:
        yield made


async def works(client: RedisClient) -> None:
    """A key and a script."""
    script = Script("redis.call('SET', KEYS[1], ARGV[1]); return redis.call('GET', KEYS[1])")
    await client.ping()
    for text in (b"one", b"two"):  # sent whole, then by its name
        assert await client.run(script, ["test:{a}"], [text]) == text
    assert await client.call("GET", "test:{a}") == b"two"
    await client.call("DEL", "test:{a}")


async def hears(client: RedisClient) -> None:
    """What is published arrives."""
    async with client.subscribed("test:channel") as pubsub, asyncio.timeout(10):
        await client.call("PUBLISH", "test:channel", "x")
        kinds = []
        while "message" not in kinds:
            message = await pubsub.get_message(timeout=1)
            kinds += [message["type"]] if message else []
    assert kinds[-1] == "message"


async def test_tcp_and_unix_socket() -> None:
    server = redis.server()
    for url in (server.url(), f"unix://{redis.USER}:{redis.PASSWORD}@{server.socket}?db=1"):
        async with client_of(url) as client:
            await works(client)
            await hears(client)


async def test_tls_with_an_authority_of_ones_own(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("127.0.0.1")
    files = f"tls-cert-file {certificate}\ntls-key-file {key}\ntls-ca-cert-file {authority.ca_file}"
    with redis.own_server(extra=f"tls-port {(port := redis.free_port())}\n{files}\ntls-auth-clients no") as server:
        url = server.url(port=port).replace("redis:", "rediss:")
        async with client_of(url, ca_file=str(authority.ca_file)) as client:
            await works(client)
        async with client_of(url) as client:
            with pytest.raises(StoreUnavailable):
                await client.ping()


async def test_cluster() -> None:
    with redis.own_server(extra=f"cluster-enabled yes\ncluster-port {redis.free_port()}") as server:
        server.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        url = server.url().replace("redis:", "redis+cluster:")
        async with client_of(url) as client:
            async with asyncio.timeout(10):
                while "cluster_state:ok" not in server.command("CLUSTER", "INFO"):
                    await asyncio.sleep(0.05)
            await works(client)
            await hears(client)


async def test_sentinel_follows_the_service() -> None:
    with redis.own_server() as server:
        extra = f"sentinel monitor main 127.0.0.1 {server.port} 1\nsentinel auth-pass main {redis.PASSWORD}"
        with redis.own_server(extra=extra, mode=("--sentinel",)) as sentinel:
            url = f"redis+sentinel://{redis.USER}:{redis.PASSWORD}@127.0.0.1:{sentinel.port}"
            async with client_of(f"{url}/main/1") as client:
                await works(client)
                await hears(client)
            async with client_of(f"{url}/other") as client:
                with pytest.raises(StoreUnavailable):
                    await client.ping()


@pytest.mark.parametrize("login", ["gateway:wrong", "nobody:wrong"])
async def test_a_wrong_password_is_unavailable_and_not_quoted(login: str) -> None:
    async with client_of(f"redis://{login}@127.0.0.1:{redis.server().port}") as client:
        with pytest.raises(StoreUnavailable) as caught:
            await client.ping()
    assert caught.value.debug is not None and "wrong" not in caught.value.debug


async def test_what_the_user_may_not_do_is_unavailable() -> None:
    async with client_of(redis.server().url()) as client:
        with pytest.raises(StoreUnavailable) as caught:
            await client.call("FLUSHALL")
    assert "NoPermission" in (caught.value.debug or "")


async def test_killed_and_back_without_a_new_client(server: redis.RedisServer) -> None:
    async with client_of(server.url()) as client:
        await client.call("SET", "test:kept", "1")
        server.stop(signal.SIGKILL)
        with pytest.raises(StoreUnavailable):
            await client.call("GET", "test:kept")
        server.start()
        assert await client.call("GET", "test:kept") == b"1"


async def test_a_lost_answer_is_never_asked_for_twice(server: redis.RedisServer) -> None:
    """The relay takes the command to Redis and cuts the connection before the answer."""
    served = 0

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        upstream, sink = await asyncio.open_connection("127.0.0.1", server.port)
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                sink.write(data)
                answer = await upstream.read(65536)
                if b"INCR" in data:
                    break
                writer.write(answer)
        for end in (writer, sink):
            end.close()

    between = await asyncio.start_server(relay, "127.0.0.1", 0)
    async with between, client_of(server.url(port=between.sockets[0].getsockname()[1])) as client:
        with pytest.raises(StoreUnavailable):
            await client.call("INCR", "test:counted")
    assert server.command("GET", "test:counted").split() == ["$1", "1"]
    assert served == 1


async def test_a_silent_server_is_busy_after_the_deadline(server: redis.RedisServer) -> None:
    async with client_of(server.url(), deadline=0.1, size=1) as client:
        await client.ping()
        os.kill(server.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            answers = await asyncio.gather(*(client.ping() for _ in range(5)), return_exceptions=True)
            assert all(isinstance(answer, StoreBusy) for answer in answers)
            assert time.monotonic() - began < 5
        finally:
            os.kill(server.pid, signal.SIGCONT)
        async with asyncio.timeout(10):
            assert await client.call("PING", deadline=5) in (b"PONG", True)


async def test_no_more_connections_than_allowed(server: redis.RedisServer) -> None:
    async with client_of(server.url(), size=3) as client:
        await asyncio.gather(*(client.call("GET", "x") for _ in range(50)))
        connections = server.command("CLIENT", "LIST").count("user=gateway")
    assert 1 <= connections <= 3


async def test_cancelling_a_call_leaves_no_answer_for_the_next(server: redis.RedisServer) -> None:
    async with client_of(server.url(), size=1) as client:
        await client.call("SET", "a", "1")
        for _ in range(20):
            with suppress(TimeoutError):
                async with asyncio.timeout(0):
                    await client.call("GET", "a")
            assert await client.call("ECHO", "mine") == b"mine"


async def test_a_closed_client_and_a_value_of_no_form() -> None:
    async with client_of(redis.server().url()) as client:
        with pytest.raises(InvalidRequest):
            await client.call("SET", "a", object())  # type: ignore[arg-type]
        await client.close()
        with pytest.raises(StoreUnavailable) as caught:
            await client.ping()
    assert caught.value.debug == "the Redis client is closed"


def test_one_clear_line_for_a_bad_url_and_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CannotStart, match="the Redis URL is not a Redis URL"):
        open_redis("mysql://secret")
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.delattr("gateway.stores.redis.client")
    monkeypatch.delitem(sys.modules, "gateway.stores.redis.client")
    monkeypatch.delitem(sys.modules, "gateway.stores.redis.errors", raising=False)
    with pytest.raises(CannotStart, match=r"pip install 'auth-gateway\[redis\]'"):
        open_optional("redis://h")
