"""The certificate of the public listener: loaded whole or not at all, and loaded again when its files change."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from gateway.errors import CannotStart
from gateway.events import Event, EventSink, Level, Name
from gateway.settings.certificates import ServerFiles, TlsProblem, expiry, server_context

POLL_EVERY: Final = 5.0


class TlsKeeper:
    """The context in force. A new handshake uses the newest pair; connections that stand keep theirs.

    `poll` looks at the files; what changed is loaded once it has been the same for two looks, because a renewal writes
    more than one file.
    """

    def __init__(self, files: ServerFiles, events: EventSink) -> None:
        """Raises `CannotStart` when the files cannot be used."""
        self._files = files
        self._events = events
        self._loaded = self._seen = self._state()
        try:
            self.context = server_context(files)
            self.not_after = expiry(files.certificate).timestamp()
            """When the certificate in force ends, Unix time in seconds."""
        except TlsProblem as problem:
            raise CannotStart(f"cannot use the TLS certificate: {problem}") from problem

    async def watch(self) -> None:
        """Poll for ever."""
        while True:
            await asyncio.sleep(POLL_EVERY)
            self.poll()

    def poll(self) -> None:
        """Look once. A pair that cannot be used leaves the old one in force, and is told once."""
        state = self._state()
        settled, self._seen = state == self._seen, state
        if state == self._loaded or not settled:
            return
        self._loaded = state
        try:
            context = server_context(self._files)
            ends = expiry(self._files.certificate)
        except TlsProblem as problem:
            self._events.emit(Event(Name.TLS_RELOAD_FAILED, Level.ERROR, fields={"error": str(problem)}))
            return
        self.context, self.not_after = context, ends.timestamp()
        self._events.emit(Event(Name.TLS_RELOADED, fields={"not_after": ends.strftime("%Y-%m-%dT%H:%M:%SZ")}))

    def _state(self) -> tuple[object, ...]:
        return tuple(_stamp(path) for path in self._files.paths)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
