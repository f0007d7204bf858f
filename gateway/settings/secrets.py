"""The effective configuration for showing: secrets hidden, and where each value came from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from gateway.settings.explain import is_secret, is_whole_secret
from gateway.settings.loader import Loaded
from gateway.settings.model import Settings
from gateway.settings.problems import Location

REDACTED = "[redacted]"
_QUERY_PASSWORD = re.compile(r"((?:password|secret|token|key)[a-z_]*=)[^&\s]+", re.IGNORECASE)


def redact_url(text: str) -> str:
    """`text` without the password a URL may hold; what cannot be read as a URL is hidden whole."""
    try:
        parts = urlsplit(text)
        user = parts.username or ""
    except ValueError:
        return REDACTED
    if "@" in parts.netloc:
        text = text.replace(parts.netloc, f"{user}:{REDACTED}@{parts.netloc.rpartition('@')[2]}", 1)
    return _QUERY_PASSWORD.sub(rf"\1{REDACTED}", text)


def shown(loaded: Loaded) -> dict[str, Any]:
    """The configuration in force, as YAML would hold it, without secrets."""
    return shown_settings(loaded.settings)


def shown_settings(settings: Settings) -> dict[str, Any]:
    """`settings` as YAML would hold them, without secrets."""
    document: dict[str, Any] = settings.model_dump(mode="json")
    for location, value in list(leaves(document)):
        if isinstance(value, str) and is_secret(location):
            holder = document
            for part in location[:-1]:
                holder = holder[part]  # type: ignore[index]
            holder[str(location[-1])] = REDACTED if is_whole_secret(location) else redact_url(value)
    return document


def leaves(document: object, location: Location = ()) -> Iterator[tuple[Location, object]]:
    """Every value that is not a mapping, with its place; lists are values."""
    if isinstance(document, dict) and document:
        for key, value in document.items():
            yield from leaves(value, (*location, str(key)))
    else:
        yield location, document


def origin(loaded: Loaded, location: Location) -> str:
    """Where the value at `location` came from."""
    while location:
        if location in loaded.origins:
            return loaded.origins[location]
        location = location[:-1]
    return "default"
