"""The log of a process: formats, libraries, and a stdout nobody reads."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.clock import FrozenClock

from gateway.events import Event, Name
from gateway.stores.memory import open_memory
from gateway.telemetry.activity import Activity
from gateway.telemetry.logging import Telemetry, configure


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


class Pipe:
    """A telemetry that writes into a pipe."""

    def __init__(self, **options: Any) -> None:
        self._reader, self._descriptor = os.pipe()
        self.telemetry: Telemetry = configure(FrozenClock(), descriptor=self._descriptor, **options)

    async def lines(self) -> list[dict[str, Any]]:
        await self.telemetry.close()
        os.close(self._descriptor)
        with os.fdopen(self._reader, "rb") as reader:
            return [json.loads(line) for line in reader]


async def test_everything_goes_to_one_place_as_json() -> None:
    clock = FrozenClock()
    store = open_memory(clock).events
    pipe = Pipe(activity=Activity(store, clock, keep=10))
    pipe.telemetry.events.emit(Event(Name.LOGIN_SUCCEEDED, user_id="u1"))
    pipe.telemetry.access.request("GET", "/x", 200, "api", None, 0.001, 0, 0, "r1")
    assert sorted(line["event"] for line in await pipe.lines()) == ["login.succeeded", "proxy.request"]
    assert len(await store.read_events()) == 1


async def test_level_and_access_log_change_while_it_runs() -> None:
    pipe = Pipe()
    telemetry = pipe.telemetry
    telemetry.access.request("GET", "/before", 200, "api", None, 0.001, 0, 0, "r1")
    telemetry.change("error", access_log=True)
    telemetry.access.request("GET", "/unwritten", 200, "api", None, 0.001, 0, 0, "r2")
    telemetry.events.emit(Event(Name.LOGIN_SUCCEEDED, user_id="u1"))
    telemetry.change("info", access_log=True)
    telemetry.events.emit(Event(Name.LOGIN_SUCCEEDED, user_id="u2"))
    telemetry.access.request("GET", "/after", 200, "api", None, 0.001, 0, 0, "r3")
    telemetry.change("info", access_log=False)
    telemetry.access.request("GET", "/off", 200, "api", None, 0.001, 0, 0, "r4")
    lines = await pipe.lines()
    assert [(line["event"], line.get("url.path") or line["user_id"]) for line in lines] == [
        ("proxy.request", "/before"),
        ("login.succeeded", "u2"),
        ("proxy.request", "/after"),
    ]
    requests = next(family for family in telemetry.metrics.snapshot() if family.name == "gateway_requests")
    assert requests.samples == {("api", "GET", "200"): [4]}


@pytest.mark.parametrize("options", [{"access_log": False}, {"level": "warning"}])
async def test_the_access_log_can_be_off_and_requests_are_counted_all_the_same(options: dict[str, Any]) -> None:
    pipe = Pipe(**options)
    pipe.telemetry.access.request("GET", "/x", 200, "api", None, 0.001, 0, 0, "r1")
    assert await pipe.lines() == []
    requests = next(family for family in pipe.telemetry.metrics.snapshot() if family.name == "gateway_requests")
    assert requests.samples == {("api", "GET", "200"): [1]}


def hand_over(name: str, level: int, message: str, *args: object, error: Exception | None = None) -> None:
    """Log past pytest's own handler, which would keep what must not be kept."""
    trace = (type(error), error, error.__traceback__) if error is not None else None
    logging.getLogger().handlers[-1].handle(logging.LogRecord(name, level, "", 0, message, args, trace))


async def test_libraries_log_as_events_without_secrets() -> None:
    pipe = Pipe()
    token = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhIn0.c2ln" + "A" * 20
    logging.getLogger("aiohttp.server").info("not written")
    hand_over("aiohttp.server", logging.WARNING, "GET /x?code=%s for Bearer %s", "geheim", token)
    hand_over("asyncio", logging.ERROR, "failed", error=ValueError(f"password=hunter2 {token}"))
    hand_over("bad", logging.WARNING, "%d", "no number")
    logging.getLogger("py.warnings").warning("odd")
    lines = await pipe.lines()
    assert [(line["event"], line["level"], line["logger"]) for line in lines] == [
        ("log.library", "warning", "aiohttp.server"),
        ("log.library", "error", "asyncio"),
        ("log.library", "warning", "bad"),
        ("log.library", "warning", "py.warnings"),
    ]
    assert lines[0]["message"].startswith("GET /x?[redacted]")
    assert "ValueError" in lines[1]["exception.stacktrace"]
    for secret in ("geheim", "hunter2", token):
        assert secret not in json.dumps(lines)


async def test_debug_lets_libraries_say_everything() -> None:
    pipe = Pipe(level="debug")
    logging.getLogger("x").debug("detail")
    assert [(line["level"], line["message"]) for line in await pipe.lines()] == [("info", "detail")]


async def test_configuring_twice_does_not_write_twice() -> None:
    first, second = Pipe(), Pipe()
    logging.getLogger("x").warning("once")
    assert len(await second.lines()) == 1
    assert await first.lines() == []


async def test_a_terminal_gets_readable_lines_with_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for no_color in (False, True):
        if no_color:
            monkeypatch.setenv("NO_COLOR", "1")
        controller, terminal = pty.openpty()
        telemetry = configure(FrozenClock(), descriptor=terminal)
        telemetry.events.emit(Event(Name.GATEWAY_STARTED, fields={"listen": "x"}))
        await telemetry.close()
        shown = os.read(controller, 10_000)
        assert b"gateway.started" in shown
        assert (b"\x1b[" in shown) is not no_color
        os.close(controller)
        os.close(terminal)


async def test_a_stdout_that_nobody_reads_does_not_stop_the_loop() -> None:
    reader, descriptor = os.pipe()
    telemetry = configure(FrozenClock(), descriptor=descriptor)
    assert telemetry.access is not None
    slowest, before = 0.0, time.monotonic()
    for number in range(400):
        for _ in range(128):
            telemetry.access.request("GET", "/" + "x" * 200, 200, "api", "http://h", 0.001, 0, 0, "r1")
        telemetry.events.emit(Event(Name.STORE_FAILED, fields={"message": str(number)}))
        await asyncio.sleep(0)
        now = time.monotonic()
        slowest, before = max(slowest, now - before), now
    assert telemetry.writer.dropped > 0, "8 MiB were not enough to fill the buffer"
    assert slowest < 2.0
    os.close(reader)
    started = time.monotonic()
    await telemetry.close()
    assert time.monotonic() - started < 10
    os.close(descriptor)


def test_a_process_whose_stdout_is_stuck_still_ends() -> None:
    code = (
        "import asyncio, sys\n"
        "from gateway.clock import SystemClock\nfrom gateway.events import Event, Name\n"
        "from gateway.telemetry.logging import configure\n"
        "async def main():\n"
        "    telemetry = configure(SystemClock())\n"
        "    for _ in range(100): telemetry.events.emit(Event(Name.STORE_FAILED, fields={'message': 'x' * 9000}))\n"
        "    telemetry.writer.close(0.05)\n"
        "asyncio.run(main())\nprint('ended', file=sys.stderr)\n"
    )
    reader, descriptor = os.pipe()
    with subprocess.Popen([sys.executable, "-c", code], stdout=descriptor, stderr=subprocess.PIPE) as process:
        os.close(descriptor)
        assert process.wait(timeout=60) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b"ended\n"
    os.close(reader)
