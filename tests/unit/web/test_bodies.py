"""Bodies that a test client cannot send."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from gateway.auth_api.services import ApiLimits
from gateway.errors import InvalidRequest, UnsupportedMediaType
from gateway.web.bodies import read_body

LIMITS = ApiLimits()
JSON = ("Content-Type", "application/json")


def request_with(*headers: tuple[str, str], broken: BaseException | None = None) -> web.Request:
    loop = asyncio.get_running_loop()
    payload = StreamReader(BaseProtocol(loop), limit=2**16, loop=loop)
    if broken is not None:
        payload.set_exception(broken)
    return make_mocked_request("POST", "/", headers=CIMultiDict(headers), payload=payload)


@pytest.mark.parametrize(
    "broken",
    [ConnectionResetError(), web.RequestPayloadError("400"), BrokenPipeError()],
    ids=lambda e: type(e).__name__,
)
async def test_a_body_that_breaks_off(broken: BaseException) -> None:
    with pytest.raises(InvalidRequest):
        await read_body(request_with(JSON, broken=broken), LIMITS)


async def test_a_client_that_has_gone() -> None:
    with pytest.raises(InvalidRequest):
        await read_body(request_with(JSON), LIMITS)


async def test_two_content_types() -> None:
    with pytest.raises(UnsupportedMediaType):
        await read_body(request_with(JSON, JSON), LIMITS)
