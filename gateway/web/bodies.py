"""Request bodies, read strictly: bounded while they stream, one content type, one meaning."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final, Protocol
from urllib.parse import parse_qsl

import orjson
from aiohttp import StreamReader, http_exceptions, web

from gateway.errors import InvalidRequest, PayloadTooLarge, RequestTimeout, UnsupportedMediaType
from gateway.web.context import values_of

JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
_MAX_FIELDS: Final = 32


class BodyLimits(Protocol):
    """What a body may be: `body_size` in bytes, `body_timeout` in seconds for all of it."""

    @property
    def body_size(self) -> int: ...

    @property
    def body_timeout(self) -> float: ...


class Body:
    """The members of a body. What a call does not know is ignored (RFC 6749 3.2)."""

    __slots__ = ("_members",)

    def __init__(self, members: Mapping[str, object]) -> None:
        self._members = members

    def text(self, name: str) -> str:
        """The member `name`, which must be there and be a string."""
        value = self.optional_text(name)
        if value is None:
            raise InvalidRequest(f"The member {name!r} is missing.")
        return value

    def optional_text(self, name: str) -> str | None:
        """The member `name`, a string when it is there; null is absent."""
        value = self._members.get(name)
        if value is not None and not isinstance(value, str):
            raise InvalidRequest(f"The member {name!r} must be a string.")
        return value

    def optional_flag(self, name: str) -> bool | None:
        """The member `name`, true or false when it is there; null is absent."""
        value = self._members.get(name)
        if value is not None and not isinstance(value, bool):
            raise InvalidRequest(f"The member {name!r} must be true or false.")
        return value

    def optional_texts(self, name: str) -> tuple[str, ...] | None:
        """The member `name`, an array of strings when it is there; null is absent."""
        value = self._members.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise InvalidRequest(f"The member {name!r} must be an array of strings.")
        return tuple(value)

    def __contains__(self, name: str) -> bool:
        """Whether the member is there, null or not."""
        return name in self._members


async def read_body(request: web.Request, limits: BodyLimits, *, form: bool = False, optional: bool = False) -> Body:
    """The request's JSON object (or, with `form`, its form). An `optional` body may be absent altogether."""
    kind = _content_type(request)
    if kind is not None and kind not in ((JSON, FORM) if form else (JSON,)):
        raise UnsupportedMediaType
    data = await _read_bounded(request, limits)
    if not data and (optional or kind is None):
        return _absent(optional)
    if kind is None:
        raise UnsupportedMediaType("The body needs a Content-Type.")
    return Body(_parse_json(data) if kind == JSON else _parse_form(data))


def _absent(optional: bool) -> Body:
    if not optional:
        raise InvalidRequest("The request body is missing.")
    return Body({})


def _content_type(request: web.Request) -> str | None:
    """The media type, None when none is given. A charset other than UTF-8 or a content coding is not taken."""
    if values_of(request, b"content-encoding"):
        raise UnsupportedMediaType("The body must not have a Content-Encoding.")
    values = values_of(request, b"content-type")
    if not values:
        return None
    if len(values) > 1:
        raise UnsupportedMediaType("There is more than one Content-Type.")
    kind, *parameters = values[0].decode("latin-1").split(";")
    for parameter in parameters:
        name, _, value = parameter.strip().partition("=")
        if name.lower() == "charset" and value.strip('"').lower() != "utf-8":
            raise UnsupportedMediaType("The body must be UTF-8.")
    return kind.strip(" \t").lower()


async def _read_bounded(request: web.Request, limits: BodyLimits) -> bytes:
    """The body, refused as soon as it is known to be over the limit: a declared length before the first byte."""
    limit = limits.body_size
    if (request.content_length or 0) > limit:
        raise PayloadTooLarge
    content, data = request.content, bytearray()
    try:
        async with _time_for(content, limits.body_timeout):
            while chunk := await content.readany():
                data += chunk
                if len(data) > limit:
                    raise PayloadTooLarge
    except TimeoutError:
        raise RequestTimeout from None
    except (web.RequestPayloadError, http_exceptions.HttpProcessingError, ConnectionError, RuntimeError):
        # RuntimeError is what aiohttp's reader raises once the client has gone.
        raise InvalidRequest("The body is not what its headers say, or it broke off.") from None
    return bytes(data)


def _time_for(content: StreamReader, seconds: float) -> AbstractAsyncContextManager[object]:
    """A time limit, but for a body that is here already: the usual case needs no timer."""
    return nullcontext() if content.is_eof() else asyncio.timeout(seconds)


def _parse_json(data: bytes) -> Mapping[str, object]:
    # orjson first: it refuses what json lets pass (lone surrogates, NaN, bytes that are no UTF-8, deep nesting);
    # json then, because only it can tell that a key stood there twice.
    try:
        orjson.loads(data)
        value = _STRICT.decode(data.decode())
    except (ValueError, RecursionError):
        raise InvalidRequest("The body is not valid JSON.") from None
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise InvalidRequest("A member occurs twice in the body.")
    return members


_STRICT: Final = json.JSONDecoder(object_pairs_hook=_unique)


def _parse_form(data: bytes) -> Mapping[str, object]:
    try:
        pairs = parse_qsl(
            data.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_MAX_FIELDS,
        )
    except ValueError:
        raise InvalidRequest("The body is not a valid form; JSON needs Content-Type: application/json.") from None
    return _unique([(name, value) for name, value in pairs])
