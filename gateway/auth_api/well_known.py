"""GET /.well-known/jwks.json and /openapi.json: what anybody may read."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any, Final

import orjson
from aiohttp import web

from gateway.auth_api.services import SERVICES, ApiServices
from gateway.tokens import jwks as jwk_set

JWKS_PATH: Final = "/.well-known/jwks.json"
_WRITTEN_PREFIX: Final = "/auth/"


async def jwks(request: web.Request) -> web.Response:
    """The public keys. Readable by any page: they are public, and verifiers run in browsers too."""
    body = request.app[SERVICES].jwks()
    etag = hashlib.sha256(body).hexdigest()[:32]
    response = web.Response(body=body, content_type=jwk_set.CONTENT_TYPE)
    if request.if_none_match and any(tag.value in (etag, "*") for tag in request.if_none_match):
        response = web.Response(status=304)
    response.etag = etag
    response.headers["Cache-Control"] = f"public, max-age={jwk_set.MAX_AGE}"
    response.headers["Access-Control-Allow-Origin"] = "*"
    return response


def openapi(services: ApiServices) -> Callable[[web.Request], Awaitable[web.Response]]:
    """The handler of the API's record, as this deployment is set up."""
    body = orjson.dumps(openapi_document(services.prefix, services.public_url, services.cookie.full_name))

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    return handler


def openapi_document(prefix: str, public_url: str, cookie: str) -> dict[str, Any]:
    """openapi.json with the configured prefix, URL and cookie name put in."""
    document: dict[str, Any] = orjson.loads(files("gateway.auth_api").joinpath("openapi.json").read_bytes())
    document["servers"] = [{"url": public_url}]
    document["paths"] = {_placed(path, prefix): item for path, item in document["paths"].items()}
    document["components"]["securitySchemes"]["refreshCookie"]["name"] = cookie
    return document


def _placed(path: str, prefix: str) -> str:
    return f"{prefix}/{path.removeprefix(_WRITTEN_PREFIX)}" if path.startswith(_WRITTEN_PREFIX) else path
