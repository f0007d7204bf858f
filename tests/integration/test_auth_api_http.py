"""What holds for every call: bodies, methods, paths, origins, request ids, failures."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator

import pytest
from support.api import PASSWORD, PUBLIC_URL, Api, ApiBench, ApiSetup, serving

from gateway.auth_api.services import ApiLimits
from gateway.errors import GatewayError, StoreUnavailable
from gateway.events import Name

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
APP = "https://app.example.com"


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    bench = ApiBench(ApiSetup(allowed_origins=(APP,), trusted_proxies=("127.0.0.1",)))
    await bench.add_user()
    async with serving(bench) as api:
        yield api


class TestBodies:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b" ",
            b"x",
            b"null",
            b"[]",
            b'"text"',
            b"1",
            b"{",
            b"{}{}",
            b'{"username": "ada", "password": "x",}',
            b'{"username": "ada", "username": "eve", "password": "x"}',
            b'{"username": "ada", "password": "x", "more": {"a": 1, "a": 2}}',
            b'{"username": "ada", "\\u0075sername": "eve", "password": "x"}',
            b'{"username": "\\ud800", "password": "x"}',
            b'{"username": "ada", "password": "\\udfff\\ud800"}',
            b'{"username": "\xff", "password": "x"}',
            b'{"username": "\xed\xa0\x80", "password": "x"}',
            b'\xef\xbb\xbf{"username": "ada", "password": "x"}',
            '{"username": "ada", "password": "x"}'.encode("utf-16"),
            b'{"username": "ada", "password": "x", "n": NaN}',
            b'{"username": "ada", "password": "x", "n": Infinity}',
            b'{"username": "ada", "password": "x", "n": ' + b"9" * 5000 + b"}",
            b'{"username": "ada", "password": "x", "n": ' + b"[" * 5000 + b"]" * 5000 + b"}",
            b'{"a":' * 2500 + b"1" + b"}" * 2500,
            b"[" * 5000 + b"]" * 5000,
            b"[" * 16000,
            b'{"username": "a\nb", "password": "x"}',
        ],
    )
    async def test_what_is_no_json_object(self, api: Api, data: bytes) -> None:
        answer = await api.post("login", data=data, headers=JSON)
        assert (answer.status, answer.error) == (400, "invalid_request")

    @pytest.mark.parametrize(
        "kind",
        [
            "text/plain",
            "text/plain; application/json",
            "application/jsonp",
            "application/json-patch+json",
            "application/xml",
            "multipart/form-data; boundary=x",
            "application/json; charset=utf-16",
            "application/json; charset=latin-1",
            "json",
            "",
            "application/json, text/plain",
        ],
    )
    async def test_other_content_types(self, api: Api, kind: str) -> None:
        data = json.dumps({"username": "ada", "password": PASSWORD})
        for path in ("login", "refresh", "logout", "revoke"):
            answer = await api.post(path, data=data, headers={"Content-Type": kind})
            assert (answer.status, answer.error) == (415, "unsupported_media_type")

    @pytest.mark.parametrize(
        "kind",
        ["application/json", "Application/JSON", "application/json;charset=UTF-8", 'application/json; charset="utf-8"'],
    )
    async def test_json_in_its_spellings(self, api: Api, kind: str) -> None:
        data = json.dumps({"username": "ada", "password": PASSWORD})
        assert (await api.post("login", data=data, headers={"Content-Type": kind})).status == 200

    async def test_a_body_needs_a_type(self, api: Api) -> None:
        assert (await api.post("login", data=b"{}")).error == "unsupported_media_type"
        assert (await api.post("login")).error == "invalid_request"

    async def test_forms_only_where_they_belong(self, api: Api) -> None:
        assert (await api.post("refresh", data="refresh_token=x", headers=FORM)).error == "unsupported_media_type"
        assert (await api.post("logout", data="refresh_token=x", headers=FORM)).error == "unsupported_media_type"

    async def test_compressed_bodies_and_two_types(self, api: Api) -> None:
        answer = await api.post("refresh", data=b"{}", headers=JSON | {"Content-Encoding": "gzip"})
        assert (answer.status, answer.error) == (415, "unsupported_media_type")
        line = b"Content-Type: application/json\r\n"
        raw = await api.raw(
            b"POST /auth/login HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n" + line * 2 + b"\r\n{}"
        )
        assert b" 400 " in raw.partition(b"\r\n")[0]

    async def test_the_limit(self, api: Api) -> None:
        frame = {"username": "ada", "password": "x"}
        room = 16 * 1024 - len(json.dumps(frame | {"pad": ""}))
        fits = json.dumps(frame | {"pad": "p" * room}).encode()
        assert len(fits) == 16 * 1024
        assert (await api.post("login", data=fits, headers=JSON)).error == "invalid_credentials"
        answer = await api.post("login", data=fits + b" ", headers=JSON)
        assert (answer.status, answer.error) == (413, "payload_too_large")

    async def test_a_password_of_a_megabyte(self, api: Api) -> None:
        body = json.dumps({"username": "ada", "password": "x" * 2**20}).encode()
        answer = await api.post("login", data=io.BytesIO(body), headers=JSON)
        assert answer.error == "payload_too_large"

    async def test_a_hundred_megabytes_are_refused_unread(self, api: Api) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", api.client.port)
        writer.write(
            b"POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            b"Content-Length: 104857600\r\n\r\n"
        )
        head = await asyncio.wait_for(reader.readuntil(b"\r\n"), 10)
        writer.close()
        assert head.startswith(b"HTTP/1.1 413")

    async def test_streamed_bodies_are_bounded_too(self, api: Api) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(64):
                yield b" " * 1024

        answer = await api.post("login", data=chunks(), headers=JSON)
        assert (answer.status, answer.error) == (413, "payload_too_large")

    async def test_a_broken_chunk(self, api: Api) -> None:
        raw = await api.raw(
            b"POST /auth/login HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n"
            b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\nzz\r\n'
        )
        assert b" 400 " in raw.partition(b"\r\n")[0]

    async def test_a_client_that_leaves_is_no_defect(self, api: Api) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", api.client.port)
        writer.write(
            b"POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n"
        )
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).startswith(b"HTTP/1.1 100")
        writer.transport.abort()
        assert (await api.post("login", json={})).status == 400
        assert api.bench.named(Name.REQUEST_FAILED) == []

    async def test_a_body_that_never_comes(self) -> None:
        bench = ApiBench(ApiSetup(limits=ApiLimits(body_timeout=0.05)))
        async with serving(bench) as api:
            reader, writer = await asyncio.open_connection("127.0.0.1", api.client.port)
            writer.write(
                b"POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
            )
            head = await asyncio.wait_for(reader.readuntil(b"\r\n"), 10)
            writer.close()
            assert head.startswith(b"HTTP/1.1 408")


class TestMethodsAndPaths:
    @pytest.mark.parametrize(
        ("method", "path", "allow"),
        [
            ("GET", "login", "OPTIONS, POST"),
            ("PUT", "login", "OPTIONS, POST"),
            ("HEAD", "login", "OPTIONS, POST"),
            ("GET", "refresh", "OPTIONS, POST"),
            ("POST", "me", "GET, HEAD, OPTIONS"),
            ("DELETE", "sessions", "GET, HEAD, OPTIONS"),
            ("GET", "sessions/x", "DELETE, OPTIONS"),
            ("POST", "openapi.json", "GET, HEAD, OPTIONS"),
            ("POST", "/.well-known/jwks.json", "GET, HEAD, OPTIONS"),
            ("TRACE", "me", "GET, HEAD, OPTIONS"),
        ],
    )
    async def test_not_allowed(self, api: Api, method: str, path: str, allow: str) -> None:
        answer = await api.call(method, path)
        assert answer.status == 405
        assert answer.headers["Allow"] == allow
        assert answer.headers["Cache-Control"] == "no-store"
        assert method == "HEAD" or answer.error == "method_not_allowed"

    @pytest.mark.parametrize(
        "path",
        ["/auth", "/auth/", "/auth/login/", "/auth/Login", "/auth//login", "/", "/auth/x", "/.well-known/jwks.json/"],
    )
    async def test_not_found(self, api: Api, path: str) -> None:
        for method in ("GET", "POST"):
            answer = await api.call(method, path)
            assert (answer.status, answer.error) == (404, "not_found")
            assert answer.headers["X-Request-Id"] == answer.json["request_id"]

    async def test_head(self, api: Api) -> None:
        answer = await api.call("HEAD", "me", bearer=(await api.login()).json["access_token"])
        assert (answer.status, answer.body) == (200, b"")
        assert (await api.call("HEAD", "me")).status == 401

    async def test_options(self, api: Api) -> None:
        answer = await api.call("OPTIONS", "login")
        assert (answer.status, answer.headers["Allow"]) == (204, "OPTIONS, POST")
        assert (await api.call("OPTIONS", "nothing")).status == 404

    async def test_another_prefix(self) -> None:
        bench = ApiBench(ApiSetup(prefix="/gate/auth"))
        await bench.add_user()
        async with serving(bench) as api:
            assert (await api.login()).status == 200
            assert (await api.call("POST", "/auth/login")).status == 404


class TestCors:
    async def test_preflight(self, api: Api) -> None:
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        answer = await api.call("OPTIONS", "login", headers=asked | {"Origin": APP})
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Origin"] == APP
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]
        assert "Content-Type" in answer.headers["Access-Control-Allow-Headers"]
        assert answer.headers["Vary"].startswith("Origin")
        for origin in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {}):
            refused = await api.call("OPTIONS", "login", headers=asked | origin)
            assert (refused.status, refused.error) == (403, "cross_site_request")
            assert "Access-Control-Allow-Origin" not in refused.headers

    async def test_answers_and_errors_are_readable_to_allowed_pages_only(self, api: Api) -> None:
        login = await api.login(headers={"Origin": APP})
        assert login.headers["Access-Control-Allow-Origin"] == APP
        assert login.headers["Access-Control-Allow-Credentials"] == "true"
        assert login.headers["Vary"] == "Origin"
        error = await api.get("me", headers={"Origin": APP})
        assert error.status == 401
        assert error.headers["Access-Control-Allow-Origin"] == APP
        foreign = await api.get("me", headers={"Origin": "https://evil.example"})
        assert "Access-Control-Allow-Origin" not in foreign.headers
        assert foreign.headers["Vary"] == "Origin"
        own = await api.post("logout", headers={"Origin": PUBLIC_URL})
        assert own.status == 204

    @pytest.mark.parametrize("path", ["login", "refresh", "logout", "logout-all", "revoke", "password"])
    async def test_every_call_that_changes_state_is_guarded(self, api: Api, path: str) -> None:
        for headers in ({"Origin": "null"}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            answer = await api.post(path, json={"username": "ada", "password": PASSWORD}, headers=headers)
            assert (answer.status, answer.error) == (403, "cross_site_request")
            assert answer.cookies == ()


class TestRequests:
    async def test_request_ids(self, api: Api) -> None:
        kept = await api.get("me", headers={"X-Request-Id": "abc-1"})
        assert kept.headers["X-Request-Id"] == kept.json["request_id"] == "abc-1"
        made = await api.get("me", headers={"X-Request-Id": "not one"})
        assert made.headers["X-Request-Id"] != "not one"
        assert len(made.headers["X-Request-Id"]) == 32

    async def test_an_address_from_a_trusted_proxy(self, api: Api) -> None:
        login = await api.login(headers={"X-Forwarded-For": "evil, 203.0.113.7"})
        answer = await api.get("sessions", bearer=login.json["access_token"])
        assert answer.json["sessions"][0]["ip"] == "203.0.113.7"

    async def test_a_user_agent_in_odd_bytes(self, api: Api) -> None:
        body = json.dumps({"username": "ada", "password": PASSWORD}).encode()
        raw = await api.raw(
            b"POST /auth/login HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n"
            b"User-Agent: \xff\xfe" + b"x" * 2000 + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        assert raw.startswith(b"HTTP/1.1 200")
        (event,) = api.bench.named(Name.LOGIN_SUCCEEDED)
        assert event.user_agent is not None
        assert event.user_agent.startswith("\ufffd\ufffdx")
        assert len(event.user_agent) <= 512

    async def test_a_defect_is_a_500_that_tells_nothing(self, api: Api) -> None:
        token = (await api.login()).json["access_token"]

        async def broken(user_id: str) -> object:
            raise RuntimeError("secret in a message")

        api.bench.sessions.list_sessions = broken  # type: ignore[method-assign,assignment]
        answer = await api.get("sessions", bearer=token)
        assert (answer.status, answer.error) == (500, "server_error")
        assert b"secret" not in answer.body
        (event,) = api.bench.named(Name.REQUEST_FAILED)
        assert event.request_id == answer.json["request_id"]
        assert event.fields["exception.type"] == "RuntimeError"
        assert "broken" in str(event.fields["exception.stacktrace"])
        assert "secret" not in str(event)

    async def test_an_error_nobody_translated(self, api: Api) -> None:
        token = (await api.login()).json["access_token"]

        async def broken(user_id: str) -> object:
            raise GatewayError(debug="too many roles")

        api.bench.sessions.list_sessions = broken  # type: ignore[method-assign,assignment]
        answer = await api.get("sessions", bearer=token)
        assert (answer.status, answer.error) == (500, "server_error")
        assert api.bench.named(Name.REQUEST_FAILED)

    async def test_a_store_that_is_down(self, api: Api) -> None:
        token = (await api.login()).json["access_token"]

        async def down(user_id: str) -> object:
            raise StoreUnavailable(debug="disk full")

        api.bench.sessions.list_sessions = down  # type: ignore[method-assign,assignment]
        answer = await api.get("sessions", bearer=token)
        assert (answer.status, answer.error) == (503, "temporarily_unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
        (event,) = api.bench.named(Name.STORE_FAILED)
        assert event.fields["reason"] == "disk full"


class TestPublic:
    async def test_jwks(self, api: Api) -> None:
        answer = await api.call("GET", "/.well-known/jwks.json")
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "public, max-age=300"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        (key,) = answer.json["keys"]
        assert key["alg"] == "EdDSA"
        assert "d" not in key
        tag = answer.headers["ETag"]
        same = await api.call("GET", "/.well-known/jwks.json", headers={"If-None-Match": tag})
        assert (same.status, same.body, same.headers["ETag"]) == (304, b"", tag)
        assert (await api.call("GET", "/.well-known/jwks.json", headers={"If-None-Match": '"x"'})).status == 200
        assert (await api.call("GET", "/.well-known/jwks.json", headers={"If-None-Match": "*"})).status == 304
