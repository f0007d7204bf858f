"""The scan of a request's headers and the head an upstream gets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gateway.errors import InvalidRequest
from gateway.proxy.header_actions import DROP, REFUSE, REQUEST_NAMES, Actions
from gateway.proxy.headers import RequestRules
from gateway.proxy.identity import IdentityHeaders, fold
from gateway.proxy.request_head import HeadWriter
from gateway.proxy.route_table import AuthMode, RouteSpec, UpstreamSpec

IDENTITY = IdentityHeaders([("X-User-Id", "sub")])
RULES = RequestRules(IDENTITY.folded, (b"__Host-gw_refresh",))
ENDPOINT: Any = SimpleNamespace(host_header=b"up.test")


def scan(*headers: tuple[bytes, bytes], trusted: bool = False) -> Any:
    return RULES.scan(headers, trusted=trusted)


def client(*, trusted: bool = False, address: str = "192.0.2.1", tls: bool = False) -> Any:
    return SimpleNamespace(
        trusted=trusted,
        address=address,
        ssl_context=object() if tls else None,
        forwarded=HeadWriter.forwarded(address, tls=tls),
    )


def route(auth: AuthMode = AuthMode.REQUIRED, *, preserve_host: bool = True) -> RouteSpec:
    return RouteSpec("r", "/", (UpstreamSpec("http://up.test"),), auth=auth, preserve_host=preserve_host)


@pytest.mark.parametrize(
    ("name", "folded"),
    [(b"X-User-Id", b"x-user-id"), (b"x_USER.id", b"x-user-id"), (b"A~9|b", b"a-9-b"), (b"\xff", b"-")],
)
def test_fold(name: bytes, folded: bytes) -> None:
    assert fold(name) == folded


def test_what_is_read_and_what_passes() -> None:
    head = scan(
        (b"HOST", b"a.test"),
        (b"user-agent", b"curl"),
        (b"X-Other", b"\xff"),
        (b"Accept", b"*/*"),
        (b"authorization", b"Bearer x"),
        (b"content-length", b"007"),
        (b"Expect", b"100-continue"),
        (b"Upgrade", b"a"),
        (b"Upgrade", b"b"),
        (b"x_user_id", b"evil"),
    )
    assert head.lines[1:] == [b"User-Agent: curl", b"X-Other: \xff", b"Accept: */*", b"Expect: 100-continue"]
    assert (head.host, head.user_agent, head.authorization) == (b"a.test", b"curl", b"Bearer x")
    assert (head.content_length, head.expect, head.upgrade) == (7, b"100-continue", b"a,b")


def test_several_authorization_headers_are_kept_apart() -> None:
    pair = (b"Authorization", b"a"), (b"authorization", b"b")
    assert scan(*pair).authorization == [b"a", b"b"]
    assert scan(*pair, (b"Authorization", b"c")).authorization == [b"a", b"b"]


@pytest.mark.parametrize(
    "headers",
    [
        [(b"Host", b"a"), (b"host", b"a")],
        [(b"Content-Length", b"1"), (b"Content-Length", b"1")],
        [(b"Content-Length", b"+1")],
        [(b"Content-Length", b"")],
        [(b"Transfer-Encoding", b"gzip")],
        [(b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"chunked")],
        [(b"Bad Name", b"x")],
        [(b"", b"x")],
    ],
)
def test_what_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(InvalidRequest):
        scan(*headers)


@pytest.mark.parametrize(
    ("cookie", "kept"),
    [
        (b"a=1; b=2", b"a=1; b=2"),
        (b"__Host-gw_refresh=x", None),
        (b"a=1; __Host-gw_refresh=x; b=2", b"a=1; b=2"),
        (b"__Host-gw_refresh2=x", b"__Host-gw_refresh2=x"),
        (b"a=__Host-gw_refresh", b"a=__Host-gw_refresh"),
        (b"\xe2\x80\x80__Host-gw_refresh=x;a=1", b"a=1"),
        (b"__host-GW_refresh=x", None),
        (b"", b""),
    ],
)
def test_own_cookies(cookie: bytes, kept: bytes | None) -> None:
    expected = [] if kept is None else [b"Cookie: " + kept]
    if not kept:
        expected = []
    assert scan((b"Cookie", cookie)).lines[1:] == expected


def test_headers_named_by_connection_are_dropped_but_not_those_that_frame() -> None:
    head = scan(
        (b"X-Hop", b"1"),
        (b"Connection", b"close, X-HOP, Host,Content-Length"),
        (b"Connection", b"x.other"),
        (b"Host", b"a"),
        (b"Content-Length", b"1"),
        (b"X_Other", b"1"),
        (b"X-Kept", b"1"),
    )
    assert head.lines[1:] == [b"X-Kept: 1"]
    assert (head.host, head.content_length) == (b"a", 1)
    assert scan((b"X-Kept", b"1"), (b"Connection", b"keep-alive")).lines[1:] == [b"X-Kept: 1"]


def test_names_are_remembered_but_not_without_bound() -> None:
    actions = Actions(REQUEST_NAMES, IDENTITY.folded, trusted=False)
    assert actions[b"Accept"] == b"Accept: "
    assert actions[b"X-User_Id"] == DROP
    assert actions[b"Content_Length"] == DROP
    assert actions[b"X-Forwarded-Anything"] == DROP
    assert actions[b"bad name"] == REFUSE
    assert actions[b"X" * 65] == b"X" * 65 + b": "
    assert b"X" * 65 not in actions
    for number in range(3000):
        assert actions[b"X-%d" % number] == b"X-%d: " % number
    assert len(actions) <= 1024


def write(head: Any, **options: Any) -> list[bytes]:
    choice = {"route": route(), "client": client(), "identity": b"", "forward": False} | options
    writer = HeadWriter(forward_authorization=choice["forward"])
    data = writer.write(head, "GET", b"/x", ENDPOINT, choice["route"], choice["client"], "id-1", choice["identity"])
    assert data.endswith(b"\r\n\r\n")
    return data[:-4].split(b"\r\n")


def test_the_head_of_an_untrusted_peer() -> None:
    head = scan((b"Host", b"a.test"), (b"Accept", b"*/*"), (b"Content-Length", b"3"), (b"X-Forwarded-For", b"1.1.1.1"))
    assert write(head, identity=b"X-User-Id: u\r\n") == [
        b"GET /x HTTP/1.1",
        b"Host: a.test",
        b"Accept: */*",
        b"Content-Length: 3",
        b"X-Forwarded-For: 192.0.2.1",
        b"X-Forwarded-Proto: http",
        b"X-Forwarded-Host: a.test",
        b"X-Request-Id: id-1",
        b"X-User-Id: u",
    ]


def test_without_a_host_and_with_the_upstreams_own() -> None:
    lines = write(scan((b"Transfer-Encoding", b"Chunked")), client=client(address="unix", tls=True))
    assert lines == [
        b"GET /x HTTP/1.1",
        b"Host: up.test",
        b"Transfer-Encoding: chunked",
        b"X-Forwarded-Proto: https",
        b"X-Request-Id: id-1",
    ]
    assert write(scan((b"Host", b"a")), route=route(preserve_host=False))[1] == b"Host: up.test"


def test_the_head_of_a_trusted_peer() -> None:
    given = scan(
        (b"Host", b"a.test"),
        (b"X-Forwarded-For", b"1.1.1.1"),
        (b"X-Forwarded-For", b"2.2.2.2"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", b"public.test"),
        (b"X-Request-Id", b"theirs"),
        (b"X-Real-Ip", b"1.1.1.1"),
        (b"X_Forwarded_For", b"evil"),
        trusted=True,
    )
    assert given.request_ids == [b"theirs"]
    assert write(given, client=client(trusted=True))[2:] == [
        b"X-Real-Ip: 1.1.1.1",
        b"X-Forwarded-For: 1.1.1.1, 2.2.2.2, 192.0.2.1",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: public.test",
        b"X-Request-Id: id-1",
    ]
    silent = write(scan((b"Host", b"a"), trusted=True), client=client(trusted=True, tls=True))
    assert silent[2:] == [
        b"X-Forwarded-For: 192.0.2.1", b"X-Forwarded-Proto: https", b"X-Forwarded-Host: a", b"X-Request-Id: id-1"
    ]  # fmt: skip
    bare = write(scan(trusted=True), client=client(trusted=True, address="unix"))
    assert bare[2:] == [b"X-Forwarded-Proto: http", b"X-Request-Id: id-1"]


@pytest.mark.parametrize(
    ("value", "auth", "forward", "passes"),
    [
        (b"Bearer x", AuthMode.REQUIRED, False, False),
        (b"Bearer x", AuthMode.REQUIRED, True, True),
        (b"Bearer x", AuthMode.NONE, False, False),
        (b" bearer\tx", AuthMode.OPTIONAL, False, False),
        (b"Basic x", AuthMode.NONE, False, True),
        (b"Basic x", AuthMode.OPTIONAL, False, True),
        (b"Basic x", AuthMode.REQUIRED, False, False),
    ],
)
def test_authorization(value: bytes, auth: AuthMode, forward: bool, passes: bool) -> None:
    head = (b"Authorization", value), (b"Host", b"a")
    lines = write(scan(*head), route=route(auth), forward=forward)
    assert (b"Authorization: " + value in lines) is passes
    named = write(scan(*head, (b"Connection", b"authorization")), route=route(auth), forward=forward)
    assert not any(line.startswith(b"Authorization") for line in named)
