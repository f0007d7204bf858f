"""Tells systemd how the service is (sd_notify(3)): datagrams to `NOTIFY_SOCKET`, nothing without one."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Mapping
from typing import Final

_VARIABLES: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """The service manager, if there is one. It is told by the process it started: a supervisor, or the only worker."""

    def __init__(self, env: Mapping[str, str] = os.environ, pid: int | None = None) -> None:
        self._pid = pid or os.getpid()
        self._address = env.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):  # the abstract namespace
            self._address = "\0" + self._address[1:]
        microseconds = env.get("WATCHDOG_USEC", "")
        meant = env.get("WATCHDOG_PID", str(self._pid)) == str(self._pid)
        self.watchdog: float | None = int(microseconds) / 1e6 if meant and microseconds.isdigit() else None
        """Seconds without a sign of life after which the service is ended; None: nobody watches."""

    def ready(self) -> None:
        """Requests are served; also: the reload is over."""
        self.tell(f"READY=1\nMAINPID={self._pid}")

    def reloading(self) -> None:
        """The configuration is read again."""
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self.tell(f"RELOADING=1\nMONOTONIC_USEC={microseconds}")

    def stopping(self) -> None:
        """Requests under way are finished, then the process ends."""
        self.tell("STOPPING=1")

    async def keep_alive(self) -> None:
        """Show signs of life for as long as the event loop turns."""
        if not self.watchdog or not self._address:
            return
        while True:
            self.tell("WATCHDOG=1")
            await asyncio.sleep(self.watchdog / 3)

    def tell(self, text: str) -> None:
        """Send it; a manager that does not listen is none."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0)) as sender:
                sender.setblocking(False)
                sender.sendto(text.encode(), self._address)
        except OSError:
            return


def without_notify(env: Mapping[str, str]) -> dict[str, str]:
    """`env` for a process that is not the one systemd watches."""
    return {name: value for name, value in env.items() if name not in _VARIABLES}
