"""What calls answer with when they succeed: JSON in one shape, times in RFC 3339."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import orjson
from aiohttp import web


def json_response(members: Mapping[str, object], status: int = 200) -> web.Response:
    """A JSON object."""
    return web.Response(body=orjson.dumps(members), status=status, content_type="application/json")


def no_content() -> web.Response:
    """204."""
    return web.Response(status=204)


def timestamp(at: float) -> str:
    """Epoch seconds as RFC 3339 in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
