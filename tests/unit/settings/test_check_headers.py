"""Which headers a route may change, how large its answers may be, and how that reaches the data plane."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.policies import route_specs
from gateway.proxy.route_table import RouteSpec
from gateway.settings.loader import ConfigError, load

ROUTE = {"name": "a", "match": {"path": "/a/"}, "upstream": "http://127.0.0.1:9000"}


def spec(tmp_path: Path, **keys: Any) -> RouteSpec:
    path = tmp_path / "gateway.yaml"
    path.write_text(json.dumps({"routes": [ROUTE | keys]}))
    [route] = route_specs(load(path, {}).settings)
    return route


def refused(tmp_path: Path, **keys: Any) -> tuple[str, str]:
    with pytest.raises(ConfigError) as caught:
        spec(tmp_path, **keys)
    [problem] = caught.value.problems
    return problem.path, problem.message


def test_off_by_default(tmp_path: Path) -> None:
    route = spec(tmp_path)
    assert (route.request_headers, route.response_headers, route.response_limit, route.total_timeout) == (None,) * 4
    assert spec(tmp_path, request_headers={"set": {}, "remove": []}).request_headers is None


def test_what_may_be_changed(tmp_path: Path) -> None:
    csp = "default-src 'self'; report-uri /r"
    route = spec(
        tmp_path,
        request_headers={"set": {"X-Tenant": "bl\u00fc"}, "remove": ["Cookie", "Accept-Encoding"]},
        response_headers={"set": {"Content-Security-Policy": csp}, "remove": ["Server", "Set-Cookie"]},
        limits={"response_body": "10MiB"},
        timeouts={"total": "2m"},
    )
    lines = [b"GET / HTTP/1.1", b"cookie: a", b"B: 1"]
    assert route.request_headers is not None
    assert route.response_headers is not None
    route.request_headers.apply(lines)
    assert lines == [b"GET / HTTP/1.1", b"B: 1", "X-Tenant: bl\u00fc".encode()]
    head = route.response_headers.changed(b"HTTP/1.1 200 OK\r\nserver: x\r\n")
    assert head == b"HTTP/1.1 200 OK\r\nContent-Security-Policy: " + csp.encode() + b"\r\n"
    assert (route.response_limit, route.total_timeout) == (10 * 1024 * 1024, 120.0)


@pytest.mark.parametrize("side", ["request_headers", "response_headers"])
@pytest.mark.parametrize(
    "name",
    [
        "X-User-Id", "x_user_id", "X.User.Roles", "Host", "Authorization", "Connection", "Keep-Alive", "TE", "Trailer",
        "Transfer-Encoding", "Transfer_Encoding", "Content-Length", "Content-Encoding", "Upgrade", "Proxy-Connection",
        "Proxy-Authorization", "X-Request-Id", "X-Forwarded-For", "Sec-WebSocket-Key", "Expect",
    ],
)  # fmt: skip
def test_what_belongs_to_http_or_the_gateway(tmp_path: Path, side: str, name: str) -> None:
    path, message = refused(tmp_path, **{side: {"set": {name: "x"}}})
    assert path == f"routes[0].{side}.set.{name}" or name in path
    assert message == f"{name} belongs to HTTP or to the gateway"
    path, message = refused(tmp_path, **{side: {"remove": ["X-A", name]}})
    assert path == f"routes[0].{side}.remove[1]"
    assert message == f"{name} belongs to HTTP or to the gateway"


@pytest.mark.parametrize(
    "value", ["", " a", "a ", "a\r\nX-User-Id: evil", "a\nb", "a\x00", "a\x7f", "x" * 5000, 1, None]
)
def test_values_that_are_no_line(tmp_path: Path, value: Any) -> None:
    assert "response_headers.set" in refused(tmp_path, response_headers={"set": {"X-A": value}})[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"set": {"Cookie": "a=1"}}, "can be removed but not set"),
        ({"set": {"Set-Cookie": "a=1"}}, "can be removed but not set"),
        ({"set": {"X-A": "1"}, "remove": ["x_a"]}, "the same header"),
        ({"set": {"X-A": "1", "x-a": "2"}}, "the same header"),
        ({"remove": ["X A"]}, "is not a header name"),
        ({"set": {"X-A:": "1"}}, "is not a header name"),
        ({"add": {"X-A": "1"}}, "add"),
    ],
)
def test_names_that_collide_or_are_none(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path, found = refused(tmp_path, request_headers=changes)
    assert message in found + path


def test_an_identity_header_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    route = ROUTE | {"request_headers": {"set": {"x_who": "me"}}}
    path.write_text(json.dumps({"identity": {"headers": {"X-Who": "sub"}}, "routes": [route]}))
    with pytest.raises(ConfigError):
        load(path, {})


@pytest.mark.parametrize(("keys", "place"), [
    ({"timeouts": {"total": 0}}, "timeouts.total"),
    ({"timeouts": {"total": "2d"}}, "timeouts.total"),
    ({"limits": {"response_body": -1}}, "limits.response_body"),
])  # fmt: skip
def test_limits_that_cannot_be_meant(tmp_path: Path, keys: dict[str, Any], place: str) -> None:
    assert place in refused(tmp_path, **keys)[0]
