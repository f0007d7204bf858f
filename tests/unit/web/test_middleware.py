"""What the middleware does around handlers, beyond what the API's own tests show."""

from __future__ import annotations

import json

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from support.clock import FrozenClock
from support.credentials import Recorder

from gateway.risk.client import client_facts
from gateway.risk.facts import RequestContext
from gateway.web.client_ip import ClientAddress
from gateway.web.context import CONTEXT, RequestContexts
from gateway.web.middleware import answers
from gateway.web.request_id import RequestIds

MIDDLEWARE = answers(RequestContexts(ClientAddress(), RequestIds(), FrozenClock()), Recorder())


async def answer_of(error: Exception) -> web.Response:
    async def handler(_: web.Request) -> web.StreamResponse:
        raise error

    response = await MIDDLEWARE(make_mocked_request("GET", "/"), handler)
    assert isinstance(response, web.Response)
    return response


@pytest.mark.parametrize(
    ("raised", "status", "code"),
    [
        (web.HTTPNotFound(), 404, "not_found"),
        (web.HTTPMethodNotAllowed("GET", ["POST", "HEAD"]), 405, "method_not_allowed"),
        (web.HTTPRequestEntityTooLarge(1, 2), 413, "payload_too_large"),
        (web.HTTPBadRequest(), 400, "invalid_request"),
        (web.HTTPExpectationFailed(), 400, "invalid_request"),
    ],
)
async def test_refusals_of_the_framework(raised: web.HTTPException, status: int, code: str) -> None:
    response = await answer_of(raised)
    assert isinstance(response.body, bytes)
    assert (response.status, json.loads(response.body)["error"]) == (status, code)
    assert response.headers["Cache-Control"] == "no-store"
    assert "Allow" not in response.headers or response.headers["Allow"] == "HEAD, POST"


async def test_a_context_that_was_made_before_is_kept() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(text=request[CONTEXT].request_id, headers={"Cache-Control": "public"})

    request = make_mocked_request("GET", "/")
    request[CONTEXT] = RequestContext("given", client_facts("192.0.2.1", ""), 0.0)
    response = await MIDDLEWARE(request, handler)
    assert isinstance(response, web.Response)
    assert response.text == response.headers["X-Request-Id"] == "given"
    assert response.headers["Cache-Control"] == "public"


async def test_an_unexpected_error_names_the_innermost_frames_first() -> None:
    events = Recorder()
    middleware = answers(RequestContexts(ClientAddress(), RequestIds(), FrozenClock()), events)

    def deepest() -> None:
        raise ValueError("never shown")

    async def handler(_: web.Request) -> web.StreamResponse:
        deepest()
        raise AssertionError

    response = await middleware(make_mocked_request("PATCH", "/x?token=secret"), handler)
    assert response.status == 500
    (event,) = events.events
    assert str(event.fields["exception.stacktrace"]).startswith("deepest:")
    assert event.fields["http.request.method"] == "PATCH"
    assert "secret" not in str(event)
    assert "never shown" not in str(event)
