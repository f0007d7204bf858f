"""Values that come from clients, made fit for logs and spans: no query, no token, not too long."""

from __future__ import annotations

from typing import Final

from gateway.telemetry.redact import scrub

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_LONGEST_PATH: Final = 4096
_LONGEST_AGENT: Final = 512
_TOKEN_MARKS: Final = ("gwr_", "eyJ", "earer ")


def shown_path(value: str | bytes) -> str:
    """A path without its query."""
    return _clean(str(text_of(value)).partition("?")[0][:_LONGEST_PATH])


def shown_agent(value: str | bytes | None) -> str | None:
    """A user agent."""
    return _clean(str(text_of(value))[:_LONGEST_AGENT]) if value else None


def text_of(value: str | bytes | None) -> str | None:
    """Bytes as text, whatever they are."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def _clean(text: str) -> str:
    """Clients put tokens where none belong; the full search only where the start of one is seen."""
    return scrub(text) if any(mark in text for mark in _TOKEN_MARKS) else text
