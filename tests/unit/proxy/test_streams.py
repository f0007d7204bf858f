"""Open streams: ended by revocation, or at their token's end unless the session was refreshed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from support.clock import FrozenClock
from support.proxying import CLAIMS, until

from gateway.errors import StoreUnavailable
from gateway.proxy.streams import GRACE, OpenStreams
from gateway.tokens.claims import AccessClaims


class Line:
    """A stream that knows whether it was ended."""

    def __init__(self, streams: OpenStreams, claims: AccessClaims) -> None:
        self.streams, self.claims, self.ended = streams, claims, 0

    def end_stream(self) -> None:
        self.ended += 1
        self.streams.remove(self, self.claims)


class Bench:
    def __init__(self) -> None:
        self.clock = FrozenClock(float(CLAIMS.issued_at))
        self.known: dict[str, float] = {}
        self.asked: list[list[str]] = []
        self.down = False
        self.revoked: set[str] = set()
        self.looked = 0
        self.streams = OpenStreams(self._holds, self.clock, self._until)

    def _holds(self, claims: AccessClaims) -> bool:
        self.looked += 1
        return claims.session_id not in self.revoked and claims.subject not in self.revoked

    async def _until(self, sids: Sequence[str]) -> Mapping[str, float]:
        self.asked.append(list(sids))
        if self.down:
            raise StoreUnavailable
        return {sid: self.known[sid] for sid in sids if sid in self.known}

    def open(self, sid: str, life: int = 300, *, user: str = "u", strict: bool = False) -> Line:
        expires = int(self.clock.now()) + life
        line = Line(self.streams, replace(CLAIMS, session_id=sid, subject=user, expires_at=expires))
        self.known.setdefault(sid, expires + 0.9)
        self.streams.add(line, line.claims, strict=strict)
        return line

    async def later(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.streams.check()


async def test_at_the_tokens_end_only_sessions_refreshed_since_go_on() -> None:
    bench = Bench()
    lines = {name: bench.open(name) for name in ("refreshed", "idle", "gone")}
    second = bench.open("refreshed")
    del bench.known["gone"]
    start = bench.clock.now()
    bench.known["refreshed"] = start + 500.5
    await bench.later(299)
    assert bench.asked == []
    await bench.later(1)
    assert bench.asked == [["gone", "idle", "refreshed"]]
    assert [line.ended for line in (*lines.values(), second)] == [0, 1, 1, 0]
    await bench.later(199)
    assert len(bench.asked) == 1
    bench.known["refreshed"] = start + 700
    await bench.later(1)
    assert (len(bench.asked), second.ended) == (2, 0)
    await bench.later(200)
    assert (lines["refreshed"].ended, second.ended, len(bench.streams)) == (1, 1, 0)
    bench.streams.close()


async def test_a_store_that_cannot_be_asked_gives_grace_but_not_to_strict_routes() -> None:
    bench = Bench()
    line, strict = bench.open("s"), bench.open("s", strict=True)
    bench.known["s"] = bench.clock.now() + 900
    bench.down = True
    await bench.later(300)
    assert (line.ended, strict.ended) == (0, 1)
    await bench.later(GRACE - 1)
    assert line.ended == 0
    bench.down = False
    await bench.later(2)
    assert line.ended == 0
    bench.down = True
    await bench.later(900)
    assert line.ended == 1
    bench.streams.close()


async def test_the_grace_ends() -> None:
    bench = Bench()
    line = bench.open("s")
    bench.down = True
    await bench.later(300)
    for _ in range(29):
        await bench.later(2)
        assert line.ended == 0
    await bench.later(2)
    assert line.ended == 1
    bench.streams.close()


async def test_without_a_store_streams_end_with_their_token() -> None:
    bench = Bench()
    bench.streams = OpenStreams(lambda _: True, bench.clock)
    line = bench.open("s")
    await bench.later(300)
    assert line.ended == 1
    bench.streams.close()


async def test_a_user_is_revoked_without_looking_at_anybody_else() -> None:
    bench = Bench()
    others = [bench.open(f"s{n}", user=f"u{n}") for n in range(500)]
    mine = [bench.open(f"m{n}", user="me") for n in range(3)]
    bench.looked = 0
    bench.revoked = {"me"}
    bench.streams.revoked(None, "me")
    bench.streams.revoked(None, "nobody")
    assert bench.looked == 3
    assert [line.ended for line in mine] == [1, 1, 1]
    assert not any(line.ended for line in others)
    bench.streams.revoked("s7", None)
    assert (bench.looked, len(bench.streams)) == (4, 500)
    bench.streams.close()


async def test_what_was_revoked_before_it_began_ends_at_once_and_leaves_nothing() -> None:
    bench = Bench()
    bench.revoked = {"s"}
    line = bench.open("s")
    assert (line.ended, len(bench.streams)) == (1, 0)
    bench.revoked = set()
    for _ in range(100):
        line = bench.open("s")
        bench.streams.remove(line, line.claims)
        bench.streams.remove(line, line.claims)
    assert (len(bench.streams), line.ended) == (0, 0)
    assert len(bench.streams._seconds) == 1
    assert bench.streams._by_user == bench.streams._by_session == {}
    await bench.later(300)
    assert bench.asked == []
    bench.streams.close()


async def test_the_timer_looks_by_itself_and_one_look_serves_all() -> None:
    bench = Bench()
    lines = [bench.open(f"s{n}", life=0) for n in range(50)]
    await until(lambda: all(line.ended for line in lines))
    assert len(bench.asked) == 1
    late = bench.open("late", life=0)
    await until(lambda: late.ended == 1)
    bench.streams.close()


async def test_closing_ends_a_look_under_way() -> None:
    bench = Bench()
    never = asyncio.Event()
    started = asyncio.Event()

    async def hang(_: Sequence[str]) -> Mapping[str, float]:
        started.set()
        await never.wait()
        return {}

    bench.streams = OpenStreams(lambda _: True, bench.clock, hang)
    line = bench.open("s", life=0)
    await asyncio.wait_for(started.wait(), 5)
    look = bench.streams._check
    assert look is not None
    bench.streams.close()
    with contextlib.suppress(asyncio.CancelledError):
        await look
    assert (line.ended, bench.streams._timer) == (0, None)
