"""Routing, targets and headers under arbitrary input, and the differential test: matched == received."""

from __future__ import annotations

import asyncio
from urllib.parse import unquote_to_bytes

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.proxying import RawUpstream, Script, get, hang_up, proxied, read_all, routes_to, status_of, upstream

from gateway.errors import BadGateway, InvalidRequest
from gateway.proxy.headers import RequestRules
from gateway.proxy.identity import IdentityHeaders, fold
from gateway.proxy.response_head import ResponseRules
from gateway.proxy.route_table import AuthMode, RouteSpec, RouteTable, UpstreamSpec
from gateway.proxy.target import normalise, split

UP = (UpstreamSpec("http://up.test"),)
IDENTITY = IdentityHeaders([("X-User-Id", "sub"), ("X-User-Roles", "roles")])
RULES = RequestRules(IDENTITY.folded, (b"__Host-gw_refresh",))

pieces = st.sampled_from(
    [
        "/",
        "a",
        "api",
        "admin",
        ".",
        "..",
        "%2e",
        "%2E",
        "%2f",
        "%5c",
        "%61",
        "%41",
        "%25",
        "%252e",
        "%00",
        "%c3%a9",
        "%ff",
        ";",
        "\\",
        "%3b",
        "%20",
        "~",
        "%7e",
        "-",
        "%",
        "%zz",
        "%u002e",
        "\u00e9",
        "*",
        "@",
        ":",
        "=",
        "%23",
        "%3f",
        "..;",
        "//",
    ]
)
paths = st.lists(pieces, max_size=8).map(lambda parts: "/" + "".join(parts))


def laxest(path: str) -> list[bytes]:
    """Every way a backend might read a path: decoded up to three times, with either slash, parameters cut off."""
    readings = [path.encode()]
    for _ in range(3):
        readings.append(unquote_to_bytes(readings[-1]))
    return [reading.replace(b"\\", b"/") for reading in readings]


@given(paths)
def test_a_path_has_one_reading_or_is_refused(path: str) -> None:
    try:
        found, encoded_slash = normalise(path)
    except InvalidRequest:
        return
    assert normalise(found) == (found, encoded_slash)
    for reading in laxest(found):
        segments = reading.split(b"/")
        assert b"" not in segments[1:-1]
        assert not {b".", b".."} & set(segments)
        assert not set(b"\0;\\#") & set(reading.partition(b"?")[0])
        if not encoded_slash:
            assert reading.count(b"/") == found.count("/")
    assert unquote_to_bytes(found) == unquote_to_bytes(path)


@given(st.text(max_size=40))
def test_any_text_is_split_and_normalised_or_refused(text: str) -> None:
    try:
        target = split(text)
        path, _ = normalise(target.path)
    except InvalidRequest:
        return
    assert path.startswith("/")
    assert path.isascii()
    assert path.isprintable()


segments = st.sampled_from(["a", "b", "ab", "a.b"])
route_paths = st.tuples(st.lists(segments, max_size=3), st.booleans()).map(
    lambda made: "/" + "".join(f"{segment}/" for segment in made[0]) if made[1] else "/" + "/".join(made[0])
)
hosts = st.sampled_from([None, "a.test", "b.a.test", "*.test", "*.a.test"])


def score(route: RouteSpec, host: str, path: str) -> tuple[int, int, int] | None:
    """How well a route matches, by the contract's sentence: host before path length."""
    if route.host is None:
        by_host = (0, 0)
    elif route.host.startswith("*."):
        if not host.endswith(route.host[1:]):
            return None
        by_host = (1, len(route.host))
    elif route.host == host:
        by_host = (2, 0)
    else:
        return None
    matches = path.startswith(route.path) if route.path.endswith("/") else path == route.path
    return (*by_host, len(route.path)) if matches else None


