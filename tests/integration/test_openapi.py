"""The record of the API: complete, valid, and true of what the application answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from aiohttp.test_utils import TestServer
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR
from support.api import FIREFOX, PASSWORD, ApiBench, ApiSetup, serving

from gateway.auth_api.well_known import openapi_document

EXAMPLES = 25
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
DOCUMENT = openapi_document("/auth", "http://127.0.0.1:8080", "__Host-gw_refresh")
OPERATIONS = [(path, method) for path, item in DOCUMENT["paths"].items() for method in item]


class Loopback:
    """The application on a loopback port in its own thread, for clients that block."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="api under test")
        self.thread.start()
        self.bench = self.run(self._bench())
        self.server = TestServer(self.bench.app)
        self.run(self.server.start_server(auto_decompress=False))
        self.url = str(self.server.make_url("/")).rstrip("/")

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    async def _bench(self) -> ApiBench:
        bench = ApiBench()
        await bench.add_user()
        return bench

    def access_token(self) -> str:
        """A token of a session that no earlier example has ended."""
        answer = requests.post(
            f"{self.url}/auth/login",
            json={"username": "ada", "password": PASSWORD},
            headers={"User-Agent": FIREFOX},
            timeout=10,
        )
        return str(answer.json()["access_token"])

    def close(self) -> None:
        self.run(self.server.close())
        self.run(self.bench.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


@pytest.fixture(scope="module")
def loopback() -> Iterator[Loopback]:
    found = Loopback()
    try:
        yield found
    finally:
        found.close()


def operation_of(path: str, method: str) -> Any:
    return schemathesis.openapi.from_dict(DOCUMENT)[path][method]


def fuzz(loopback: Loopback, operation: Any, mode: GenerationMode) -> set[int]:
    """Send examples, every third without the access token where one is due; the statuses that came back."""
    needs_token = {"bearer": []} in operation.definition.raw["security"]
    statuses: list[int] = []

    @given(case=operation.as_strategy(mode))
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    def check(case: Any) -> None:
        headers = {"User-Agent": FIREFOX}
        if needs_token and len(statuses) % 3:
            headers["Authorization"] = f"Bearer {loopback.access_token()}"
        answer = case.call_and_validate(base_url=loopback.url, headers=headers, checks=CHECKS, timeout=10)
        statuses.append(answer.status_code)

    check()
    return set(statuses)


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_answers_to_valid_requests(loopback: Loopback, path: str, method: str) -> None:
    statuses = fuzz(loopback, operation_of(path, method), GenerationMode.POSITIVE)
    assert statuses
    assert max(statuses) < 500


@pytest.mark.parametrize("path", ["/auth/login", "/auth/refresh", "/auth/logout", "/auth/revoke", "/auth/password"])
def test_answers_to_invalid_requests(loopback: Loopback, path: str) -> None:
    statuses = fuzz(loopback, operation_of(path, "post"), GenerationMode.NEGATIVE)
    assert 400 in statuses
    assert max(statuses) < 500


def test_the_document_is_valid_openapi() -> None:
    assert [str(error) for error in OPENAPI_31_VALIDATOR.iter_errors(DOCUMENT)] == []


async def test_every_route_is_recorded_and_every_record_routed() -> None:
    routed = {
        (route.resource.canonical, route.method.lower())
        for route in ApiBench().app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert routed == set(OPERATIONS)


async def test_served_with_prefix_and_url() -> None:
    async with serving(ApiBench(ApiSetup(prefix="/gate/auth"))) as api:
        document = (await api.get("openapi.json")).json
        assert document["openapi"].startswith("3.1")
        assert document["servers"] == [{"url": "http://127.0.0.1:8080"}]
        assert "/gate/auth/login" in document["paths"]
        assert "/.well-known/jwks.json" in document["paths"]
        assert not [path for path in document["paths"] if path.startswith("/auth/")]


async def test_names_the_cookie_in_use() -> None:
    from gateway.web.cookies import CookiePolicy

    async with serving(ApiBench(ApiSetup(cookie=CookiePolicy(secure=False)))) as api:
        document = (await api.get("openapi.json")).json
        assert document["components"]["securitySchemes"]["refreshCookie"]["name"] == "gw_refresh"


async def test_errors_name_codes_that_exist() -> None:
    from gateway import errors

    codes = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "code")}
    assert set(DOCUMENT["components"]["schemas"]["Problem"]["properties"]["error"]["enum"]) <= codes


async def test_a_live_answer_of_each_success(loopback: Loopback) -> None:
    """Valid examples rarely log in: the answers of a real session are checked against the schema here."""

    def validate(answer: Any, path: str, method: str) -> None:
        operation_of(path, method).validate_response(answer)

    def session() -> list[int]:
        agent = {"User-Agent": FIREFOX}
        login = requests.post(
            f"{loopback.url}/auth/login",
            json={"username": "ada", "password": PASSWORD, "token_delivery": "body"},
            headers=agent,
            timeout=10,
        )
        validate(login, "/auth/login", "post")
        token = login.json()["refresh_token"]
        bearer = agent | {"Authorization": f"Bearer {login.json()['access_token']}"}
        calls = [
            ("/auth/me", "get", {}),
            ("/auth/sessions", "get", {}),
            ("/auth/refresh", "post", {"json": {"refresh_token": token}}),
            ("/auth/logout-all", "post", {}),
        ]
        statuses = [login.status_code]
        for path, method, body in calls:
            answer = requests.request(method, loopback.url + path, headers=bearer, timeout=10, **body)
            validate(answer, path, method)
            statuses.append(answer.status_code)
        return statuses

    assert await asyncio.to_thread(session) == [200] * 5
