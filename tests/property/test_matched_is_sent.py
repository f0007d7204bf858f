"""The differential path test: the string the route table matched is byte for byte what the upstream received, and the
query what the client sent. Whatever cannot have one meaning reaches no upstream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.proxying import RawUpstream, Script, Setup, hang_up, proxied, read_all, status_of, upstream

from gateway.proxy.route_table import AuthMode, RouteGroup, RouteSpec, RouteTable, UpstreamSpec

CORPUS = tuple(
    line.encode("ascii").decode("unicode_escape").encode("latin-1")
    for line in (Path(__file__).parents[1] / "data" / "targets.txt").read_text("ascii").splitlines()
    if not line.startswith("## ")
)
SHAPES = {
    # name: host, path, strip_prefix, path of the upstream's URL, allow_encoded_slash
    "all": (None, "/", False, "", False),
    "api": (None, "/api/", False, "", False),
    "exact": (None, "/exact", False, "/base", False),
    "strip": (None, "/strip/", True, "", False),
    "strip to base": (None, "/strip/strip/", True, "/base/v1", False),
    "slashes": (None, "/enc/", False, "", True),
    "slashes stripped": (None, "/encstrip/", True, "/base", True),
    "one host": ("one.test", "/", True, "/one", False),
    "below a host": ("*.below.test", "/api/", True, "", False),
}
HOSTS = (b"gateway.test", b"one.test", b"a.below.test", b"ONE.test:80")
_SERVED = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Rig:
    """A listening proxy with all shapes of routes, a raw upstream, and a spy on the route table."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self.matched: list[str] = []
        self.gateway: Setup
        self.up: RawUpstream

    def open(self, patch: pytest.MonkeyPatch) -> None:
        find = RouteTable.find

        def spy(table: RouteTable, host: str | None, path: str) -> RouteGroup | None:
            self.matched.append(path)
            return find(table, host, path)

        patch.setattr(RouteTable, "find", spy)
        self.runner.run(self._open())

    async def _open(self) -> None:
        self.up = await self._stack.enter_async_context(upstream(served))
        routes = [
            RouteSpec(
                name,
                path,
                (UpstreamSpec(f"http://127.0.0.1:{self.up.port}{base}"),),
                host=host,
                strip_prefix=strip,
                auth=AuthMode.NONE,
                allow_encoded_slash=slash,
            )
            for name, (host, path, strip, base, slash) in SHAPES.items()
        ]
        self.gateway = await self._stack.enter_async_context(proxied(routes))

    def close(self) -> None:
        self.runner.run(self._stack.aclose())
        self.runner.close()

    def check(self, target: bytes, host: bytes) -> int:
        """Ask for `target` twice, so that the second answer comes from what is remembered; its status."""
        return self.runner.run(self._check(target, host))

    async def _check(self, target: bytes, host: bytes) -> int:
        self.gateway.proxy._resolved.clear()
        self.matched.clear()
        first, sent = await self._ask(target, host)
        again, sent_again = await self._ask(target, host)
        assert (first, sent) == (again, sent_again)
        if sent is None:
            assert first in {400, 404, 405, 414}, target
            return first
        assert first == 200
        assert len(set(self.matched)) == 1
        self._compare(target, sent, self.matched[0], self.gateway.notes.requests[-1][3])
        return first

    async def _ask(self, target: bytes, host: bytes) -> tuple[int, bytes | None]:
        before = len(self.up.heads)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.gateway.port)
        try:
            writer.write(b"GET %b HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % (target, host))
            async with asyncio.timeout(10):
                answer = await read_all(reader)
        finally:
            await hang_up(writer)
        assert answer.count(b"HTTP/1.1 ") == 1
        arrived = self.up.heads[before:]
        assert len(arrived) <= 1
        if not arrived:
            return status_of(answer), None
        method, sent, version = arrived[0].split(b"\r\n")[0].split(b" ")
        assert (method, version) == (b"GET", b"HTTP/1.1")
        return status_of(answer), sent

    @staticmethod
    def _compare(target: bytes, sent: bytes, matched: str, route: str) -> None:
        _, prefix, strip, base, encoded_slash = SHAPES[route]
        path, mark, query = target.partition(b"?")
        sent_path, sent_mark, sent_query = sent.partition(b"?")
        assert (sent_mark, sent_query) == (mark, query), target
        kept = matched[len(prefix) - 1 :] if strip else matched
        assert sent_path == (base + kept).encode("ascii"), target
        assert matched.startswith(prefix) if prefix.endswith("/") else matched == prefix
        if not path.startswith(b"/"):  # absolute form
            path = path[path.index(b"://") + 3 :]
            path = path[path.index(b"/") :] if b"/" in path else b"/"
        assert unquote_to_bytes(matched) == unquote_to_bytes(path), target
        for reading in readings(sent_path):
            segments = reading.split(b"/")
            assert b"" not in segments[1:-1], target
            assert not {b".", b".."} & set(segments), target
            assert not set(b"\0;\\#\r\n\t") & set(reading), target
            assert encoded_slash or reading.count(b"/") == sent_path.count(b"/"), target


def readings(path: bytes) -> list[bytes]:
    """Every way a backend might read a path: decoded up to three times, with either slash."""
    found = [path]
    for _ in range(3):
        found.append(unquote_to_bytes(found[-1]))
    return [reading.replace(b"\\", b"/") for reading in found]


def served(raw: RawUpstream) -> Script:
    async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await raw.head(reader)
            writer.write(_SERVED)

    return follow


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with pytest.MonkeyPatch.context() as patch:
        made = Rig()
        made.open(patch)
        yield made
        made.close()


@pytest.mark.parametrize("host", HOSTS)
def test_every_target_of_the_corpus(rig: Rig, host: bytes) -> None:
    found = {target: rig.check(target, host) for target in CORPUS}
    served = [target for target, status in found.items() if status == 200]
    assert len(found) == len(CORPUS)
    assert b"/api/%61dmin" in served
    assert len(served) > 20
    for target, status in found.items():
        if b"://" in target and not target.startswith(b"/") and host != HOSTS[0]:
            assert status == 400, target


def test_long_targets(rig: Rig) -> None:
    assert rig.check(b"/api/" + b"a" * 8000, HOSTS[0]) == 200
    assert rig.check(b"/api/" + b"%61" * 2600 + b"?" + b"%61" * 60, HOSTS[0]) == 200
    assert rig.check(b"/api/x?" + b"a" * 9000, HOSTS[0]) == 414
    assert rig.check(b"/api/" + b"a/" * 4000 + b"..", HOSTS[0]) == 400


pieces = st.sampled_from(
    b"/ // . .. %2e %2E %2f %2F %5c \\ %25 %252e %252f %00 %0a %61 %41 %7e %c3%a9 %c3 %c0%ae %ff %ef%bc%8f %3b ; %23 # "
    b"%3f ? & = @ : * % %u002e %zz + %20 \xc3\xa9 \xff ~ a api enc encstrip strip exact auth admin http:// "
    b"gateway.test one.test".split(b" ")
)
anything = st.binary(max_size=6).map(lambda raw: raw.translate(None, b"\r\n "))
prefixes = st.sampled_from(b" / /api/ /strip/ /strip/strip/ /enc/ /encstrip/ /exact http://gateway.test *".split(b" "))
targets = st.builds(
    lambda prefix, parts: prefix + b"".join(parts), prefixes, st.lists(pieces | anything, min_size=1, max_size=8)
)


@settings(max_examples=400, deadline=None)
@given(targets, st.sampled_from(HOSTS))
def test_any_target(rig: Rig, target: bytes, host: bytes) -> None:
    rig.check(target, host)
