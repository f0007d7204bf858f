"""Query strings, read strictly: a filter that is misspelt must not answer with everything."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final

from aiohttp import web

from gateway.admin_api.services import AdminServices
from gateway.errors import InvalidRequest, NotFound
from gateway.web.ids import is_uuid

DEFAULT_LIMIT: Final = 100
MOST: Final = 1000
_LONGEST: Final = 512
_NUMBER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


class Query:
    """The parameters of a request."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Sequence[str]]) -> None:
        self._values = values

    def texts(self, name: str) -> Sequence[str]:
        """Every value of `name`, in order."""
        return self._values.get(name, ())

    def text(self, name: str) -> str | None:
        """The value of `name`, None when it is not given."""
        values = self.texts(name)
        return values[0] if values else None

    def number(self, name: str, default: int, least: int = 0, most: int = 10**18) -> int:
        """The value of `name`, a whole number in digits."""
        text = self.text(name)
        if text is None:
            return default
        if not _NUMBER.fullmatch(text) or not least <= int(text) <= most:
            raise InvalidRequest(f"The parameter {name!r} must be a whole number from {least} to {most}.")
        return int(text)

    def limit(self) -> int:
        """How many entries a page has at most."""
        return self.number("limit", DEFAULT_LIMIT, 1, MOST)

    def time(self, name: str) -> float:
        """The value of `name`, an RFC 3339 time, in epoch seconds; 0 when it is not given."""
        text = self.text(name)
        if text is None:
            return 0.0
        with suppress(ValueError, OverflowError):  # no such day, or out of reach
            if _TIME.fullmatch(text):
                return max(0.0, datetime.fromisoformat(text.upper()).timestamp())
        raise InvalidRequest(f"The parameter {name!r} must be a time such as 2030-01-31T12:00:00Z.")


def read_query(request: web.Request, *known: str, repeated: str | None = None) -> Query:
    """The parameters, of which only those `known` may be there, once each but for `repeated`."""
    values: dict[str, list[str]] = {}
    for name, value in request.query.items():
        if name not in known and name != repeated:
            raise InvalidRequest("There is a parameter in the query that this call does not have.")
        if name in values and name != repeated:
            raise InvalidRequest(f"The parameter {name!r} is there twice.")
        if len(value) > _LONGEST or not _storable(value):
            raise InvalidRequest(f"The parameter {name!r} is too long, or no text.")
        values.setdefault(name, []).append(value)
    return Query(values)


def path_id(request: web.Request, name: str = "id") -> str:
    """An id in the path. One that cannot be any is as unknown as any other."""
    text = request.match_info[name]
    if len(text) > _LONGEST or not text.isprintable():
        raise NotFound
    return text


async def user_id_of(services: AdminServices, who: str | None) -> str | None:
    """The id of the user with this id or name. The id of a user who was removed is one too, an unknown name is not."""
    if who is None:
        return None
    user = await services.users.identify(who)
    if user is not None:
        return user.user_id
    if not is_uuid(who):
        raise NotFound("There is no such user.")
    return who


def _storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
