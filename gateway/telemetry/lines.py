"""What a log line looks like: one JSON object, or readable text on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import orjson

Render = Callable[[dict[str, Any]], bytes]

_JSON_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS


class Timestamps:
    """Epoch seconds as RFC 3339 with milliseconds; the text of the current second and millisecond is kept."""

    __slots__ = ("_latest", "_second")

    def __init__(self) -> None:
        self._second = (-1, "")
        self._latest = (-1, "")

    def text(self, at: float) -> str:
        """`1790000000.5` as `2026-09-21T14:13:20.500Z`."""
        milliseconds = int(at * 1000.0 + 0.5)
        latest, text = self._latest
        if milliseconds != latest:
            second = milliseconds // 1000
            known, prefix = self._second
            if second != known:
                prefix = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
                self._second = (second, prefix)
            text = f"{prefix}{milliseconds % 1000:03d}Z"
            self._latest = (milliseconds, text)
        return text


def json_line(document: dict[str, Any]) -> bytes:
    """`document` as one line of JSON; text that is not Unicode is made so, whatever else is not JSON becomes text."""
    try:
        return orjson.dumps(document, default=str, option=_JSON_OPTIONS)
    except TypeError:
        return orjson.dumps(_clean(document), default=str, option=_JSON_OPTIONS)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {str(_clean(key)): _clean(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(inner) for inner in value]
    if isinstance(value, int) and value.bit_length() > 63:
        return str(value)
    return value


def console_renderer(*, colors: bool) -> Render:
    """Readable lines for people."""
    from structlog.dev import ConsoleRenderer

    renderer = ConsoleRenderer(colors=colors, sort_keys=False, pad_event_to=24)

    def render(document: dict[str, Any]) -> bytes:
        shown = {key: _printable(value) for key, value in document.items()}
        shown["timestamp"] = str(shown.get("timestamp", ""))[11:23]
        text = renderer(None, str(shown.get("level", "")), shown)
        return f"{text}\n".encode("utf-8", "replace")

    return render


def _printable(value: Any) -> Any:
    """No control characters: a header value must not be able to move somebody's cursor."""
    if isinstance(value, str) and not value.isprintable():
        return value.encode("unicode_escape").decode()
    return value
