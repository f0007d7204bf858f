"""Lines to a file descriptor from a thread of its own: a reader that has stopped never stops the event loop."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from typing import Final

from gateway.telemetry.ports import Exclusive

MAX_BUFFER: Final = 8 * 1024 * 1024
_CHUNK: Final = 64 * 1024
_GATHER: Final = 0.02
"""Seconds the thread lets lines gather: waking it for each would cost the event loop more than writing them."""


class LineWriter:
    """A bounded buffer in front of a blocking descriptor.

    `write` never waits. When the buffer is full the new lines are dropped and counted; once there is room again
    `dropped_line` says how many are missing, as a line of its own. A reader that went away is no error: what is written
    from then on is lost.
    """

    def __init__(
        self,
        descriptor: int,
        *,
        dropped_line: Callable[[int], bytes] | None = None,
        max_buffer: int = MAX_BUFFER,
        exclusive: Exclusive | None = None,
    ) -> None:
        """`exclusive`: entered for each batch where other processes write to the same descriptor."""
        self._descriptor = descriptor
        self._exclusive = exclusive or nullcontext
        self._dropped_line = dropped_line
        self._max_buffer = max_buffer
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._missing = 0
        self._closing = False
        self._broken = False
        self._idle = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self.dropped = 0
        """Lines lost since the start."""

    def write(self, lines: bytes) -> None:
        """Queue whole lines, each with its newline. Safe from any thread."""
        with self._changed:
            if self._broken or self._closing or self._size + len(lines) > self._max_buffer:
                self._drop(lines)
                return
            if self._missing and self._dropped_line is not None:
                lines = self._dropped_line(self._missing) + lines
            self._missing = 0
            self._chunks.append(lines)
            self._size += len(lines)
            if self._idle:
                self._changed.notify()
            elif self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
                self._thread.start()

    def close(self, timeout: float = 2.0) -> bool:
        """Write what waits, for at most `timeout` seconds; whether all of it went out."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout)
        return self._thread is None or (not self._thread.is_alive() and not self._broken)

    def _drop(self, lines: bytes) -> None:
        count = lines.count(b"\n")
        self.dropped += count
        self._missing += count

    def _run(self) -> None:
        while (data := self._take()) is not None:
            if not self._put(data):
                return

    def _take(self) -> bytes | None:
        with self._changed:
            while not self._chunks:
                if self._closing:
                    return None
                self._idle = True
                self._changed.wait()
                self._idle = False
            if not self._closing and self._size < _CHUNK:
                self._changed.wait(_GATHER)
            taken = [self._chunks.popleft()]
            size = len(taken[0])
            while self._chunks and size < _CHUNK:
                size += len(self._chunks[0])
                taken.append(self._chunks.popleft())
        return b"".join(taken)

    def _put(self, data: bytes) -> bool:
        """Write all of `data`; only then does its room in the buffer become free."""
        view = memoryview(data)
        try:
            with self._exclusive():
                while view:
                    view = view[os.write(self._descriptor, view) :]
        except OSError:
            with self._changed:
                self._broken = True
                self._drop(bytes(view))
                while self._chunks:
                    self._drop(self._chunks.popleft())
            return False
        with self._changed:
            self._size -= len(data)
        return True
