"""When the configuration is read again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.changes import How
from gateway.events import Event, Name
from gateway.runtime.notify import Notifier
from gateway.runtime.reload import Reloader, RolledBack, Source
from gateway.settings.loader import Loaded
from gateway.settings.model import Settings

Apply = Callable[[Settings, How], Awaitable[None]]


class Script:
    """A source whose file looks different each time it is looked at, as the test says."""

    def __init__(self, *looks: int | None, settings: Settings | None = None) -> None:
        self._looks: Iterator[int | None] = iter(looks)
        self._last: int | None = None
        self.left = len(looks)
        self.settings = settings or Settings()
        self.loads: list[int | None] = []

    def signature(self) -> tuple[int, int, int] | None:
        self._last = next(self._looks, self._last)
        self.left = max(0, self.left - 1)
        return None if self._last is None else (self._last, 0, 0)

    def load(self) -> Loaded:
        self.loads.append(self._last)
        return Loaded(self.settings, None)


class Events:
    def __init__(self) -> None:
        self.all: list[Event] = []

    def emit(self, event: Event) -> None:
        self.all.append(event)


def settings(**sections: Any) -> Settings:
    server = {"reload": {"interval": "50ms"}} | sections.pop("server", {})
    return Settings.model_validate({"server": server} | sections)


async def nothing(_: Settings, __: How) -> None:
    """Put nothing in force."""


def reloader(source: Any, running: Settings, events: Events, apply: Apply = nothing, most: How = How.SWAP) -> Reloader:
    return Reloader(source, running, events, Notifier({}), apply, most=most)


async def follow(reloading: Reloader, until: Callable[[], object]) -> None:
    """Let it work until a condition holds."""
    task = asyncio.ensure_future(reloading.follow())
    async with asyncio.timeout(5):
        while not until():
            await asyncio.sleep(0.001)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_file_that_is_still_being_written_is_not_read() -> None:
    """0 when the gateway started; then it changes with every look, is empty, and comes to rest at 5."""
    running, events = settings(), Events()
    source = Script(0, 1, 2, 3, None, None, 4, 5, 5, settings=running)
    await follow(reloader(source, running, events), lambda: events.all)
    assert source.loads == [5]
    assert events.all[0].name is Name.CONFIG_RELOADED
    assert events.all[0].fields["trigger"] == "file"


async def test_nobody_looks_when_it_is_not_wanted() -> None:
    running, events = settings(server={"reload": {"interval": "50ms", "watch": False}}), Events()
    source = Script(0, 1, 1, 1, settings=running)
    reloading = reloader(source, running, events)
    reloading.ask()
    await follow(reloading, lambda: events.all)
    assert events.all[0].fields == {"trigger": "signal", "changes": [], "weakens": False}


async def test_the_way_is_that_of_the_greatest_change() -> None:
    applied: list[How] = []

    async def apply(_: Settings, how: How) -> None:
        applied.append(how)

    events = Events()
    wanted = settings(tokens={"access_ttl": "5m"}, throttle={"enabled": False}, storage={"database": "sqlite:///b.db"})
    reloading = reloader(Script(0, settings=wanted), settings(), events, apply, most=How.ROLL)
    reloading.ask()
    await follow(reloading, lambda: events.all)
    assert applied == [How.ROLL]
    assert reloading.running.tokens.access_ttl == 300
    assert reloading.running.storage == settings().storage
    assert [change["change"] for change in events.all[0].fields["needs_restart"]] == [  # type: ignore[attr-defined]
        "storage.database: sqlite:///gateway.db → sqlite:///b.db"
    ]


@pytest.mark.parametrize("error", [RolledBack("worker 2 ended"), RuntimeError("boom")])
async def test_what_cannot_be_put_in_force_changes_nothing(error: Exception) -> None:
    async def apply(_: Settings, __: How) -> None:
        raise error

    running, events = settings(), Events()
    reloading = reloader(Script(0, settings=settings(throttle={"enabled": False})), running, events, apply)
    reloading.ask()
    await follow(reloading, lambda: events.all)
    assert events.all[0].name is Name.CONFIG_RELOAD_FAILED
    assert str(error) in str(events.all[0].fields["problems"])
    assert reloading.running == running


async def test_a_contradiction_with_what_needs_a_restart_is_refused() -> None:
    """receipt_after fits the new access_ttl, but not the one that stays until the restart."""
    running, events = settings(tokens={"access_ttl": "2m"}), Events()
    wanted = settings(tokens={"access_ttl": "10m"}, sessions={"receipt_after": "5m", "late_window": "6m"})
    reloading = reloader(Script(0, settings=wanted), running, events)
    reloading.ask()
    await follow(reloading, lambda: events.all)
    (problem,) = events.all[0].fields["problems"]  # type: ignore[misc]
    assert "together with what needs a restart" in problem
    assert reloading.running == running


def test_what_a_file_looks_like(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    source = Source(path, env={})
    assert source.signature() is None
    path.write_text("")
    assert source.signature() is None
    path.write_text("routes: []")
    first = source.signature()
    assert first is not None
    path.write_text("routes: [ ]")
    assert source.signature() != first
    assert Source(None).signature() is None
