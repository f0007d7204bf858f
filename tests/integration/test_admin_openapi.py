"""The record of the admin API: complete, valid, and true of what it answers."""

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
from support.admin import TOKEN, AdminBench, administering

from gateway import errors
from gateway.admin_api.app import openapi_document

EXAMPLES = 25
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
DOCUMENT = openapi_document()
OPERATIONS = [(path, method) for path, item in DOCUMENT["paths"].items() for method in item]
WITH_BODY = [(path, method) for path, method in OPERATIONS if "requestBody" in DOCUMENT["paths"][path][method]]


class Loopback:
    """The application on a loopback port in its own thread, for clients that block."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="admin api under test")
        self.thread.start()
        self.bench = self.run(self._bench())
        self.server = TestServer(self.bench.app)
        self.run(self.server.start_server(auto_decompress=False, access_log=None))
        self.url = str(self.server.make_url("/")).rstrip("/")

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    async def _bench(self) -> AdminBench:
        bench = AdminBench()
        await bench.keys.load()
        return bench

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
    """Send examples, every fifth without the token; the statuses that came back."""
    statuses: list[int] = []

    @given(case=operation.as_strategy(mode))
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    def check(case: Any) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"} if len(statuses) % 5 else {}
        answer = case.call_and_validate(base_url=loopback.url, headers=headers, checks=CHECKS, timeout=10)
        statuses.append(answer.status_code)

    check()
    return set(statuses)


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_answers_to_valid_requests(loopback: Loopback, path: str, method: str) -> None:
    statuses = fuzz(loopback, operation_of(path, method), GenerationMode.POSITIVE)
    assert 401 in statuses
    assert max(statuses) < 500
    if "{" not in path:
        assert statuses & {200, 201}


@pytest.mark.parametrize(("path", "method"), WITH_BODY)
def test_answers_to_invalid_requests(loopback: Loopback, path: str, method: str) -> None:
    statuses = fuzz(loopback, operation_of(path, method), GenerationMode.NEGATIVE)
    assert statuses & {400, 404}
    assert max(statuses) < 500


def test_the_document_is_valid_openapi() -> None:
    assert [str(error) for error in OPENAPI_31_VALIDATOR.iter_errors(DOCUMENT)] == []


async def test_every_route_is_recorded_and_every_record_routed() -> None:
    routed = {
        (route.resource.canonical, route.method.lower())
        for route in AdminBench().admin.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert routed == set(OPERATIONS)


async def test_it_is_served_as_it_is() -> None:
    async with administering(AdminBench()) as admin:
        assert await admin.get("/admin/openapi.json") == DOCUMENT
        assert DOCUMENT["openapi"].startswith("3.1")


def test_errors_name_codes_that_exist() -> None:
    codes = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "code")}
    assert set(DOCUMENT["components"]["schemas"]["Problem"]["properties"]["error"]["enum"]) <= codes


async def test_a_live_answer_of_each_success(loopback: Loopback) -> None:
    """Made-up ids find nothing: the answers about a real user are checked against the schema here."""
    headers = {"Authorization": f"Bearer {TOKEN}"}

    def call(method: str, path: str, written: str, **options: Any) -> Any:
        answer = requests.request(method, loopback.url + path, headers=headers, timeout=10, **options)
        operation_of(written, method.lower()).validate_response(answer)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def life() -> None:
        added = call("POST", "/admin/users", "/admin/users", json={"username": "someone new"})
        bench, user_id = loopback.bench, added["id"]
        user = loopback.run(bench.users.get(user_id))
        sid = loopback.run(bench.log_in(user)).session.sid
        loopback.run(bench.log_in(user))
        one, many = "/admin/users/{id}", f"/admin/users/{user_id}"
        call("GET", many, one)
        assert len(call("GET", f"/admin/sessions?user={user_id}", "/admin/sessions")["sessions"]) == 2
        call("GET", f"/admin/sessions/{sid}", "/admin/sessions/{sid}")
        call("DELETE", f"/admin/sessions/{sid}", "/admin/sessions/{sid}")
        assert call("GET", f"/admin/sessions/{sid}", "/admin/sessions/{sid}")["end_reason"] == "admin"
        call("PATCH", many, one, json={"roles": ["a"], "email": "a@example.com", "active": True})
        assert call("DELETE", f"{many}/sessions", f"{one}/sessions") == {"revoked": 1}
        call("PUT", f"{many}/password", f"{one}/password", json={"password": "long enough"})
        loopback.run(bench.record())
        assert call("GET", f"/admin/events?user={user_id}", "/admin/events")["events"]
        call("DELETE", many, one)

    await asyncio.to_thread(life)
