"""One `proxy.request` line per proxied request, made off the hot path and written in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from gateway.clock import Clock
from gateway.events import Level, Name
from gateway.telemetry.lines import Render, Timestamps, json_line
from gateway.telemetry.redact import scrub

FLUSH_AFTER: Final = 0.1
_LEVEL: Final = str(Level.INFO)
_EVENT: Final = str(Name.PROXY_REQUEST)
_BATCH: Final = 128
_LONGEST_PATH: Final = 4096
_LONGEST_AGENT: Final = 512
_TOKEN_MARKS: Final = ("gwr_", "eyJ", "earer ")

_Entry = tuple[
    float, str, str | bytes, int, str | None, str | None, float, int, int,
    str | None, str | None, str | None, str | None, str | bytes | None,
]  # fmt: skip


class AccessLog:
    """Takes a request in about a microsecond; lines go to `write` within 100 ms, or 128 at a time."""

    __slots__ = ("_append", "_clock", "_handle", "_now", "_pending", "_render", "_timestamps", "_write")

    def __init__(self, write: Callable[[bytes], None], clock: Clock, render: Render = json_line) -> None:
        self._write = write
        self._clock = clock
        self._now = clock.now
        self._render = render
        self._timestamps = Timestamps()
        self._pending: list[_Entry] = []
        self._append = self._pending.append
        self._handle: asyncio.TimerHandle | None = None

    def request(
        self,
        method: str,
        path: str | bytes,
        status: int,
        route: str | None,
        upstream: str | None,
        duration: float,
        request_size: int,
        response_size: int,
        request_id: str | None,
        user_id: str | None = None,
        session_id: str | None = None,
        address: str | None = None,
        user_agent: str | bytes | None = None,
    ) -> None:
        """A request was answered. `duration` in seconds, body sizes in bytes; a query in `path` is not written."""
        self._append(
            (
                self._now(), method, path, status, route, upstream, duration, request_size, response_size,
                request_id, user_id, session_id, address, user_agent,
            )
        )  # fmt: skip
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(FLUSH_AFTER, self.flush)
        elif len(self._pending) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._pending:
            lines = b"".join([self._line(entry) for entry in self._pending])
            self._pending.clear()
            self._write(lines)

    def _line(self, entry: _Entry) -> bytes:
        (
            at, method, path, status, route, upstream, duration, request_size, response_size,
            request_id, user_id, session_id, address, user_agent,
        ) = entry  # fmt: skip
        document: dict[str, Any] = {
            "timestamp": self._timestamps.text(at),
            "level": _LEVEL,
            "event": _EVENT,
            "request_id": request_id,
            "user_id": user_id,
            "session_id": session_id,
            "client.address": address,
            "user_agent.original": _clean(_text(user_agent)[:_LONGEST_AGENT]) if user_agent else None,
            "http.request.method": method,
            "url.path": _clean(_text(path).partition("?")[0][:_LONGEST_PATH]),
            "http.response.status_code": status,
            "route": route,
            "upstream": upstream,
            "duration_ms": int(duration * 100_000.0) / 100.0,
            "http.request.body.size": request_size,
            "http.response.body.size": response_size,
        }
        return self._render(document)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")


def _clean(text: str) -> str:
    """Clients put tokens where none belong; the full search only where the start of one is seen."""
    return scrub(text) if any(mark in text for mark in _TOKEN_MARKS) else text
