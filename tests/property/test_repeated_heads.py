"""Requests whose header block came before are answered as if each were the first: two gateways get the same bytes, one
of them always going the long way, and must do the same to the letter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.clock import FrozenClock
from support.proxying import CLAIMS, TOKEN, Setup, build

from gateway.proxy.aiohttp_private import ClientConnection
from gateway.proxy.endpoint import Endpoint
from gateway.proxy.header_rules import HeaderRules
from gateway.proxy.request_limits import RequestLimits
from gateway.proxy.route_table import AuthMode, RouteSpec, UpstreamSpec
from gateway.proxy.upstream import UpstreamConnection
from gateway.sessions.ports import FeedEntry, FeedKind
from gateway.throttle.gcra import Limit

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
ANSWERS = (
    ANSWER,
    b"HTTP/1.1 204 No Content\r\nSet-Cookie: a=b\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER,
)
UP = (UpstreamSpec("http://127.0.0.1:9"),)
LIMITED = RequestLimits(rate=Limit(4, 60.0), concurrency=2, per_client=1)
ROUTES = (
    RouteSpec("api", "/api/", UP),
    RouteSpec("strict", "/strict/", UP, strict_revocation=True),
    RouteSpec("admin", "/admin/", UP, roles=frozenset({"root"})),
    RouteSpec("optional", "/optional/", UP, auth=AuthMode.OPTIONAL, methods=("GET",)),
    RouteSpec("public", "/public/", UP, auth=AuthMode.NONE, preserve_host=False, strip_prefix=True),
    RouteSpec("changed", "/changed/", UP, request_headers=HeaderRules({"X-Set": "1"}, ("X-Gone",))),
    RouteSpec("limited", "/limited/", UP, limits=LIMITED),
)
OTHER = b"other-token"
BLOCKS = (
    b"Host: a\r\nAuthorization: Bearer good-token\r\n",
    b"Host: a\r\nAuthorization: Bearer other-token\r\nUser-Agent: u/1\r\nX-Gone: 1\r\nCookie: a=b; gw_access=x\r\n",
    b"Host: a\r\nauthorization: bearer  good-token \r\nConnection: keep-alive, x-gone\r\nX-Gone: 2\r\n",
    b"Host: a\r\nX-User-Id: 7\r\nX_User_Id: 8\r\nX-Forwarded-For: 1.2.3.4\r\nX-Request-Id: mine\r\n",
    b"Host: b:81\r\nAuthorization: Basic eA==\r\nAccept: */*\r\n",
    b"Host: a\r\nAuthorization: Bearer good-token\r\nAuthorization: Bearer good-token\r\n",
    b"Host: a\r\nAuthorization: Bearer good-token\r\nContent-Length: 0\r\n",
    b"Host: a\r\nAuthorization: Bearer good-token\r\nContent-Length: 2\r\n",
    b"Host: a\r\nAuthorization: Bearer good-token\r\nExpect: 100-continue\r\n",
    b"Host: a\r\nAuthorization: Bearer good-token\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n",
    b"Authorization: Bearer good-token\r\n",
)
BASES = ("/api/", "/strict/", "/admin/", "/optional/", "/public/", "/changed/", "/limited/", "/nowhere/", "/auth/me")
TAILS = ("x", "x?q=1", "x?access_token=1", "%61", "a%2fb", "a/../b", "x#f", "x?a#b", "\x7f", "\xe9", "x y", "")
REQUESTS = st.builds(
    lambda method, base, tail, version, block: (
        b"%b %b %b\r\n%b\r\n" % (method, (base + tail).encode("latin-1"), version, block)
    ),
    st.sampled_from((b"GET", b"GET", b"GET", b"HEAD", b"DELETE", b"POST", b"get", b"PURGE", b"TRACE", b"OPTIONS")),
    st.sampled_from(BASES),
    st.sampled_from(TAILS),
    st.sampled_from((b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0")),
    st.sampled_from(BLOCKS),
)
TARGETS = ("/api/x", "/api/y", "/strict/x", "/optional/x", "/public/x", "/changed/x", "/limited/x", "/auth/me")
VARIED = st.builds(
    lambda method, target, tail, version: b"%b %b%b %b" % (method, target.encode(), tail.encode("latin-1"), version),
    st.sampled_from((b"GET", b"HEAD", b"POST", b"get", b"TRACE")),
    st.sampled_from(TARGETS),
    st.sampled_from(("", "", "?q=1", "?access_token=1", "?x&access_token=1", "%61", "%2f", "/../b", "#f", "\xe9", " ")),
    st.sampled_from((b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0")),
)
# The same block again and again: enough to make it known, then other request lines, or the same one.
SAME = st.tuples(st.just("again"), st.tuples(st.integers(0, len(BLOCKS) - 1), st.sampled_from(TARGETS)))
VARY = st.tuples(st.just("vary"), st.lists(VARIED, min_size=1, max_size=4))
EVENTS = ("revoke", "epoch", "keys", "stale", "fresh", "wait", "expire", "drain", "change", "trickle", "batch")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), REQUESTS), SAME, SAME, VARY, VARY, st.tuples(st.sampled_from(EVENTS), st.just("")),
        st.tuples(st.just("answers"), st.sampled_from(ANSWERS)),
    ),
    min_size=3, max_size=25,
)  # fmt: skip


class Wire(asyncio.Transport):
    """A transport that ends in a list; `peer` answers what is written."""

    def __init__(self, taken: list[bytes], peer: Callable[[bytes], None] | None = None) -> None:
        super().__init__()
        self.taken, self.peer, self.closed = taken, peer, False

    def write(self, data: Any) -> None:
        self.taken.append(bytes(data))
        if self.peer is not None:
            self.peer(data)

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 9)}.get(name, default)

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.taken.append(b"<eof>")

    def close(self) -> None:
        self.taken.append(b"<end>" if not self.closed else b"")
        self.closed = True

    abort = close


class Side:
    """A gateway whose sockets are lists. `long_way`: it takes no request the short way."""

    def __init__(self, *, long_way: bool) -> None:
        self.long_way = long_way
        self.clock = FrozenClock()
        self.answer = ANSWER
        self.block = BLOCKS[0]
        self.sent: list[bytes] = []
        self.received: list[bytes] = []
        self.short = 0
        self.setups = [self.made(build(ROUTES, clock=self.clock))]
        self.client: ClientConnection
        self.connect()

    def made(self, setup: Setup) -> Setup:
        setup.verifier.tokens[TOKEN] = replace(CLAIMS, expires_at=int(self.clock.now()) + 900)
        setup.verifier.tokens[OTHER] = replace(CLAIMS, session_id="s-2", subject="u-2", username="bob")
        numbers = count()
        proxy: Any = setup.proxy
        proxy._new_id = lambda received, trusted: proxy._fresh_id()
        proxy._fresh_id = lambda: f"{next(numbers):032x}"
        for endpoint in proxy._upstreams.endpoints:
            endpoint.take = partial(self.connection, endpoint)
        repeat = proxy.repeat

        def counted(*args: Any) -> bool:
            taken = not self.long_way and repeat(*args)
            self.short += taken
            return taken

        proxy.repeat = counted
        # Its tasks would be the event loop's business.
        proxy._hand_over = lambda client, message, payload, target: (
            self.received.append(b"<own>"),
            client.done(keep_alive=True),
        )
        return setup

    def connection(self, endpoint: Endpoint, now: float, *, repeatable: bool) -> UpstreamConnection:
        """There always is one, so that no task has to make it."""
        while endpoint._idle:
            kept = endpoint._idle.pop()
            if kept.transport is not None and not kept.transport.is_closing():
                return kept
        connection = UpstreamConnection(endpoint, asyncio.get_running_loop())
        connection.connection_made(Wire(self.sent, lambda data: connection.data_received(self.answer)))
        return connection

    @property
    def now(self) -> Setup:
        return self.setups[-1]

    def connect(self) -> None:
        self.client = self.now.front()
        self.wire = Wire(self.received)
        self.client.connection_made(self.wire)

    def feed(self, data: bytes) -> None:
        if self.wire.closed or b"<eof>" in self.received[-2:]:
            self.received.append(b"<new>")
            self.connect()
        self.client.data_received(data)

    def step(self, kind: str, value: Any, at: int) -> None:
        if kind == "answers":
            self.answer = value
        elif kind in ("wait", "expire"):
            self.clock.advance(16.0 if kind == "wait" else 901.0)
        elif kind in ("ask", "again", "vary", "trickle", "batch"):
            self.request(kind, value)
        else:
            self.happen(kind, at)

    def request(self, kind: str, value: Any) -> None:
        if kind == "ask":
            self.feed(value)
        elif kind == "again":
            self.block = BLOCKS[value[0]]
            for _ in range(3):
                self.feed(self.get(value[1].encode()))
        elif kind == "vary":
            for line in value:
                self.feed(b"%b\r\n%b\r\n" % (line, self.block))
        elif kind == "trickle":
            # Cut where what comes last looks like a whole request of its own.
            self.feed(b"GET /public/y HTTP/1.1\r\nX: 1\r\n")
            self.feed(self.get(b"/api/x"))
        else:
            self.feed(self.get(b"/api/x") + self.get(b"/api/y"))

    def get(self, target: bytes) -> bytes:
        return b"GET %b HTTP/1.1\r\n%b\r\n" % (target, self.block)

    def happen(self, kind: str, at: int) -> None:
        setup = self.now
        if kind == "revoke":
            setup.index.apply([FeedEntry(at, FeedKind.SESSION, CLAIMS.session_id, 0, 4e9)])
        elif kind == "epoch":
            setup.index.apply([FeedEntry(at, FeedKind.USER, "u-2", 1, 4e9)])
        elif kind == "keys":
            ring: Any = setup.cache._ring
            ring.epoch += 1
            setup.verifier.tokens.pop(OTHER, None)
        elif kind in ("stale", "fresh"):
            setup.stale[0] = 10.0 if kind == "stale" else 0.0
        elif kind == "drain":
            setup.proxy.draining = True
        else:
            after = self.made(build(ROUTES[1:], clock=self.clock, before=setup.proxy))
            setup.front.change_over(after.proxy)
            after.front = setup.front
            self.setups.append(after)

    def record(self) -> list[Any]:
        """All that can be seen from outside."""
        notes = [setup.notes for setup in self.setups]
        log = [line for note in notes for line in note.requests]
        return [self.sent, self.received, log, [n.receipts for n in notes], [n.events for n in notes]]


async def both(steps: list[tuple[str, Any]]) -> tuple[Any, int]:
    """The first step after which the two differ and in what, None for none; and how often the short way was taken."""
    short, long = Side(long_way=False), Side(long_way=True)
    for at, (kind, value) in enumerate(steps):
        short.step(kind, value, at)
        long.step(kind, value, at)
        for found, expected in zip(short.record(), long.record(), strict=True):
            if found != expected:
                return (at, kind, value, found, expected), short.short
    for side in (short, long):
        side.now.proxy.close()
        side.client.connection_lost(None)
    assert long.short == 0
    return None, short.short


API, STRICT, LIMIT = ("again", (0, "/api/x")), ("again", (0, "/strict/x")), ("again", (0, "/limited/x"))
LINES = [
    b"GET /api/z HTTP/1.1",
    b"GET /public/z HTTP/1.1",
    b"GET /auth/me HTTP/1.1",
    b"GET /api/z?access_token=1 HTTP/1.1",
]
OLD = [b"GET /api/x HTTP/1.0"]


@settings(max_examples=150, deadline=None)
@given(STEPS)
@example([API, ("revoke", ""), ("vary", LINES[:1])])
@example([API, ("keys", ""), ("vary", LINES[:1])])
@example([API, ("drain", ""), ("vary", LINES[:1])])
@example([API, ("expire", ""), ("vary", LINES[:1])])
@example([API, ("change", ""), ("vary", LINES[:1])])
@example([API, ("trickle", ""), ("vary", LINES[:1])])
@example([API, ("batch", ""), ("vary", LINES)])
@example([API, ("vary", LINES)])
@example([API, ("vary", OLD)])
@example([("answers", ANSWERS[-1]), ("again", (8, "/api/x"))])
@example([STRICT, ("stale", ""), ("vary", [b"GET /strict/x HTTP/1.1"]), ("fresh", ""), STRICT])
@example([LIMIT, LIMIT, ("wait", ""), LIMIT])
@example([("again", (at, "/api/x")) for at in range(len(BLOCKS))])
@example([("again", (at, "/public/x")) for at in range(len(BLOCKS))])
def test_short_and_long_way_do_the_same(steps: list[tuple[str, Any]]) -> None:
    difference, _ = asyncio.run(both(steps))
    assert difference is None


def test_the_short_way_is_taken() -> None:
    # Two requests make a block known; it stays known for other paths of the same route.
    assert asyncio.run(both([API, ("vary", LINES[:1])])) == (None, 2)
    assert asyncio.run(both([("again", (0, "/public/x"))])) == (None, 1)
    never = [("again", (at, "/api/x")) for at in (6, 7, 9)]
    assert asyncio.run(both(never)) == (None, 0)
