"""Reads the configuration again, on SIGHUP or when the file has changed: all of it is put in force, or nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gateway import tasks
from gateway.changes import Change, How, compare, merged
from gateway.errors import GatewayError
from gateway.events import Event, EventSink, Level, Name
from gateway.runtime.notify import Notifier
from gateway.settings import checks
from gateway.settings.loader import Loaded, load
from gateway.settings.model import Settings
from gateway.settings.problems import ConfigError, Problem, dotted

_TOGETHER: Final = "together with what needs a restart: "


@dataclass(frozen=True, slots=True)
class Source:
    """Where the configuration comes from: a file, the environment, flags of the command line."""

    path: Path | None
    overrides: Mapping[str, object] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def load(self) -> Loaded:
        """Read all of it. Raises `ConfigError` or `CannotStart`."""
        return load(self.path, self.env, self.overrides)

    def signature(self) -> tuple[int, int, int] | None:
        """What is different once the file has been written: None without a file, or while it is empty."""
        try:
            found = self.path.stat() if self.path is not None else None
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size, found.st_ino) if found is not None and found.st_size else None


class RolledBack(Exception):
    """A new configuration could not be put in force; the old one is. The text says why."""


Apply = Callable[[Settings, How], Awaitable[None]]
"""Puts settings in force in the given way, as a whole; raises `GatewayError` or `RolledBack` and leaves it."""


class Reloader:
    """Keeps `running` true to the source, as far as `most` allows without a restart of the whole.

    One reload at a time; what is asked for meanwhile is done once, after it.
    """

    def __init__(
        self, source: Source, running: Settings, events: EventSink, notifier: Notifier, apply: Apply, *, most: How
    ) -> None:
        self.running = running
        self._source = source
        self._events = events
        self._notifier = notifier
        self._apply = apply
        self._most = most
        self._asked = asyncio.Event()
        self._trigger = "signal"
        self._read = source.signature()

    def ask(self, trigger: str = "signal") -> None:
        """Read the configuration again, soon. `trigger` is for the log."""
        self._trigger = trigger
        self._asked.set()

    async def follow(self) -> None:
        """Do what is asked; never returns."""
        watch = tasks.spawn(self._watch(), name="configuration file")
        try:
            while True:
                await self._asked.wait()
                self._asked.clear()
                await self._reload(self._trigger)
        finally:
            await tasks.cancel(watch)

    async def _watch(self) -> None:
        """A file that is new and has not changed between two looks was written to its end."""
        before = self._read
        while True:
            settings = self.running.server.reload
            await asyncio.sleep(settings.interval)
            now = self._source.signature() if settings.watch else None
            if now is not None and now == before and now != self._read:
                self.ask("file")
            before = now

    async def _reload(self, trigger: str) -> None:
        self._notifier.reloading()
        self._read = self._source.signature()
        try:
            loaded = await asyncio.to_thread(self._source.load)
            wanted = self._in_reach(loaded.settings)
            changes = compare(self.running, wanted)
            if changes:
                await self._apply(wanted, max(change.how for change in changes))
        except (GatewayError, RolledBack) as error:
            self._failed(trigger, error)
        except Exception as error:  # noqa: BLE001 - whatever it was, the old configuration is in force
            self._failed(trigger, RolledBack(f"{type(error).__name__}: {error}"))
        else:
            pending = compare(wanted, loaded.settings)
            self.running = wanted
            self._succeeded(trigger, changes, pending, loaded.warnings)
        finally:
            self._notifier.ready()

    def _in_reach(self, settings: Settings) -> Settings:
        """`settings` but for what only a restart of the whole can change. Raises `ConfigError`."""
        if all(change.how <= self._most for change in compare(self.running, settings)):
            return settings
        wanted = merged(self.running, settings, self._most)
        found = checks.run(wanted, range(len(wanted.routes))).errors
        if found:
            raise ConfigError(
                [
                    Problem(dotted(finding.location), None, _TOGETHER + finding.message, finding.hint)
                    for _, finding in found
                ]
            )
        return wanted

    def _succeeded(
        self, trigger: str, changes: tuple[Change, ...], pending: tuple[Change, ...], warnings: tuple[Problem, ...]
    ) -> None:
        weakens = any(change.weakens for change in changes)
        fields: dict[str, object] = {
            "trigger": trigger,
            "changes": [change.document() for change in changes],
            "weakens": weakens,
        }
        if pending:
            fields["needs_restart"] = [change.document() for change in pending]
        if warnings:
            fields["warnings"] = [str(warning) for warning in warnings]
        level = Level.WARNING if weakens or pending or warnings else Level.INFO
        self._events.emit(Event(Name.CONFIG_RELOADED, level, fields=fields))

    def _failed(self, trigger: str, error: Exception) -> None:
        if isinstance(error, ConfigError):
            problems = [str(problem) for problem in error.problems]
        elif isinstance(error, GatewayError):
            problems = [error.debug or error.detail or error.title]
        else:
            problems = [str(error)]
        fields: dict[str, object] = {"trigger": trigger, "problems": problems}
        self._events.emit(Event(Name.CONFIG_RELOAD_FAILED, Level.ERROR, fields=fields))
