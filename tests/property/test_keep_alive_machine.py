"""One client connection and any sequence of requests on it, good and bad: every answer is the one to its request, in
order, and the connection stays or ends as it said.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from support.kinds import chunks, head
from support.proxying import RawUpstream, Setup, at_rest, hang_up, proxied, quiet, upstream
from support.strict import Answer, Seen, StrictPeer, read_answer

START = b"HTTP/1.1 200 OK\r\n"
SHAPES = ("counted", "chunked", "pieces", "interim", "trailers", "closing")
HOSTILE = {
    "two-lengths": START + b"Content-Length: 6\r\nContent-Length: 5\r\n\r\npoison",
    "garbage": b"poison\r\n\r\n",
    "twice": START + b"Content-Length: 2\r\n\r\nok" + START + b"Content-Length: 6\r\n\r\npoison",
    "half": START + b"Content-Length: 20\r\n\r\nhalf",
}
# Not made smaller when it fails: each try that hangs costs its time limit.
LIMITS = settings(max_examples=40, stateful_step_count=25, deadline=None, phases=[Phase.generate])
INVALID = (
    (b"GET /api/x HTTP/1.1\r\n\r\n", 400),
    (b"GET /api/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    (b"GET /api/../x HTTP/1.1\r\nHost: gateway.test\r\n\r\n", 400),
    (b"GET http://other.test/api/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n", 400),
    (b"POST /api/x HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    (b"POST /api/x HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
    (b"garbage\r\n\r\n", 400),
    (b"GET /api/" + b"a" * 9000 + b" HTTP/1.1\r\nHost: gateway.test\r\n\r\n", 414),
)


@dataclass(frozen=True)
class Expected:
    """What must come back: a status, and for 200 the target that the upstream saw and the size of the body."""

    method: bytes
    status: int
    target: bytes = b""
    size: int = 0


class Rig:
    """One gateway for all sequences: what one leaves behind would meet the next."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.strict = StrictPeer(respond)
        self.numbers = count()
        self.gateway: Setup
        self.up: RawUpstream
        self.runner.run(self._open())

    async def _open(self) -> None:
        await self.stack.enter_async_context(quiet())
        self.up = await self.stack.enter_async_context(upstream(self.strict.script))
        self.gateway = await self.stack.enter_async_context(proxied(self.up.port))

    def close(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()


async def respond(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Say back what came, in the shape the target asks for."""
    shape = seen.target.split(b"/")[-1].decode()
    if shape in HOSTILE:
        writer.write(HOSTILE[shape])
        return False
    body = b"%b %d %b" % (seen.target, len(seen.body), (seen.one(b"x-request-id") or b"none"))
    if seen.method == b"HEAD" or shape in ("counted", "closing", "interim"):
        interim = b"HTTP/1.1 103 Early Hints\r\n\r\n" if shape == "interim" else b""
        start = START + (b"Connection: close\r\n" if shape == "closing" else b"")
        told = b"" if seen.method == b"HEAD" else body
        writer.write(interim + start + b"Content-Length: %d\r\n\r\n%b" % (len(body), told))
        return shape != "closing"
    writer.write(START + b"Transfer-Encoding: chunked\r\n\r\n")
    for piece in (body[:10], body[10:]):
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        if shape == "pieces":
            await asyncio.sleep(0)
    writer.write(b"0\r\nX-Sum: 1\r\n\r\n" if shape == "trailers" else b"0\r\n\r\n")
    return True


class KeepAlive(RuleBasedStateMachine):
    """The rules write; what is owed is read before anything that ends the connection, and at the end."""

    def __init__(self, rig: Rig) -> None:
        super().__init__()
        self.rig = rig
        self.owed: deque[Expected] = deque()
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    @initialize()
    def begin(self) -> None:
        self.run(self.connect())

    @rule(
        shape=st.sampled_from(SHAPES),
        method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "OPTIONS"]),
        framing=st.sampled_from(["none", "counted", "chunked"]),
        body=st.binary(max_size=40),
        at_once=st.booleans(),
    )
    def ask(self, shape: str, method: str, framing: str, body: bytes, at_once: bool) -> None:
        if framing == "chunked":  # behind a chunked body only what comes after its end was seen is a request
            self.run(self.settle())
        target = self.target(shape)
        self.owed.append(Expected(method.encode(), 200, target.encode(), len(body) if framing != "none" else 0))
        if framing == "none":
            data = head(target, method=method)
        elif framing == "counted":
            data = head(target, f"Content-Length: {len(body)}", method=method) + body
        else:
            data = head(target, "Transfer-Encoding: chunked", method=method) + (chunks(body) if body else chunks())
        self.run(self.write(data, at_once or framing == "chunked"))
        if framing == "chunked":
            self.run(self.settle())

    @rule(credentials=st.sampled_from([None, "Bearer forged", "Basic YTpi"]))
    def ask_without_a_good_token(self, credentials: str | None) -> None:
        self.owed.append(Expected(b"GET", 401))
        self.run(self.write(head(self.target("counted"), credentials=credentials), True))

    @rule()
    def ask_for_nothing_known(self) -> None:
        self.owed.append(Expected(b"GET", 404))
        self.run(self.write(head("/nowhere"), True))

    @rule()
    def read(self) -> None:
        self.run(self.settle())

    @rule(invalid=st.sampled_from(INVALID))
    def ask_wrongly(self, invalid: tuple[bytes, int]) -> None:
        self.run(self.end(invalid[0], Expected(b"GET", invalid[1])))

    @rule(shape=st.sampled_from(SHAPES), version=st.sampled_from(["1.1", "1.0"]))
    def ask_for_the_last_time(self, shape: str, version: str) -> None:
        target = self.target("counted" if version == "1.0" else shape)
        lines = ("Connection: close",) if version == "1.1" else ()
        self.run(self.end(head(target, *lines, version=version), Expected(b"GET", 200, target.encode())))

    @rule(shape=st.sampled_from(SHAPES), cut=st.integers(1, 400))
    def leave_in_the_middle(self, shape: str, cut: int) -> None:
        self.run(self.leave(head(self.target(shape), "Content-Length: 9", method="POST")[:cut]))

    @rule(shape=st.sampled_from(sorted(HOSTILE)))
    def meet_a_broken_backend(self, shape: str) -> None:
        self.run(self.survive(head(self.target(shape))))

    def teardown(self) -> None:
        self.run(self.finish())

    # -- what the rules do

    def run(self, work) -> None:  # type: ignore[no-untyped-def]
        self.rig.runner.run(work)

    def target(self, shape: str) -> str:
        return f"/api/{next(self.rig.numbers)}/{shape}"

    async def connect(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.rig.gateway.port)

    async def write(self, data: bytes, at_once: bool) -> None:
        for piece in [data] if at_once else [data[:20], data[20:60], data[60:]]:
            self.writer.write(piece)
            await asyncio.sleep(0)

    async def settle(self) -> None:
        """Read everything that is owed."""
        while self.owed:
            expected = self.owed.popleft()
            answer = await self.read_one(expected.method)
            assert answer is not None
            self.compare(answer, expected)
            assert not answer.closes

    async def end(self, data: bytes, expected: Expected) -> None:
        """Send what ends the connection: one answer, then nothing more."""
        await self.settle()
        await self.write(data, True)
        version = b"1.0" if b" HTTP/1.0\r\n" in data else b"1.1"
        async with asyncio.timeout(10):
            answer = await read_answer(self.reader, expected.method, version)
            assert answer is not None
            self.compare(answer, expected)
            assert answer.closes
            assert await self.reader.read() == b""
        await self.again()

    async def leave(self, data: bytes) -> None:
        self.owed.clear()
        await self.write(data, True)
        await self.again()

    async def survive(self, data: bytes) -> None:
        await self.settle()
        await self.write(data, True)
        answer = await self.read_one(b"GET")
        if answer is None or not answer.complete:
            await self.again()
            return
        assert answer.status == 502
        assert not answer.closes

    async def finish(self) -> None:
        try:
            await self.settle()
        finally:
            await hang_up(self.writer)
        await at_rest(self.rig.gateway)
        assert self.rig.strict.flaws == []
        assert self.rig.gateway.notes.events == []

    async def again(self) -> None:
        await hang_up(self.writer)
        await self.connect()

    async def read_one(self, method: bytes) -> Answer | None:
        async with asyncio.timeout(10):
            return await read_answer(self.reader, method)

    @staticmethod
    def compare(answer: Answer, expected: Expected) -> None:
        assert answer.complete
        assert (answer.status, answer.informed) == (expected.status, 0)
        request_id = answer.fields[b"x-request-id"][0]
        if expected.method == b"HEAD":
            assert answer.body == b""
        elif expected.status == 200:
            assert answer.body == b"%b %d %b" % (expected.target, expected.size, request_id)
        else:
            assert b'"request_id":"%b"' % request_id in answer.body


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.close()


def test_any_sequence_of_requests_on_kept_connections(rig: Rig) -> None:
    run_state_machine_as_test(
        lambda: KeepAlive(rig),
        settings=LIMITS,
    )
    assert rig.up.connections > 1
