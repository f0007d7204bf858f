"""One `proxy.request` line per proxied request, made off the hot path and written in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import orjson

from gateway.clock import Clock
from gateway.events import Level, Name
from gateway.telemetry.lines import Render, Timestamps, json_line
from gateway.telemetry.trace_context import Trace
from gateway.telemetry.values import shown_agent, shown_path, text_of

FLUSH_AFTER: Final = 0.1
_LEVEL: Final = str(Level.INFO)
_EVENT: Final = str(Name.PROXY_REQUEST)
_BATCH: Final = 128
_MOST_QUOTED: Final = 4096
_LONGEST_QUOTED: Final = 256

_Entry = tuple[
    float, str, str | bytes, int, str | None, str | None, float, int, int,
    str | None, str | None, str | None, str | None, str | bytes | None, Trace | None,
]  # fmt: skip


class AccessLog:
    """Takes a request in about a microsecond; lines go to `write` within 100 ms, or 128 at a time. Without `write`
    requests are only counted, by `observe`.
    """

    __slots__ = (
        "_agents", "_append", "_clock", "_handle", "_line", "_now", "_observe", "_paths", "_pending", "_render",
        "_texts", "_timestamps", "_write",
    )  # fmt: skip

    def __init__(
        self,
        write: Callable[[bytes], None] | None,
        clock: Clock,
        render: Render = json_line,
        observe: Callable[[list[_Entry]], None] | None = None,
    ) -> None:
        self._write = write
        self._observe = observe
        self._clock = clock
        self._now = clock.now
        self._render = render
        self._line = self._json if render is json_line else self._document
        self._texts, self._paths, self._agents = _Quoted(text_of), _Quoted(shown_path), _Quoted(shown_agent)
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
        trace: Trace | None = None,
    ) -> None:
        """A request was answered. `duration` in seconds, body sizes in bytes; a query in `path` is not written."""
        self._append(
            (
                self._now(), method, path, status, route, upstream, duration, request_size, response_size,
                request_id, user_id, session_id, address, user_agent, trace,
            )
        )  # fmt: skip
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(FLUSH_AFTER, self.flush)
        elif len(self._pending) >= _BATCH:
            self.flush()

    def change(self, write: Callable[[bytes], None] | None) -> None:
        """Write there from now on; None: nowhere."""
        self.flush()
        self._write = write

    def flush(self) -> None:
        """Write what waits."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._pending:
            if self._write is not None:
                self._write("".join([self._line(entry) for entry in self._pending]).encode())
            if self._observe is not None:
                self._observe(self._pending)
            self._pending.clear()

    def _json(self, entry: _Entry) -> str:
        """What `_document` makes with `json_line`, put together from parts that come again and again."""
        (
            at, method, path, status, route, upstream, duration, request_size, response_size,
            request_id, user_id, session_id, address, user_agent, trace,
        ) = entry  # fmt: skip
        texts = self._texts
        return (
            f'{{"timestamp":"{self._timestamps.text(at)}","level":"{_LEVEL}","event":"{_EVENT}"'
            f',"request_id":{_quote(request_id)},"user_id":{texts[user_id]},"session_id":{texts[session_id]}'
            f',"client.address":{texts[address]},"user_agent.original":{self._agents[user_agent]}'
            f',"http.request.method":{texts[method]},"url.path":{self._paths[path]}'
            f',"http.response.status_code":{status},"route":{texts[route]},"upstream":{texts[upstream]}'
            f',"duration_ms":{int(duration * 100_000.0) / 100.0}'
            f',"http.request.body.size":{request_size},"http.response.body.size":{response_size}'
            f"{'' if trace is None else _traced(trace)}}}\n"
        )

    def _document(self, entry: _Entry) -> str:
        (
            at, method, path, status, route, upstream, duration, request_size, response_size,
            request_id, user_id, session_id, address, user_agent, trace,
        ) = entry  # fmt: skip
        document: dict[str, Any] = {
            "timestamp": self._timestamps.text(at),
            "level": _LEVEL,
            "event": _EVENT,
            "request_id": request_id,
            "user_id": user_id,
            "session_id": session_id,
            "client.address": address,
            "user_agent.original": shown_agent(user_agent),
            "http.request.method": method,
            "url.path": shown_path(path),
            "http.response.status_code": status,
            "route": route,
            "upstream": upstream,
            "duration_ms": int(duration * 100_000.0) / 100.0,
            "http.request.body.size": request_size,
            "http.response.body.size": response_size,
        }
        if trace is not None:
            document |= {"trace_id": trace.trace_id, "span_id": trace.span_id}
        return self._render(document).decode()


class _Quoted(dict[Any, str]):
    """Values as JSON, cleaned and quoted once. Bounded: clients can make up values for ever."""

    __slots__ = ("_clean",)

    def __init__(self, clean: Callable[[Any], str | None]) -> None:
        super().__init__()
        self._clean = clean

    def __missing__(self, value: str | bytes | None) -> str:
        quoted = _quote(self._clean(value))
        if value is None or len(value) <= _LONGEST_QUOTED:
            if len(self) >= _MOST_QUOTED:
                self.clear()
            self[value] = quoted
        return quoted


def _quote(text: str | None) -> str:
    try:
        return orjson.dumps(text).decode()
    except TypeError:  # no Unicode
        return orjson.dumps(text.encode("utf-8", "replace").decode() if text else None).decode()


def _traced(trace: Trace) -> str:
    return f',"trace_id":"{trace.trace_id}","span_id":"{trace.span_id}"'
