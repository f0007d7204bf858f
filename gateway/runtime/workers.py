"""How many workers `server.workers` asks for."""

from __future__ import annotations

import os

from gateway.settings.model import Settings


def worker_count(settings: Settings) -> int:
    """The number; `auto` is one for each CPU this process may use."""
    return settings.server.workers or usable_cpus()


def usable_cpus() -> int:
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