@given(st.lists(st.tuples(hosts, route_paths), max_size=8), st.sampled_from(["a.test", "b.a.test", "x"]), route_paths)
def test_the_table_agrees_with_the_sentence(rows: list[tuple[str | None, str]], host: str, path: str) -> None:
    routes = [RouteSpec(str(n), where, UP, host=on) for n, (on, where) in enumerate(rows)]
    scored = [(score(route, host, path), -int(route.name), route) for route in routes]
    matching = [entry for entry in scored if entry[0] is not None]
    group = RouteTable(routes).find(host, path)
    if not matching:
        assert group is None
    else:
        assert group is not None
        assert group.select("GET") is max(matching, key=lambda entry: entry[:2])[2]


name_bytes = st.binary(min_size=1, max_size=12) | st.sampled_from(
    [b"X-User-Id", b"x_user_id", b"X.User.Roles", b"Connection", b"Cookie", b"X-Forwarded-For", b"Accept", b"Host"]
)
value_bytes = st.binary(max_size=20) | st.sampled_from(
    [b"close, x-user-id", b"a=1; __Host-gw_refresh=secret", b"keep-alive"]
)


@given(st.lists(st.tuples(name_bytes, value_bytes), max_size=10), st.booleans())
def test_no_header_of_a_client_folds_into_an_identity_header(headers: list[tuple[bytes, bytes]], trusted: bool) -> None:
    try:
        head = RULES.scan(headers, trusted=trusted)
    except InvalidRequest:
        return
    for line in head.lines[1:]:
        name, colon, value = line.partition(b": ")
        assert colon
        assert fold(name) not in IDENTITY.folded
        assert (
            name == b"Cookie"
            or (name, value) in [(n, v) for n, v in headers]
            or name.lower() in {b"user-agent", b"expect"}
        )
        assert not (name == b"Cookie" and b"__Host-gw_refresh=" in value)


@given(st.binary(max_size=10), st.lists(st.tuples(name_bytes, value_bytes), max_size=6))
def test_an_answers_head_is_as_many_lines_as_it_says_or_refused(
    reason: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    raw = b"".join(b"%b: %b\r\n" % header for header in headers)
    try:
        head = ResponseRules().read(b"HTTP/1.1 200 %b\r\n%b\r\n" % (reason, raw)).head
    except BadGateway:
        return
    assert head.endswith(b"\r\n")
    lines = head[:-2].split(b"\r\n")
    assert len(lines) <= 1 + raw.count(b"\r\n")
    assert not any(b"\r" in line or b"\n" in line or line == b"" for line in lines)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(paths, min_size=1, max_size=10),
    st.lists(st.sampled_from(["?", "a", "%2e", "/", "..", "=", "&"]), max_size=4),
)
def test_the_string_matched_is_the_string_the_upstream_receives(asked: list[str], query: list[str]) -> None:
    """Each path asked for is either refused without reaching a backend, or arrives as it was matched and logged."""

    def script(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                await raw.head(reader)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        return follow

    async def run() -> None:
        tail = "?" + "".join(query) if query else ""
        async with upstream(script) as up:
            public = RouteSpec("all", "/", routes_to(up.port)[0].upstreams, auth=AuthMode.NONE)
            admin = RouteSpec("admin", "/admin/", public.upstreams)
            async with proxied([public, admin]) as gateway:
                for path in asked:
                    before, logged = len(up.heads), len(gateway.notes.requests)
                    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
                    writer.write(get(path + tail, token=None).decode("latin-1").encode("utf-8"))
                    answer = await read_all(reader)
                    await hang_up(writer)
                    [entry] = gateway.notes.requests[logged:]
                    if status_of(answer) != 200:
                        assert len(up.heads) == before
                        continue
                    target = up.heads[-1].split(b" ")[1].decode()
                    assert target == entry[1] + tail
                    assert RouteTable([public, admin]).find(None, entry[1]).select("GET").name == entry[3] == "all"  # type: ignore[union-attr]
                    for reading in laxest(target.partition("?")[0]):
                        assert not reading.lower().startswith(b"/admin/")

    asyncio.run(run())
