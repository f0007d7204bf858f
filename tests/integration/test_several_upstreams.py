"""Several backends behind a route: shares, failures that no client sees, recovery, health checks."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from support.backends import HEALTH, Backend, backends, caller, names_of, route_to
from support.clock import FrozenClock
from support.proxying import Setup, field_of, hang_up, proxied, until

from gateway.proxy.breaker import BreakerPolicy
from gateway.proxy.endpoint import Endpoint
from gateway.proxy.health import HealthPolicy
from gateway.proxy.route_table import AuthMode, RouteSpec, UpstreamSpec
from gateway.proxy.upstream import UpstreamConnection

QUICK = BreakerPolicy(failures=3, open_for=0.05, longest=0.05)
CHECKS = HealthPolicy(HEALTH, interval=0.01, timeout=1.0, healthy_after=2, unhealthy_after=2)


def events(gateway: Setup) -> list[tuple[str, object]]:
    return [(event.name.value, event.fields["upstream"]) for event in gateway.notes.events]


async def test_one_after_the_other_requests_follow_the_weights() -> None:
    async with backends("a", "b", "c") as all_, proxied(route_to(all_, weights=[5, 3, 2])) as gateway:
        found = await names_of(gateway.port, 50)
    assert found == {"a": 25, "b": 15, "c": 10}


async def test_a_slow_backend_gets_fewer() -> None:
    async with backends("slow", "quick") as (slow, quick), proxied(route_to([slow, quick])) as gateway:
        slow.hold = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(names_of(gateway.port, 1))
            await until(lambda: slow.waiting + len(quick.heads) == 4)
            found = await names_of(gateway.port, 40)
            slow.hold.set()
        assert found["quick"] >= 38
    assert len(slow.heads) <= 4


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_a_backend_killed_under_load_costs_no_idempotent_request(method: str) -> None:
    answered: Counter[str] = Counter()
    async with backends("a", "b") as (a, b), proxied(route_to([a, b], breaker=QUICK)) as gateway:

        async def load() -> None:
            async with caller(gateway.port) as client:
                for _ in range(100):
                    status, _, body = await client.ask(method, body=b"x" if method == "PUT" else b"")
                    assert status == 200
                    answered[body.decode()] += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(load())
            await until(lambda: answered["a"] > 50)
            await a.kill()
        before = answered["a"]
        assert answered.total() == 800
        await a.start()
        await until(lambda: gateway.proxy.now() >= max(one.wait(0.0) for one in gateway.proxy._upstreams.endpoints))
        found = await names_of(gateway.port, 20)
        assert found["a"] >= 8
    assert before < 800
    assert events(gateway) == [("upstream.down", a.url), ("upstream.up", a.url)]


async def test_a_request_that_cannot_be_repeated_goes_elsewhere_when_nothing_was_sent() -> None:
    async with backends("a", "b") as (a, b), proxied(route_to([a, b])) as gateway:
        await a.kill()
        found = await names_of(gateway.port, 6, method="POST", body=b"once")
        assert found == {"b": 6}
        assert len(b.heads) == 6


async def test_a_body_still_coming_goes_elsewhere_whole() -> None:
    async with backends("a", "b") as (a, b), proxied(route_to([a, b])) as gateway:
        await a.kill()
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(b"POST /x HTTP/1.1\r\nHost: c\r\nContent-Length: 8\r\n\r\nhalf")
            await until(lambda: gateway.proxy.open_upstream_connections > 0)
            writer.write(b"half")
            async with asyncio.timeout(5):
                assert (await reader.readuntil(b"b")).startswith(b"HTTP/1.1 200 ")
            await hang_up(writer)
        assert len(b.heads) == 2


async def test_what_was_sent_and_cannot_be_repeated_is_502() -> None:
    async with backends("a", "b") as (a, b), proxied(route_to([a, b])) as gateway:
        a.hold = b.hold = asyncio.Event()
        async with caller(gateway.port) as client, asyncio.TaskGroup() as group:
            task = group.create_task(client.ask("POST", body=b"once"))
            await until(lambda: a.waiting + b.waiting == 1)
            await (a if a.waiting else b).kill()
            status, _, _ = await task
        assert status == 502
        assert len(a.heads) + len(b.heads) == 1


async def test_retries_off_means_no_second_attempt() -> None:
    async with backends("a", "b") as (a, b), proxied(route_to([a, b], retries=0)) as gateway:
        await a.kill()
        async with caller(gateway.port) as client:
            statuses = sorted([(await client.ask())[0] for _ in range(4)])
    assert statuses == [200, 200, 502, 502]


@pytest.mark.parametrize(
    ("preserve", "host"), [(True, b"client.test"), (False, b"127.0.0.1:%d")], ids=["the client's", "its own"]
)
async def test_the_head_is_written_anew_for_the_other_backend(preserve: bool, host: bytes) -> None:
    async with backends("a", "b") as (a, b):
        specs = (UpstreamSpec(a.url + "/base/a"), UpstreamSpec(b.url + "/b"))
        route = RouteSpec("r", "/api/", specs, auth=AuthMode.NONE, strip_prefix=True, preserve_host=preserve)
        async with proxied([route]) as gateway:
            await a.kill()
            await names_of(gateway.port, 2, path="/api/x/?q=/base/a")
        heads = b.heads
    assert [head.partition(b"\r\n")[0] for head in heads] == [b"GET /b/x/?q=/base/a HTTP/1.1"] * 2
    assert {field_of(head, b"Host") for head in heads} == {host % b.port if b"%" in host else host}
    assert len({head.partition(b"X-Request-Id")[0] for head in heads}) == 1


async def test_without_any_healthy_backend_it_is_503_and_when_to_come_again() -> None:
    clock = FrozenClock()
    policy = BreakerPolicy(failures=1, open_for=10.0)
    async with backends("a", "b") as (a, b), proxied(route_to([a, b], breaker=policy), clock=clock) as gateway:
        await a.kill()
        await b.kill()
        async with caller(gateway.port) as client:
            assert (await client.ask())[0] == 502  # both were tried
            clock.advance(4)
            status, head, _ = await client.ask()
            assert (status, field_of(head, b"Retry-After")) == (503, b"6")
            await a.start()
            await b.start()
            assert (await client.ask())[0] == 503
            clock.advance(6)
            assert [(await client.ask())[0] for _ in range(4)] == [200] * 4
    assert sorted(events(gateway)) == sorted(
        (name, one.url) for one in (a, b) for name in ("upstream.down", "upstream.up")
    )


async def test_a_single_backend_is_always_tried() -> None:
    async with backends("a") as (a,), proxied(route_to([a], breaker=BreakerPolicy(failures=1))) as gateway:
        await a.kill()
        async with caller(gateway.port) as client:
            assert [(await client.ask())[0] for _ in range(10)] == [502] * 10
            await a.start()
            assert (await client.ask())[0] == 200
    assert events(gateway) == [("upstream.down", a.url), ("upstream.up", a.url)]


async def test_answers_without_end_count_and_configured_statuses_do() -> None:
    policy = BreakerPolicy(failures=2, open_for=60.0, statuses=frozenset({503}))
    async with backends("a", "b") as (a, b), proxied(route_to([a, b], breaker=policy)) as gateway:
        a.status = 503
        async with caller(gateway.port) as client:
            statuses = [(await client.ask())[0] for _ in range(10)]
    assert Counter(statuses) == {200: 8, 503: 2}


async def test_no_response_in_time_counts() -> None:
    policy = BreakerPolicy(failures=1, open_for=60.0)
    (a, b), changes = (Backend("a"), Backend("b")), {"breaker": policy, "response_timeout": 0.1}
    await a.start()
    await b.start()
    async with proxied(route_to([a, b], **changes)) as gateway:
        a.hold = asyncio.Event()
        async with caller(gateway.port) as client:
            statuses = [(await client.ask())[0] for _ in range(6)]
        await a.kill()
        await b.kill()
        assert Counter(statuses) == {200: 5, 504: 1}
        assert events(gateway) == [("upstream.down", a.url)]


class Slammer(Backend):
    """Accepts and closes at once."""

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.checks.append(b"")
        writer.transport.abort()


async def test_a_backend_that_closes_what_it_accepts_costs_no_time() -> None:
    slammer = Slammer("slammer")
    await slammer.start()
    try:
        async with backends("b") as (b,), proxied(route_to([slammer, b], retries=2)) as gateway:
            async with asyncio.timeout(5):
                assert await names_of(gateway.port, 20) == {"b": 20}
        async with proxied(route_to([slammer])) as gateway, caller(gateway.port) as client:
            async with asyncio.timeout(5):
                assert [(await client.ask())[0] for _ in range(20)] == [502] * 20
    finally:
        await slammer.kill()
    assert slammer.checks


@pytest.mark.parametrize("gone", [True, False], ids=["gone", "closing"])
async def test_a_connection_that_ends_before_it_is_used_costs_no_time(
    monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    """The loop may learn that a connection has ended before whoever waits for it runs."""
    real = Endpoint._dial

    async def dial(self: Endpoint) -> UpstreamConnection:
        connection = await real(self)
        if self is broken:
            assert connection.transport is not None
            connection.transport.abort()
            if gone:
                await until(lambda: connection.transport is None)
        return connection

    monkeypatch.setattr(Endpoint, "_dial", dial)
    async with backends("a", "b") as (a, b), proxied(route_to([a, b])) as gateway:
        broken = gateway.endpoint(a.port)
        async with asyncio.timeout(5):
            assert await names_of(gateway.port, 6, method="POST", body=b"once") == {"b": 6}
        assert events(gateway) == [("upstream.down", a.url)]
        assert "closed as soon as it stood" in str(gateway.notes.events[0].fields["error"])


async def test_health_checks_take_a_backend_out_and_back_and_tell_it_once() -> None:
    async with backends("a", "b") as (a, b), proxied(route_to([a, b], health=CHECKS)) as gateway:
        await until(lambda: bool(a.checks and b.checks))
        a.health = 500
        await until(lambda: bool(gateway.notes.events))
        seen = len(a.checks)
        assert await names_of(gateway.port, 10) == {"b": 10}
        await until(lambda: len(a.checks) > seen + 3)
        a.health = 204
        await until(lambda: len(gateway.notes.events) == 2)
        assert await names_of(gateway.port, 10) == {"a": 5, "b": 5}
        head = a.checks[0]
    assert events(gateway) == [("upstream.down", a.url), ("upstream.up", a.url)]
    assert gateway.notes.events[0].fields["error"] == "the health check was answered 500"
    assert (
        head
        == (
            f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{a.port}\r\nUser-Agent: gateway-health\r\nAccept: */*\r\n"
            "Connection: close\r\n\r\n"
        ).encode()
    )


async def test_a_route_whose_backends_are_all_unwell_answers_503() -> None:
    async with backends("a") as (a,):
        a.health = 503
        async with proxied(route_to([a], health=CHECKS)) as gateway, caller(gateway.port) as client:
            await until(lambda: bool(gateway.notes.events))
            status, head, _ = await client.ask()
            assert (status, field_of(head, b"Retry-After")) == (503, b"1")
            assert a.heads == []
            await a.kill()
            a.health = 200
            await a.start()
            await until(lambda: len(gateway.notes.events) == 2)
            assert (await client.ask())[0] == 200


async def test_routes_with_the_same_settings_share_one_check() -> None:
    async with backends("a") as (a,):
        (one,) = route_to([a], health=CHECKS)
        two = RouteSpec("two", "/two/", one.upstreams, health=CHECKS)
        async with proxied([one, two]) as gateway:
            await until(lambda: len(a.checks) > 2)
            assert len(gateway.proxy._upstreams._checks) == 1
            assert len(gateway.proxy._upstreams.endpoints) == 1


async def test_other_routes_take_over_and_what_is_under_way_finishes() -> None:
    async with backends("a", "b") as (a, b):
        (both,) = route_to([a, b], health=CHECKS)
        (only,) = route_to([b], health=CHECKS)
        async with proxied([both]) as gateway, caller(gateway.port) as one, caller(gateway.port) as two:
            upstreams = gateway.proxy._upstreams
            await names_of(gateway.port, 4)
            kept = gateway.endpoint(b.port)
            await until(lambda: kept.open_connections == 1)
            a.hold = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(client.ask()) for client in (one, two)]
                await until(lambda: a.waiting == 1)
                upstreams.replace(upstreams.plan([only]))
                assert upstreams.endpoints == (kept,)
                assert kept.open_connections >= 1
                assert await names_of(gateway.port, 4) == {"b": 4}
                a.hold.set()
                assert sorted([(await task)[2] for task in asked]) == [b"a", b"b"]
            await until(lambda: a.connections == 0)
            seen = len(a.checks)
            await until(lambda: len(b.checks) > len(b.checks[:1]) and len(upstreams._checks) == 1)
            upstreams.replace(upstreams.plan([both]))
            await until(lambda: len(a.checks) > seen)
            assert gateway.endpoint(b.port) is kept
            assert await names_of(gateway.port, 4) == {"a": 2, "b": 2}
        assert gateway.notes.events == []


async def test_counts_of_requests_under_way_end_at_zero_however_they_end() -> None:
    async with backends("a", "b") as (a, b), proxied(route_to([a, b], body_limit=4)) as gateway:
        a.hold = asyncio.Event()
        async with caller(gateway.port) as client:
            assert (await client.ask("POST", body=b"12345"))[0] == 413
        gone = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(2)]
        for _, writer in gone:
            writer.write(b"GET /x HTTP/1.1\r\nHost: c\r\n\r\n")
        await until(lambda: a.waiting == 1)
        for _, writer in gone:
            await hang_up(writer)
        await until(lambda: all(one.outstanding == 0 for one in gateway.proxy._upstreams.endpoints))
        a.hold.set()
        await b.kill()
        await names_of(gateway.port, 4)
        assert [one.outstanding for one in gateway.proxy._upstreams.endpoints] == [0, 0]
