"""Keeps the log lines of several processes on one stdout whole: a pipe takes 4 KiB in one piece, a batch is larger."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


def make_lock() -> int:
    """The descriptor of a file to lock, for the processes that inherit it."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("gateway-log")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class LogLock:
    """Locks the file of `descriptor` between processes. A process that dies gives its lock back."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Hold it."""
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN)
