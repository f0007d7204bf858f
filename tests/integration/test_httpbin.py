"""A real backend, httpbin under gunicorn: the same answers through the proxy as without it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pytest
import pytest_asyncio
from support.proxying import CLAIMS, TOKEN, Setup, proxied, routes_to

from gateway.proxy.route_table import AuthMode, UpstreamSpec

# What the contract says differs on the way back and on the way in.
ANSWER_HEADERS = {"x-request-id", "date", "connection"}
# What the proxy adds. Sent along on the direct way too, so that echoes of the request are the same bytes.
ADDED = {
    "X-Forwarded-For": "127.0.0.1",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "backend.test",
    "X-User-Id": CLAIMS.subject,
    "X-User-Name": CLAIMS.username,
    "X-User-Email": "alice@example.com",
    "X-User-Roles": "user,editor",
    "X-Session-Id": CLAIMS.session_id,
}


class Case(NamedTuple):
    """One request."""

    method: str
    path: str
    headers: Mapping[str, str] = MappingProxyType({})
    body: bytes | None = None
    chunked: bool = False


class Answer(NamedTuple):
    """What came back."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    log = tmp_path_factory.mktemp("httpbin") / "log"
    command = [sys.executable, "-W", "ignore", "-m", "gunicorn", "-k", "gthread", "--threads", "4", "-w", "1"]
    command += ["-b", f"127.0.0.1:{port}", "--keep-alive", "5", "httpbin:app"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=log.parent)
    try:
        wait_for(port, process, log)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.05)
    raise AssertionError(f"httpbin did not start: {log.read_text()}")


@pytest_asyncio.fixture
async def gateway(backend: int) -> AsyncIterator[Setup]:
    upstreams = (UpstreamSpec(f"http://127.0.0.1:{backend}"),)
    everything = replace(routes_to(backend)[0], path="/", upstreams=upstreams, auth=AuthMode.REQUIRED)
    async with proxied([everything]) as setup:
        yield setup


def varied() -> list[Case]:
    cases = [Case(m, "/anything/a/b?x=1&y=%2F..&z") for m in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")]
    cases += [Case("HEAD", path) for path in ("/get", "/anything", "/image/png", "/bytes/100?seed=1", "/status/404")]
    statuses = (200, 201, 202, 203, 204, 205, 206, 300, 301, 302, 303, 304, 307, 308, 400, 401, 402, 403, 404, 405, 406,
                409, 410, 412, 413, 415, 418, 422, 429, 500, 501, 502, 503, 504)  # fmt: skip
    cases += [Case(method, f"/status/{code}") for code in statuses for method in ("GET", "POST", "DELETE")]
    cases += [Case("GET", path) for path in (
        "/", "/get", "/headers", "/ip", "/user-agent", "/gzip", "/deflate", "/brotli", "/encoding/utf8", "/html",
        "/xml", "/json", "/robots.txt", "/deny", "/image/png", "/image/jpeg", "/image/svg", "/image/webp", "/links/5/0",
        "/redirect/2", "/relative-redirect/2", "/redirect-to?url=http%3A%2F%2Fexample.com%2F", "/absolute-redirect/1",
        "/cookies", "/cookies/set?a=1&b=2", "/cookies/set/c/3", "/cookies/delete?a", "/cache", "/cache/60",
        "/etag/abc", "/response-headers?X-One=1&X-Two=2&X-One=3", "/base64/aGVsbG8=", "/base64/aGVsbG8%3D",
        "/bytes/0?seed=1", "/bytes/1024?seed=1", "/stream-bytes/5000?seed=3", "/stream-bytes/5000?seed=3&chunk_size=7",
        "/stream/1", "/stream/20", "/range/1024", "/drip?numbytes=5&duration=0.05&delay=0", "/delay/0", "/links/2/1",
        "/anything/caf%C3%A9", "/anything/%e2%82%ac%20%41", "/anything/a@b:c=d,e+f", "/anything?%00%2f=%zz", "/nothing",
    )]  # fmt: skip
    cases += [Case("GET", "/range/2048", {"Range": value}) for value in (
        "bytes=0-0", "bytes=0-99", "bytes=100-", "bytes=-10", "bytes=2047-2047", "bytes=5000-", "bytes=9-3", "junk")
    ]  # fmt: skip
    cases += [Case("GET", "/cache", {"If-None-Match": "x"}), Case("GET", "/cache", {"If-Modified-Since": "x"})]
    cases += [Case("GET", "/etag/abc", {name: value}) for name in ("If-None-Match", "If-Match")
              for value in ('"abc"', "abc", "*", "other")]  # fmt: skip
    cases += [Case("GET", "/cookies", {"Cookie": value}) for value in ("a=1", "a=1; b=2", 'q="x y"', "a=1;b", "=x")]
    cases += [Case("GET", "/headers", {"X-Note": value}) for value in ("plain", "caf\xe9", 'a,b;c="d"', "x" * 4000)]
    cases += [Case("GET", "/anything", {"Accept-Encoding": value}) for value in ("gzip", "br", "identity", "*;q=0")]
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        cases += [Case(method, "/anything", {"Content-Type": kind}, body) for kind, body in (
            ("application/json", b'{"a": [1, 2, {"b": null}]}'), ("application/json", b"{broken"),
            ("application/x-www-form-urlencoded", b"a=1&b=%20&c=%C3%A9"), ("text/plain", "caf\u00e9".encode()),
            ("application/octet-stream", bytes(range(256))), ("text/plain", b""))]  # fmt: skip
        cases += [Case(method, "/anything", {"Content-Type": "text/plain"}, body, True)
                  for body in (b"", b"x", b"chunk" * 1000, bytes(range(256)) * 300)]  # fmt: skip
    cases += [Case("POST", "/anything", {"Content-Encoding": "gzip"}, bytes.fromhex("1f8b0800"))]
    cases += [Case("GET", f"/bytes/{size}?seed={size}") for size in (1, 2, 10, 1000, 16384, 65536, 65537, 102400)]
    cases += [Case("GET", f"/stream/{lines}") for lines in (2, 3, 5, 8, 13, 100)]
    cases += [Case("GET", f"/basic-auth/u/p{n}") for n in range(3)]
    return cases


def ask(connection: http.client.HTTPConnection, case: Case, token: bytes | None) -> Answer:
    headers = {"Host": "backend.test", "User-Agent": "differential/1", **case.headers}
    headers |= ADDED if token is None else {"Authorization": f"Bearer {token.decode()}"}
    body = case.body
    if case.chunked and body is not None:
        pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)]
        connection.request(
            case.method, case.path, iter(pieces), headers | {"Transfer-Encoding": "chunked"}, encode_chunked=True
        )
    else:
        connection.request(case.method, case.path, body, headers)
    answer = connection.getresponse()
    found = [(name, value) for name, value in answer.getheaders() if name.lower() not in ANSWER_HEADERS]
    return Answer(answer.status, answer.reason, sorted(found), answer.read())


