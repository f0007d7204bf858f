"""CSRF and CORS around every call: who may make a browser call us, and which pages may read the answer."""

from __future__ import annotations

from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from gateway.auth_api.services import SERVICES
from gateway.web.context import values_of

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


@web.middleware
async def cors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Outermost: errors too must be readable to the pages that are allowed to call."""
    response = await handler(request)
    if hdrs.ACCESS_CONTROL_ALLOW_ORIGIN not in response.headers:
        origin = values_of(request, b"origin")
        for name, value in request.app[SERVICES].origins.cors_headers(origin):
            response.headers[name] = value
    return response


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Innermost: refuse what changes state from elsewhere, before body and credentials are looked at."""
    origins = request.app[SERVICES].origins
    if request.method not in _SAFE:
        origins.check(values_of(request, b"origin"), values_of(request, b"sec-fetch-site"))
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as error:
        error.allowed_methods.add(hdrs.METH_OPTIONS)
        if request.method != hdrs.METH_OPTIONS:
            raise
        return _options(request, sorted(error.allowed_methods))


def _options(request: web.Request, methods: list[str]) -> web.Response:
    """What a path takes; with the headers of a preflight when it is one."""
    response = web.Response(status=204, headers={hdrs.ALLOW: ", ".join(methods)})
    if hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers:
        origin = values_of(request, b"origin")
        response.headers.extend(request.app[SERVICES].origins.preflight_headers(origin, methods))
    return response
