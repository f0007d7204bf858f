"""The string that was matched is the string that is sent; what reads two ways is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aiohttp import web
from support.proxying import TOKEN, answering, field_of, get, proxied, routes_to, status_of, upstream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def line_of(head: bytes) -> bytes:
    return head.partition(b"\r\n")[0]


@pytest.mark.parametrize(
    "path",
    [
        "/api/../admin", "/api/..", "/api/.", "/api/./x", "/api/%2e%2e/admin", "/api/.%2e/x", "/api/%2E./x", "/api/%2e",
        "/api/a%2fb", "/api/a%5cb", "/api/a%00b", "/api/a%3bb", "/api/a%23b", "/api/a#b", "/api/x?q#f", "/api/a\\b",
        "/api/a;x=1", "/api/..;/x", "/api/a;", "//api/x", "/api//x", "//admin", "/api/%", "/api/%2", "/api/%zz",
        "/api/%252e%252e/x", "/api/%252fx", "/api/%25%32%65", "/api/%c0%ae%c0%ae/x", "/api/%ff", "/api/%ed%a0%80",
        "/api/%0d%0aX:y", "/api/%09", "/api/%7f", "/api/\xe9", "/api/%e9",
    ],
)  # fmt: skip
async def test_ambiguous_paths_are_refused(path: str) -> None:
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        answer = await gateway.talk(get(path))
    assert status_of(answer) == 400
    assert field_of(answer, b"Content-Type") == b"application/problem+json"
    assert up.heads == []


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("/%61pi/x", "/api/x"),
        ("/api/%7euser/%41%2D", "/api/~user/A-"),
        ("/api/caf%c3%a9%20au", "/api/caf%C3%A9%20au"),
        ("/api/...", "/api/..."),
        ("/api/.hidden", "/api/.hidden"),
        ("/api/a%25bc", None),
        ("/api/100%25", "/api/100%25"),
        ("/api/x?a=../..&b=%2e%2f;//\\", "/api/x?a=../..&b=%2e%2f;//\\"),
        ("/api/x?", "/api/x?"),
        ("/api/x??", "/api/x??"),
        ("/api/a@b:c=d,e+f", "/api/a@b:c=d,e+f"),
        ("/api/", "/api/"),
        ("http://gateway.test/api/x?y", "/api/x?y"),
        ("http://GATEWAY.test:80/api/x", "/api/x"),
    ],
)
async def test_what_is_matched_is_sent(asked: str, sent: str | None) -> None:
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        status = status_of(await gateway.talk(get(asked)))
    if sent is None:
        assert (status, up.heads) == (400, [])
    else:
        assert status == 200
        assert line_of(up.heads[0]) == f"GET {sent} HTTP/1.1".encode()


@pytest.mark.parametrize("path", ["/api", "/api../admin", "/apiadmin", "/", "/Api/x", "/api%20/x"])
async def test_prefixes_end_at_segments(path: str) -> None:
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        assert status_of(await gateway.talk(get(path))) == 404
    assert up.heads == []


@pytest.mark.parametrize("asked", ["/%61dmin/x", "/admin/x", "/admi%6e/x"])
async def test_encoded_letters_do_not_pass_by_a_stricter_route(asked: str) -> None:
    async with upstream(answering(OK)) as up:
        public = replace(routes_to(up.port)[2], path="/")
        admin = replace(routes_to(up.port)[0], path="/admin/")
        async with proxied([public, admin]) as gateway:
            assert status_of(await gateway.talk(get(asked, token=None))) == 401
            assert status_of(await gateway.talk(get("/other?/admin/", token=None))) == 200
    assert [line_of(head) for head in up.heads] == [b"GET /other?/admin/ HTTP/1.1"]


@pytest.mark.parametrize(
    "request_",
    [
        b"GET http://evil/api/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
        b"GET http://gateway.test:81/api/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
        b"GET http://u@gateway.test/api/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
        b"GET http://u@gateway.test/api/x HTTP/1.1\r\nHost: u@gateway.test\r\n\r\n",
        b"GET ftp://gateway.test/api/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
        b"GET http://gateway.test/api/../x HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
        b"GET /api/x HTTP/1.1\r\nHost: a@evil\r\n\r\n",
        b"GET /api/x HTTP/1.1\r\nHost:\r\n\r\n",
        b"GET /api/x HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET /api/x HTTP/1.1\r\nHost: a/b\r\n\r\n",
        b"GET /api/x HTTP/1.1\r\nHost: a:b\r\n\r\n",
        b"GET /api/x HTTP/1.1\r\nHost: a:99999\r\n\r\n",
        b"GET /api/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /api/x HTTP/1.1\r\n\r\n",
        b"GET http://gateway.test/api/x HTTP/1.0\r\n\r\n",
    ],
)
async def test_hosts_that_contradict_or_are_none(request_: bytes) -> None:
    request_ = request_[:-2] + b"Authorization: Bearer " + TOKEN + b"\r\nConnection: close\r\n\r\n"
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        assert status_of(await gateway.talk(request_)) == 400
    assert up.heads == []


@pytest.mark.parametrize(
    "line", ["CONNECT evil:443 HTTP/1.1", "TRACE /api/x HTTP/1.1", "OPTIONS * HTTP/1.1", "CONNECT /api/x HTTP/1.1"]
)
async def test_methods_that_are_never_forwarded(line: str) -> None:
    request = f"{line}\r\nHost: gateway.test\r\nAuthorization: Bearer good-token\r\nConnection: close\r\n\r\n"
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        assert status_of(await gateway.talk(request.encode())) in {405, 400}
        if "/api/x" not in line or "TRACE" in line:
            assert gateway.notes.requests[0][2] == 405
    assert up.heads == []


async def test_methods_of_a_route_and_hosts() -> None:
    async with upstream(answering(OK)) as up:
        base = routes_to(up.port)[2]
        routes = [
            replace(base, name="get", path="/m", methods=("GET", "HEAD")),
            replace(base, name="post", path="/m", methods=("POST",)),
            replace(base, name="exact", host="gateway.test", path="/"),
            replace(base, name="wild", host="*.gateway.test", path="/"),
        ]
        async with proxied(routes) as gateway:
            refused = await gateway.talk(get("/m", method="DELETE").replace(b"gateway.test", b"other"))
            await gateway.talk(get("/m", method="POST").replace(b"gateway.test", b"other:8080"))
            await gateway.talk(get("/m"))
            await gateway.talk(get("/x").replace(b"gateway.test", b"A.b.Gateway.Test.:80"))
            missing = await gateway.talk(get("/x").replace(b"gateway.test", b"notgateway.test"))
    assert status_of(refused) == 405
    assert field_of(refused, b"Allow") == b"GET, HEAD, POST"
    assert [entry[3] for entry in gateway.notes.requests] == [None, "post", "exact", "wild", None]
    assert status_of(missing) == 404


async def test_strip_prefix_base_path_and_own_host() -> None:
    async with upstream(answering(OK)) as up:
        spec = replace(
            routes_to(up.port)[2],
            upstreams=(replace(routes_to(up.port)[2].upstreams[0], url=f"http://127.0.0.1:{up.port}/base/"),),
            strip_prefix=True,
            preserve_host=False,
        )
        async with proxied([spec]) as gateway:
            await gateway.talk(get("/public/a/b?c"))
            await gateway.talk(get("/public/"))
            assert status_of(await gateway.talk(get("/public//evil.com/x"))) == 400
    assert [line_of(head) for head in up.heads] == [b"GET /base/a/b?c HTTP/1.1", b"GET /base/ HTTP/1.1"]
    assert field_of(up.heads[0], b"Host") == f"127.0.0.1:{up.port}".encode()
    assert field_of(up.heads[0], b"X-Forwarded-Host") == b"gateway.test"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/files/a%2Fb", 200),
        ("/files/a%2f..%2fb", 400),
        ("/files/..%2fadmin", 400),
        ("/files/%2fetc", 400),
        ("/files/a%5cb", 400),
        ("/api/a%2fb", 400),
        ("/nowhere/a%2fb", 400),
    ],
)
async def test_encoded_slashes_only_where_a_route_takes_them(path: str, status: int) -> None:
    async with upstream(answering(OK)) as up:
        files = replace(routes_to(up.port)[2], name="files", path="/files/", allow_encoded_slash=True)
        async with proxied([files, *routes_to(up.port)]) as gateway:
            assert status_of(await gateway.talk(get(path))) == status
    assert [line_of(head) for head in up.heads] == ([b"GET /files/a%2Fb HTTP/1.1"] if status == 200 else [])


async def test_reserved_paths_go_to_the_own_api_under_every_spelling_and_only_they() -> None:
    seen = []

    async def own(request: web.Request) -> web.Response:
        seen.append(request.raw_path)
        return web.Response(text="own")

    app = web.Application()
    app.router.add_get("/auth", own)
    app.router.add_get("/auth/{tail:.*}", own)
    app.router.add_get("/.well-known/jwks.json", own)
    async with upstream(answering(OK)) as up:
        public = replace(routes_to(up.port)[2], path="/")
        async with proxied([public], app=app) as gateway:
            own_paths = [
                "/auth/me?a=%2e", "/%61uth/login", "/auth", "http://gateway.test/auth/me", "/.well-known/jwks%2Ejson",
            ]  # fmt: skip
            for path in own_paths:
                assert (await gateway.talk(get(path))).endswith(b"own")
            for path in ("/authx", "/Auth/login", "/x/auth/login", "/.well-known/jwks.json/", "/auth%20/x"):
                assert (await gateway.talk(get(path))).endswith(b"ok")
            for path in ("/auth/../x", "/x/%2e%2e/auth/login", "//auth/login", "/auth//x", "/auth;x", "/auth%2flogin"):
                assert status_of(await gateway.talk(get(path))) == 400
    assert seen == ["/auth/me?a=%2e", "/auth/login", "/auth", "/auth/me", "/.well-known/jwks.json"]
    assert len(up.heads) == 5