def compare(direct_port: int, proxied_port: int, cases: list[Case]) -> list[str]:
    """The cases that differ, in words."""
    direct = http.client.HTTPConnection("127.0.0.1", direct_port, timeout=20)
    through = http.client.HTTPConnection("127.0.0.1", proxied_port, timeout=20)
    differences = []
    with contextlib.closing(direct), contextlib.closing(through):
        for case in cases:
            want, got = ask(direct, case, None), ask(through, case, TOKEN)
            if without_noise(want, case) != without_noise(got, case):
                differences.append(f"{case.method} {case.path} {case.headers}: {want} != {got}"[:2000])
    return differences


def without_noise(answer: Answer, case: Case) -> Answer:
    """Without what httpbin itself answers differently every time: an ETag made up anew, and the order of echoed headers
    where it does not sort them."""
    body, headers = answer.body, answer.headers
    if case.path.startswith("/cache"):
        headers = [(name, value) for name, value in headers if name != "ETag"]
    if case.path.startswith("/stream/"):
        body = b"".join(json.dumps(json.loads(line), sort_keys=True).encode() for line in body.splitlines())
    if case.path in ("/gzip", "/deflate", "/brotli"):
        headers = [(name, value) for name, value in headers if name != "Content-Length"]
        body = b""
    return Answer(answer.status, answer.reason, headers, body)


async def test_a_few_hundred_varied_requests_are_answered_alike(backend: int, gateway: Setup) -> None:
    cases = varied()
    assert len(cases) >= 250
    found = await asyncio.to_thread(compare, backend, gateway.port, cases)
    assert not found, "\n".join(found)
    assert len(gateway.notes.requests) == len(cases)
    assert {entry[5] >= 0 for entry in gateway.notes.requests} == {True}


async def test_ten_megabytes_both_ways(backend: int, gateway: Setup) -> None:
    body = bytes(range(251)) * 41776
    assert len(body) > 10_000_000

    def post() -> tuple[Answer, Answer]:
        answers = []
        for port, token in ((backend, None), (gateway.port, TOKEN)):
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
                case = Case("POST", "/anything", {"Content-Type": "application/octet-stream"}, body)
                answers.append(ask(connection, case, token))
        return answers[0], answers[1]

    direct, through = await asyncio.to_thread(post)
    assert through.status == direct.status == 200
    assert len(through.body) > len(body)
    assert through.body == direct.body


async def test_the_backend_sees_the_verified_identity(gateway: Setup) -> None:
    def headers() -> bytes:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)) as connection:
            return ask(connection, Case("GET", "/headers", {"X_User_Id": "evil", "X-User-Roles": "evil"}), TOKEN).body

    body = await asyncio.to_thread(headers)
    assert b"evil" not in body
    assert b'"X-User-Name": "alice"' in body
    assert b"Bearer" not in body
