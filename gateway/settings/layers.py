"""What comes on top of the file: environment variables, flags, and secrets read from files of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel

from gateway.settings.explain import is_secret, model_at, section_of, unknown_key
from gateway.settings.problems import Finding, Location

ENV_PREFIX = "GATEWAY__"
_MAX_SECRET = 64 * 1024


def environment(env: Mapping[str, str]) -> Iterator[tuple[str, Location, object] | tuple[str, Finding]]:
    """Settings of `GATEWAY__SECTION__KEY` variables: name, location and value, or name and what is wrong with it."""
    for name in sorted(env):
        if not name.startswith(ENV_PREFIX):
            continue
        location: Location = tuple(name.removeprefix(ENV_PREFIX).lower().split("__"))
        parent = model_at(location[:-1])
        info = parent.model_fields.get(str(location[-1])) if parent is not None else None
        if info is None:
            yield name, _unknown(location)
            continue
        try:
            yield name, location, _value(info.annotation, env[name])
        except json.JSONDecodeError as error:
            yield name, Finding(location, f"must be JSON: {error.msg} at character {error.pos + 1}")


def leaves(location: Location, value: object) -> Iterator[tuple[Location, object]]:
    """`value` taken apart as far as sections go, so that a part of a section leaves the rest in force."""
    model = model_at(location)
    if not isinstance(value, dict) or model is None or _is_list(location):
        yield location, value
        return
    for key, inner in value.items():
        yield from leaves((*location, str(key)), inner)


def assign(data: dict[str, Any], location: Location, value: object) -> None:
    """Put `value` at `location`, making the mappings on the way."""
    for part in location[:-1]:
        inner = data.get(str(part))
        if not isinstance(inner, dict):
            inner = data[str(part)] = {}
        data = inner
    data[str(location[-1])] = value


def secret_files(layer: Mapping[Location, object]) -> Iterator[tuple[Location, str] | Finding]:
    """The content of every `<key>_file` of a layer, for the location of `<key>`; or why it cannot be had."""
    for location, path in layer.items():
        target = secret_target(location)
        if target is None or path is None:
            continue
        if layer.get(target) is not None:
            yield Finding(location, f"{target[-1]} and {location[-1]} are both set: leave one of them out")
        elif isinstance(path, str):
            content = _read(location, path)
            yield content if isinstance(content, Finding) else (target, content)


def secret_target(location: Location) -> Location | None:
    """The location of the secret that a `<key>_file` setting names a file for."""
    key = str(location[-1]) if location else ""
    target = (*location[:-1], key.removesuffix("_file"))
    return target if key.endswith("_file") and is_secret(target) else None


def _read(location: Location, path: str) -> str | Finding:
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        return Finding(location, f"cannot read {path}: {error.strerror or error}")
    if len(raw) > _MAX_SECRET:
        return Finding(location, f"{path} is larger than a secret can be")
    try:
        text = raw.decode().strip()
    except UnicodeDecodeError:
        return Finding(location, f"{path} is not text")
    return text or Finding(location, f"{path} is empty")


def _unknown(location: Location) -> Finding:
    for depth in range(1, len(location) + 1):
        parent = model_at(location[: depth - 1])
        if parent is None:
            break
        if str(location[depth - 1]) not in parent.model_fields:
            return unknown_key(location[:depth], list(parent.model_fields))
    return Finding(location, "nothing can be set below this key", "lists and maps are set as a whole, as JSON")


def _value(annotation: Any, text: str) -> object:
    kinds = _kinds(annotation)
    if NoneType in kinds and text in {"", "null"}:
        return None
    if bool in kinds:
        return {"true": True, "false": False}.get(text, text)
    if int in kinds or float in kinds:
        digits = text.removeprefix("-")
        return int(text) if digits.isascii() and digits.isdigit() and len(digits) < 20 else text
    if dict in kinds or tuple in kinds or section_of(annotation) is not None:
        return json.loads(text)
    return text


def _kinds(annotation: Any) -> set[Any]:
    if isinstance(annotation, type) and issubclass(annotation, (dict, tuple, BaseModel)):
        return {annotation}
    origin = getattr(annotation, "__origin__", None)
    if origin in {dict, tuple}:
        return {origin}
    inner = get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        inner = inner[:1]
    return set().union(*(_kinds(part) for part in inner)) if inner else {annotation}


def _is_list(location: Location) -> bool:
    parent = model_at(location[:-1]) if location else None
    info = parent.model_fields.get(str(location[-1])) if parent is not None else None
    return info is not None and tuple in _kinds(info.annotation)
