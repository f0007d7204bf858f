"""Host names of upstreams: looked up again, the last good answer kept, connections follow."""

from __future__ import annotations

import asyncio
import socket

import pytest
from support.backends import Backend, backends
from support.proxying import until

from gateway.errors import BadGateway
from gateway.proxy import dial as dialling
from gateway.proxy.endpoint import Endpoint
from gateway.proxy.resolver import HostAddresses, SocketAddress, is_literal, system_lookup
from gateway.proxy.response_head import ResponseRules

V4, V6 = socket.AF_INET, socket.AF_INET6


def at(host: str, port: int = 1) -> SocketAddress:
    return SocketAddress(V6 if ":" in host else V4, (host, port))


class Names:
    """A name server under the test's control."""

    def __init__(self, *answer: SocketAddress) -> None:
        self.answer: tuple[SocketAddress, ...] | OSError = answer
        self.asked = 0
        self.hold: asyncio.Event | None = None

    async def __call__(self, host: str, port: int) -> tuple[SocketAddress, ...]:
        assert (host, port) == ("backend.test", port)
        self.asked += 1
        if self.hold is not None:
            await self.hold.wait()
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer


def addresses(names: Names, *, ttl: float = 0.02, in_use: bool = True) -> tuple[HostAddresses, list[frozenset[str]]]:
    told: list[frozenset[str]] = []
    made = HostAddresses("backend.test", 1, ttl=ttl, lookup=names, in_use=lambda: in_use, changed=told.append)
    return made, told


def test_literals_need_no_lookup() -> None:
    assert [is_literal(host) for host in ("127.0.0.1", "::1", "fe80::1%eth0", "localhost", "1.2.3.4.nip.io")] == [
        True, True, True, False, False
    ]  # fmt: skip


async def test_the_system_knows_localhost() -> None:
    assert any(address.where[:2] in {("127.0.0.1", 9), ("::1", 9)} for address in await system_lookup("localhost", 9))


async def test_families_take_turns_and_nothing_comes_twice() -> None:
    names = Names(at("::1"), at("::2"), at("::3"), at("10.0.0.1"), at("::1"))
    found, _ = addresses(names)
    assert [address.where[0] for address in await found.get()] == ["::1", "10.0.0.1", "::2", "::3"]
    found.close()


async def test_many_ask_at_once_and_one_lookup_answers_all_though_some_give_up() -> None:
    names = Names(at("10.0.0.1"))
    names.hold = asyncio.Event()
    found, _ = addresses(names, ttl=60)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await found.get()
    asked = asyncio.gather(*(found.get() for _ in range(5)))
    names.hold.set()
    assert {tuple(answer) for answer in await asked} == {(at("10.0.0.1"),)}
    await found.get()
    assert names.asked == 1
    found.close()


async def test_in_use_the_name_is_looked_up_again_and_changes_are_told_once() -> None:
    names = Names(at("10.0.0.1"))
    found, told = addresses(names)
    await found.get()
    await until(lambda: names.asked >= 3)
    assert told == []
    names.answer = (at("10.0.0.2"), at("10.0.0.3"))
    await until(lambda: bool(told))
    seen = names.asked
    await until(lambda: names.asked > seen + 2)
    assert told == [frozenset({"10.0.0.2", "10.0.0.3"})]
    found.close()
    seen = names.asked
    assert await found.get() == (at("10.0.0.2"), at("10.0.0.3"))
    assert names.asked == seen


@pytest.mark.parametrize("failure", [OSError("SERVFAIL"), ()])
async def test_a_failed_lookup_leaves_the_last_good_answer(failure: OSError | tuple[()]) -> None:
    names = Names(at("10.0.0.1"))
    found, told = addresses(names)
    await found.get()
    names.answer = failure
    await until(lambda: names.asked > 3)
    assert await found.get() == (at("10.0.0.1"),)
    assert told == []
    names.answer = (at("10.0.0.2"),)
    await until(lambda: bool(told))
    found.close()


async def test_out_of_use_it_is_looked_up_when_needed() -> None:
    names = Names(at("10.0.0.1"))
    found, _ = addresses(names, in_use=False)
    await found.get()
    await until(lambda: not found._fresh)
    assert names.asked == 1
    await found.get()
    assert names.asked == 2
    found.close()


