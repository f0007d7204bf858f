"""Longest match wins, a host before any length."""

from __future__ import annotations

import pytest

from gateway.errors import MethodNotAllowed
from gateway.proxy.route_table import RouteSpec, RouteTable, UpstreamSpec, find_problems, is_reserved

UP = (UpstreamSpec("http://127.0.0.1:1"),)


def route(path: str, host: str | None = None, methods: tuple[str, ...] | None = None, **more: bool) -> RouteSpec:
    return RouteSpec(f"{host}{path}{methods}", path, UP, host=host, methods=methods, **more)  # type: ignore[arg-type]


TABLE = RouteTable(
    [
        route("/"),
        route("/api/"),
        route("/api/v2/"),
        route("/api/v2/exact"),
        route("/", "a.test"),
        route("/deep/", "*.test"),
        route("/deep/", "*.b.test"),
        route("/only", "C.Test"),
    ]
)


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        (None, "/", "/"),
        ("x", "/api", "/"),
        ("x", "/apix/", "/"),
        ("x", "/api/", "/api/"),
        ("x", "/api/x/y", "/api/"),
        ("x", "/api/v2/", "/api/v2/"),
        ("x", "/api/v2/exact", "/api/v2/exact"),
        ("x", "/api/v2/exact/", "/api/v2/"),
        ("a.test", "/api/v2/x", "a.test/"),
        ("q.test", "/deep/x", "*.test/deep/"),
        ("q.b.test", "/deep/x", "*.b.test/deep/"),
        ("b.test", "/deep/x", "*.test/deep/"),
        ("test", "/deep/x", "/"),
        (".test", "/deep/x", "/"),
        ("q.test", "/other", "/"),
        ("c.test", "/only", "C.Test/only"),
        ("c.test", "/only/x", "/"),
    ],
)
def test_find(host: str | None, path: str, expected: str) -> None:
    group = TABLE.find(host, path)
    assert group is not None
    found = group.select("GET")
    assert (found.host or "") + found.path == expected


def test_nothing_found_and_methods() -> None:
    table = RouteTable([route("/a", methods=("GET", "HEAD")), route("/a", methods=("POST",)), route("/b/", "h")])
    assert table.find("h", "/x") is None
    assert table.find("x", "/b/c") is None
    group = table.find(None, "/a")
    assert group is not None
    assert group.select("POST").methods == ("POST",)
    with pytest.raises(MethodNotAllowed) as caught:
        group.select("PUT")
    assert caught.value.allowed == ("GET", "HEAD", "POST")


def test_a_route_for_all_methods_takes_what_the_others_leave() -> None:
    table = RouteTable([route("/a"), route("/a", methods=("POST",)), route("/a")])
    group = table.find(None, "/a")
    assert group is not None
    assert group.select("POST").methods == ("POST",)
    assert group.select("PUT").methods is None


def test_sent_path() -> None:
    assert route("/api/", strip_prefix=True).sent_path("/api/x/y") == "/x/y"
    assert route("/api/", strip_prefix=True).sent_path("/api/") == "/"
    assert route("/", strip_prefix=True).sent_path("/x") == "/x"
    assert route("/api/").sent_path("/api/x") == "/api/x"
    assert route("/api", strip_prefix=True).sent_path("/api") == "/api"


@pytest.mark.parametrize(
    ("path", "reserved"),
    [("/auth", True), ("/auth/", True), ("/auth/x", True), ("/authx", False), ("/aut", False), ("/", False),
     ("/.well-known/jwks.json", True), ("/.well-known/jwks.json/", False), ("/x/auth", False)],
)  # fmt: skip
def test_is_reserved(path: str, reserved: bool) -> None:
    assert is_reserved(path, "/auth") is reserved


def test_problems_name_each_route_that_can_never_be_meant() -> None:
    routes = [
        route("/"),
        route("/auth/"),
        route("/auth/x"),
        route("/.well-known/jwks.json"),
        route("/", host="A"),
        route("/", host="a", methods=("GET",)),
        route("/", host="a"),
        route("/m", methods=("GET", "POST")),
        route("/m", methods=("POST", "PUT")),
        route("/m", methods=("PUT",)),
    ]
    found = {problem.index: problem.text for problem in find_problems(routes, "/auth")}
    assert set(found) == {1, 2, 3, 6, 8, 9}
    assert "belongs to the gateway" in found[1]
    assert found[6] == "matches the same requests as route 'A/None'"
    assert find_problems([route("/"), route("/a"), route("/a/")], "/auth") == []
