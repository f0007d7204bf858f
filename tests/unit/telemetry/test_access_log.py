"""`proxy.request` lines."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from support.clock import FrozenClock

from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.lines import console_renderer


class Lines:
    """What was written, and in how many writes."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def __call__(self, data: bytes) -> None:
        self.writes.append(data)

    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in b"".join(self.writes).splitlines()]


def request(log: AccessLog, path: str | bytes = "/api/x", **changes: Any) -> None:
    values: dict[str, Any] = {
        "method": "GET", "path": path, "status": 200, "route": "api", "upstream": "http://127.0.0.1:9000",
        "duration": 0.0123456, "request_size": 0, "response_size": 48, "request_id": "r1", "user_id": "u1",
        "session_id": "s1", "address": "203.0.113.7", "user_agent": b"curl/8",
    }  # fmt: skip
    log.request(**(values | changes))


async def test_a_line_has_the_fields_of_the_contract() -> None:
    lines = Lines()
    log = AccessLog(lines, FrozenClock())
    request(log)
    log.flush()
    assert lines.documents() == [
        {
            "timestamp": "2026-09-21T14:13:20.000Z",
            "level": "info",
            "event": "proxy.request",
            "request_id": "r1",
            "user_id": "u1",
            "session_id": "s1",
            "client.address": "203.0.113.7",
            "user_agent.original": "curl/8",
            "http.request.method": "GET",
            "url.path": "/api/x",
            "http.response.status_code": 200,
            "route": "api",
            "upstream": "http://127.0.0.1:9000",
            "duration_ms": 12.34,
            "http.request.body.size": 0,
            "http.response.body.size": 48,
        }
    ]


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ('/a"b\\c', '/a"b\\c'),
        ("/a\n{}\r\x00\x1b[31m\x7f", "/a\n{}\r\x00\x1b[31m\x7f"),
        ("/ü/日本", "/ü/日本"),
        (b"/\xff\xfe", "/\\xff\\xfe"),
        ("/\udcff", "/?"),
        ("/a?token=gwr_secret", "/a"),
        (b"/a?b?c", "/a"),
        ("/" + "a" * 10_000, "/" + "a" * 4095),
    ],
)
async def test_any_path_is_one_line_of_json_without_its_query(path: str | bytes, written: str) -> None:
    lines = Lines()
    log = AccessLog(lines, FrozenClock())
    request(
        log, path, user_agent=b'evil"\n\xff' + b"x" * 1000, user_id=None, session_id=None, route=None, upstream=None
    )
    log.flush()
    (data,) = lines.writes
    assert data.count(b"\n") == 1
    (document,) = lines.documents()
    assert document["url.path"] == written
    assert document["user_agent.original"].startswith('evil"\n\\xffxxx')
    assert len(document["user_agent.original"]) == 512
    assert (document["user_id"], document["route"]) == (None, None)


async def test_lines_wait_a_moment_and_leave_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.telemetry.access_log.FLUSH_AFTER", 0.01)
    lines = Lines()
    log = AccessLog(lines, FrozenClock())
    request(log)
    request(log)
    assert lines.writes == []
    async with asyncio.timeout(10):
        while not lines.writes:
            await asyncio.sleep(0)
    assert [len(write.splitlines()) for write in lines.writes] == [2]
    request(log)
    log.flush()
    log.flush()
    assert [len(write.splitlines()) for write in lines.writes] == [2, 1]


async def test_many_lines_do_not_wait() -> None:
    lines = Lines()
    log = AccessLog(lines, FrozenClock())
    for _ in range(300):
        request(log)
    assert [len(write.splitlines()) for write in lines.writes] == [128, 128]
    log.flush()
    assert len(lines.documents()) == 300


async def test_times_are_those_of_the_requests() -> None:
    lines, clock = Lines(), FrozenClock()
    log = AccessLog(lines, clock)
    for seconds in (0.0, 0.001, 0.998, 0.001, 3600.0):
        clock.advance(seconds)
        request(log)
    log.flush()
    assert [document["timestamp"][11:] for document in lines.documents()] == [
        "14:13:20.000Z", "14:13:20.001Z", "14:13:20.999Z", "14:13:21.000Z", "15:13:21.000Z",
    ]  # fmt: skip


async def test_on_a_terminal_a_line_is_readable_and_cannot_move_the_cursor() -> None:
    lines = Lines()
    log = AccessLog(lines, FrozenClock(), console_renderer(colors=False))
    request(log, "/a\x1b[2J\n")
    log.flush()
    (line,) = lines.writes
    assert b"proxy.request" in line
    assert b"14:13:20.000" in line
    assert b"\x1b" not in line
    assert line.count(b"\n") == 1
