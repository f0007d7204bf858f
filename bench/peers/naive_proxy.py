"""The proxy everyone writes: web.Application, one catch-all handler, ClientSession, jwt.decode on each request.

usage: python -m bench.peers.naive_proxy PORT UPSTREAM LIVE_UPSTREAM [JWKS_URL ISSUER]

LIVE_UPSTREAM gets what is under /live/. Without the last two: no authentication.
"""

from __future__ import annotations

import sys

import jwt
from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "host", "content-length"}


async def make(upstream: str, live: str, jwks: str | None, issuer: str | None) -> web.Application:
    """The application, with the issuer's keys fetched once."""
    session = ClientSession(connector=TCPConnector(limit=256), timeout=ClientTimeout(30), auto_decompress=False)
    keys: dict[str, jwt.PyJWK] = {}
    if jwks:
        async with session.get(jwks) as answer:
            keys = {key.key_id or "": key for key in jwt.PyJWKSet.from_dict(await answer.json()).keys}

    async def handle(request: web.Request) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP}
        if jwks:
            _, _, token = request.headers.get("Authorization", "").partition(" ")
            try:
                key = keys[jwt.get_unverified_header(token)["kid"]]
                claims = jwt.decode(token, key, algorithms=[key.algorithm_name], audience="gateway", issuer=issuer)
            except (jwt.PyJWTError, KeyError):
                return web.json_response({"error": "invalid_token"}, status=401)
            headers["X-User-Id"] = claims["sub"]
        body = request.content if request.can_read_body else None
        base = live if request.path.startswith("/live/") else upstream
        async with session.request(
            request.method, base + request.raw_path, headers=headers, data=body, allow_redirects=False
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            if answer.content_length is not None:
                response.content_length = answer.content_length
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response

    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{tail:.*}", handle)
    return app


if __name__ == "__main__":
    import uvloop

    uvloop.install()
    port, upstream, live, *auth = sys.argv[1:]
    web.run_app(
        make(upstream, live, *(auth or (None, None))),  # type: ignore[arg-type]
        host="127.0.0.1",
        port=int(port),
        access_log=None,
        print=None,  # type: ignore[arg-type]
    )
