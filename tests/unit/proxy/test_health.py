"""Active health checks: what counts as well, how many it takes, how a check can go wrong."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.backends import HEALTH, Backend, backends
from support.proxying import RawUpstream, Script, until, upstream

from gateway import tasks
from gateway.proxy.endpoint import Endpoint
from gateway.proxy.health import HealthPolicy, HealthRecord, check, watch
from gateway.proxy.response_head import ResponseRules
from gateway.proxy.upstream import UpstreamConnection

POLICY = HealthPolicy(HEALTH, interval=0.01, timeout=2.0, healthy_after=2, unhealthy_after=3)


def endpoint_of(port: int) -> Endpoint:
    return Endpoint(f"http://127.0.0.1:{port}/base", ResponseRules())


def results(text: str) -> list[str]:
    """Feed `+` and `-`; at which results health changed, and to what."""
    record, changes = HealthRecord(POLICY), []
    for place, result in enumerate(text):
        if record.record(result == "+"):
            changes.append(f"{place}{'+' if record.healthy else '-'}")
    return changes


@pytest.mark.parametrize(
    ("fed", "changes"),
    [
        ("+++", []),
        ("-", ["0-"]),  # the first counts at once
        ("-+++", ["0-", "2+"]),
        ("+--+--+---", ["9-"]),
        ("+---+-+-++", ["3-", "9+"]),
    ],
)
def test_changes_take_several_in_a_row(fed: str, changes: list[str]) -> None:
    assert results(fed) == changes


@given(fed=st.text("+-", max_size=60))
def test_ups_and_downs_take_turns(fed: str) -> None:
    changes = [change[-1] for change in results(fed)]
    assert changes == ["-", "+"] * (len(changes) // 2) + ["-"] * (len(changes) % 2)


@pytest.mark.parametrize(("status", "well"), [(199, False), (200, True), (302, True), (399, True), (400, False)])
def test_what_is_well_by_default(status: int, well: bool) -> None:
    assert POLICY.accepts(status) is well
    assert HealthPolicy("/", expect=frozenset({status})).accepts(status)
    assert not HealthPolicy("/", expect=frozenset({599})).accepts(status)


async def asked(port: int, policy: HealthPolicy = POLICY) -> str | None:
    endpoint = endpoint_of(port)
    problem = await check(endpoint, policy)
    await until(lambda: endpoint.open_connections == 0)
    endpoint.close()
    return problem


async def test_a_check_asks_for_the_path_as_it_is_written() -> None:
    async with backends("a") as (a,):
        assert await asked(a.port) is None
        assert a.checks[0].startswith(b"GET /healthz HTTP/1.1\r\n")
        a.health = 404
        assert await asked(a.port) == "the health check was answered 404"
        assert await asked(a.port, HealthPolicy(HEALTH, expect=frozenset({404}))) is None


async def test_no_request_takes_the_connection_of_a_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is closed by the check: a request on it would wait for an answer that never comes."""
    taken: list[object] = []
    real = Endpoint.release

    def release(self: Endpoint, connection: UpstreamConnection) -> None:
        real(self, connection)
        asyncio.get_running_loop().call_soon(lambda: taken.append(self.take(0.0, repeatable=True)))

    monkeypatch.setattr(Endpoint, "release", release)
    async with backends("a") as (a,):
        assert await asked(a.port) is None
    assert taken == [None]


def saying(answer: bytes) -> object:
    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            writer.write(answer)
            if answer:
                return
            await reader.read()

        return follow

    return script


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"", "no answer to the health check within 0.05 s"),
        (b"HTTP/1.1 200", "the upstream closed before it answered"),
        (b"nonsense\r\n\r\n", "the upstream's status line is malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", None),
    ],
)
async def test_a_check_can_go_wrong(answer: bytes, problem: str | None) -> None:
    async with upstream(saying(answer)) as up:  # type: ignore[arg-type]
        assert await asked(up.port, HealthPolicy(HEALTH, timeout=2.0 if answer else 0.05)) == problem


async def test_nobody_listens() -> None:
    async with backends("a") as (a,):
        port = a.port
    assert "refused" in str(await asked(port)).lower() or "Connect call failed" in str(await asked(port))


async def test_watching_tells_changes_only_and_ends_when_cancelled() -> None:
    told: list[tuple[bool, str | None]] = []
    backend = Backend("a")
    await backend.start()
    endpoint = endpoint_of(backend.port)
    task = tasks.spawn(watch(endpoint, POLICY, lambda *change: told.append(change), lambda: 0.5), name="watch")
    await until(lambda: len(backend.checks) > 5)
    assert told == []
    backend.health = 500
    await until(lambda: len(told) == 1)
    backend.health = 200
    await until(lambda: len(told) == 2)
    assert told == [(False, "the health check was answered 500"), (True, None)]
    await tasks.cancel(task)
    await until(lambda: endpoint.open_connections == 0)
    await backend.kill()
