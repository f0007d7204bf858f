"""What the model refuses, in words a newcomer understands."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from gateway.settings.model import Settings
from gateway.settings.problems import Finding, Location
from gateway.settings.section import Section
from gateway.settings.types import Secret

_PLANNED: Mapping[Location, frozenset[str]] = {
    (): frozenset({"risk", "mfa", "pages", "notify", "metrics", "admin"}),
    ("routes",): frozenset({"rate_limit", "ca_file", "client_certificate"}),
}
_SHOWN = 60


def explain_all(errors: list[ErrorDetails]) -> list[Finding]:
    """Pydantic's errors as findings. A list is not also called too short because its items are wrong."""
    places = [error["loc"] for error in errors]
    return [
        explain(error)
        for error, place in zip(errors, places, strict=True)
        if error["type"] != "too_short" or all(other[: len(place)] != place or other == place for other in places)
    ]


def explain(error: ErrorDetails) -> Finding:
    """One of pydantic's errors as a finding."""
    location = tuple(part for part in error["loc"] if part != "[key]")
    kind, context, value = error["type"], error.get("ctx", {}), error["input"]
    if kind == "extra_forbidden":
        return _unknown(location)
    if kind == "missing":
        return Finding(location, "is required but missing")
    if kind == "value_error":
        return Finding(location, str(context["error"]))
    if kind == "enum":
        return _choice(location, value)
    return Finding(location, _sentence(kind, context, _shown(location, value)), _hint(kind, value))


def unknown_key(location: Location, known: list[str]) -> Finding:
    """A key nobody knows, with the one that was probably meant."""
    key = str(location[-1])
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if close:
        return Finding(location, f"unknown key {key!r}", f"did you mean {close[0]!r}?")
    return Finding(location, f"unknown key {key!r}", "known here: " + ", ".join(known) if known else None)


def model_at(location: Location) -> type[BaseModel] | None:
    """The section at `location`, or None when there is no section there."""
    found: type[BaseModel] = Settings
    for part in location:
        if isinstance(part, int):
            continue
        info = found.model_fields.get(part)
        inner = section_of(info.annotation) if info is not None else None
        if inner is None:
            return None
        found = inner
    return found


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section inside `X`, `X | None` or `tuple[X, ...]`, if there is one."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    for inner in get_args(annotation):
        found = section_of(inner)
        if found is not None:
            return found
    return None


def is_secret(location: Location) -> bool:
    """Whether the value at `location` can hold a password."""
    return secret_mark(location) is not None


def secret_mark(location: Location) -> Secret | None:
    """How the value at `location` is secret, or None when it is not."""
    model = model_at(location[:-1])
    info = model.model_fields.get(str(location[-1])) if model is not None and location else None
    if info is None:
        return None
    return next((mark for mark in (*info.metadata, *_marks(info.annotation)) if isinstance(mark, Secret)), None)


def _marks(annotation: Any) -> Iterator[object]:
    """The marks inside `Annotated[X, mark] | None`."""
    yield from getattr(annotation, "__metadata__", ())
    for inner in get_args(annotation):
        yield from _marks(inner)


def _unknown(location: Location) -> Finding:
    key, parent = str(location[-1]), tuple(part for part in location[:-1] if isinstance(part, str))
    if key in _PLANNED.get(parent, ()):
        return Finding(location, f"{key!r} is not supported by this version")
    model = model_at(location[:-1])
    return unknown_key(location, list(model.model_fields) if model is not None else [])


def _choice(location: Location, value: object) -> Finding:
    model = model_at(location[:-1]) if not isinstance(location[-1], int) else None
    choices = _choices(location, model)
    close = difflib.get_close_matches(str(value), choices, n=1)
    hint = f"did you mean {close[0]!r}?" if close and close[0] != value else None
    return Finding(location, f"must be one of {', '.join(choices)}, not {_shown(location, value)}", hint)


def _choices(location: Location, model: type[BaseModel] | None) -> list[str]:
    while model is None and location:
        location = location[:-1]
        model = model_at(location[:-1]) if location and isinstance(location[-1], str) else None
    info = model.model_fields.get(str(location[-1])) if model is not None else None
    return _members(info.annotation) if info is not None else []


def _members(annotation: Any) -> list[str]:
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [str(member.value) for member in annotation]
    return [name for inner in get_args(annotation) for name in _members(inner)]


def _sentence(kind: str, context: Mapping[str, Any], shown: str) -> str:
    kinds = {
        "bool_type": f"must be true or false, not {shown}",
        "int_type": f"must be a whole number, not {shown}",
        "string_type": f"must be text, not {shown}",
        "model_type": f"must be a mapping (key: value), not {shown}",
        "model_attributes_type": f"must be a mapping (key: value), not {shown}",
        "dict_type": f"must be a mapping (key: value), not {shown}",
        "tuple_type": f"must be a list, not {shown}",
        "greater_than_equal": f"must be at least {context.get('ge')}, not {shown}",
        "less_than_equal": f"must be at most {context.get('le')}, not {shown}",
        "too_short": "must not be an empty list",
    }
    return kinds.get(kind) or f"is not valid: {kind.replace('_', ' ')}"


def _hint(kind: str, value: object) -> str | None:
    if kind == "bool_type" and isinstance(value, str):
        meant = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(value.lower())
        return f"write {meant}" if meant else None
    if kind == "string_type" and isinstance(value, (int, float)):
        return "put it in quotes"
    if kind == "tuple_type" and isinstance(value, str):
        return "write it in brackets: [...]"
    return None


def _shown(location: Location, value: object) -> str:
    if is_secret(location):
        return "what is there"
    if value is None:
        return "empty"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