async def test_failures_leave_no_timers_behind() -> None:
    expired: list[str] = []

    class Counted(HostAddresses):
        def _expire(self) -> None:
            expired.append("")
            super()._expire()

    names = Names()
    names.answer = OSError("SERVFAIL")
    found = Counted("backend.test", 1, ttl=0.02, lookup=names, in_use=lambda: False, changed=lambda _: None)
    for _ in range(5):
        with pytest.raises(OSError, match="SERVFAIL"):
            await found.get()
    names.answer = (at("10.0.0.1"),)
    for _ in range(3):
        found._fresh = False
        await found.get()
    await until(lambda: not found._fresh)
    assert expired == [""]
    found.close()


async def test_a_name_nobody_knows_is_an_unreachable_backend() -> None:
    names = Names()
    names.answer = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    endpoint = Endpoint("http://backend.test", ResponseRules(), lookup=names)
    for _ in range(2):
        with pytest.raises(BadGateway, match="Name or service not known"):
            await endpoint.connect(1.0)
    assert names.asked == 2
    endpoint.close()


async def test_a_lookup_that_hangs_costs_the_connect_timeout_only() -> None:
    names = Names()
    names.hold = asyncio.Event()
    endpoint = Endpoint("http://backend.test", ResponseRules(), lookup=names)
    with pytest.raises(BadGateway, match="in time"):
        await endpoint.connect(0.01)
    endpoint.close()
    names.hold.set()


async def served(endpoint: Endpoint) -> str:
    """The address of a new connection, which is kept."""
    connection = await endpoint.connect(2.0)
    assert connection.transport is not None
    endpoint.release(connection)
    return str(connection.transport.get_extra_info("peername")[0])


async def test_connections_to_addresses_that_left_are_drained() -> None:
    one, two = Backend("one"), Backend("two")
    await one.start()
    two.port, two.host = one.port, "127.0.0.2"
    await two.start()
    names = Names(at("127.0.0.1", one.port))
    endpoint = Endpoint(f"http://backend.test:{one.port}", ResponseRules(), lookup=names, dns_ttl=0.02)
    idle, busy = await endpoint.connect(2.0), await endpoint.connect(2.0)
    endpoint.release(idle)
    names.answer = (at("127.0.0.2", one.port),)
    await until(lambda: idle.transport is None)
    assert busy.transport is not None
    assert not busy.transport.is_closing()
    endpoint.release(busy)  # its request is done
    await until(lambda: busy.transport is None)
    assert await served(endpoint) == "127.0.0.2"
    seen = names.asked
    await until(lambda: names.asked > seen + 1)
    assert endpoint.open_connections == 1
    endpoint.close()
    await until(lambda: endpoint.open_connections == 0)
    await one.kill()
    await two.kill()


async def test_every_address_is_tried() -> None:
    async with backends("b") as (b,):
        dead = [at(f"127.0.0.{n}", b.port) for n in (3, 4, 5)]
        names = Names(*dead, at("127.0.0.1", b.port))
        endpoint = Endpoint(f"http://backend.test:{b.port}", ResponseRules(), lookup=names)
        assert await served(endpoint) == "127.0.0.1"
        names.answer = ()
        endpoint.close()
        await until(lambda: endpoint.open_connections == 0)


async def test_all_addresses_dead_is_the_last_error() -> None:
    async with backends("b") as (b,):
        port = b.port
    names = Names(at("127.0.0.3", port), at("127.0.0.4", port))
    endpoint = Endpoint(f"http://backend.test:{port}", ResponseRules(), lookup=names)
    with pytest.raises(BadGateway, match=r"refused|Connect call failed"):
        await endpoint.connect(2.0)
    endpoint.close()


async def test_an_address_that_does_not_answer_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialling, "ATTEMPT_DELAY", 0.01)
    with socket.create_server(("127.0.0.3", 0), backlog=0) as full:
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:  # the queue is full: further connections hang
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.3", port))
        b = Backend("b")
        b.port = port
        await b.start()
        names = Names(at("127.0.0.3", port), at("127.0.0.1", port))
        endpoint = Endpoint(f"http://backend.test:{port}", ResponseRules(), lookup=names)
        assert await served(endpoint) == "127.0.0.1"
        endpoint.close()
        await until(lambda: endpoint.open_connections == 0)
        await b.kill()
        for filler in fillers:
            filler.close()
