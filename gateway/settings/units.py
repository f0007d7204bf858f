"""Durations and sizes as people write them: `15m`, `1h30m`, `10MiB`."""

from __future__ import annotations

import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d|w))+", re.ASCII)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)", re.ASCII)
_SIZE = re.compile(r"(\d+) ?(B|[KMG]i?B)", re.ASCII)

DURATION_PATTERN = r"^(0|([0-9]+(\.[0-9]+)?(ms|s|m|h|d|w))+)$"
SIZE_PATTERN = r"^(0|[0-9]+ ?(B|[KMG]i?B))$"
_LONGEST = 100 * 366 * 86400.0


def parse_duration(value: object) -> float:
    """Seconds from `15m`, `24h`, `30d`, `500ms`, `1h30m` or a bare 0; ValueError says what is wrong."""
    text = _text(value)
    if text == "0":
        return 0.0
    if not _DURATION.fullmatch(text):
        raise ValueError(_why(value, "duration", "500ms, 20s, 15m, 24h or 30d"))
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))
    if seconds > _LONGEST:
        raise ValueError(f"{value!r} is longer than a hundred years")
    return round(seconds, 3)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value.strip()
    return "0" if value == 0 and not isinstance(value, bool) else ""


def _why(value: object, kind: str, examples: str) -> str:
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        shown = value if len(str(value)) < 40 else "this"
        return f"{shown!r} is not a {kind}: write a number and a unit, such as {examples}"
    return f"must be a {kind} such as {examples}"


def format_duration(seconds: float) -> str:
    """Exact text in the largest unit that fits, which `parse_duration` reads back; a single day is 24h."""
    if seconds == 0:
        return "0s"
    milliseconds = round(seconds * 1000)
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds % size == 0 and (unit != "d" or milliseconds > size):
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


def parse_size(value: object) -> int:
    """Bytes from `10MiB`, `64KiB`, `1GB` or a bare 0; ValueError says what is wrong."""
    text = _text(value)
    if text == "0":
        return 0
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(_why(value, "size", "512KiB, 10MiB or 1GiB"))
    return int(match[1]) * _BYTES[match[2]]


def format_size(size: int) -> str:
    """The shortest exact text `parse_size` reads back."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return f"{size}B"
