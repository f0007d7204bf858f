"""A worker process as the supervisor sees it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway import tasks
from gateway.runtime.channel import Channel, Message
from gateway.runtime.notify import without_notify


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a worker did not get ready. `code` is its exit code; a signal is negative."""

    code: int
    message: str


class Child:
    """A worker, from its start to its end. `settings` is the document it runs under."""

    def __init__(self, number: int, version: int, said: Callable[[Child, Message], None]) -> None:
        self.number = number
        self.version = version
        self.started_at = self.seen_at = time.monotonic()
        self.ready = False
        self.leaving = False
        self.problem: str | None = None
        self.warnings: tuple[str, ...] = ()
        self._said = said
        self._message: str | None = None
        self._process: asyncio.subprocess.Process
        self._channel: Channel
        loop = asyncio.get_running_loop()
        self._up: asyncio.Future[Failure | None] = loop.create_future()
        self._answer: asyncio.Future[str | None] | None = None
        self.exited: asyncio.Future[int] = loop.create_future()

    async def start(self, first: Message, descriptors: list[int]) -> None:
        """Start the process, which inherits `descriptors`, and hand it its first message.

        A new interpreter, not a fork: nothing of this process's threads, locks and loop comes along, and a worker that
        is started after an upgrade runs the new code.
        """
        ours, theirs = socket.socketpair()
        with ExitStack() as undone, theirs:
            undone.callback(ours.close)
            ours.setblocking(False)
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *_flags(),
                "-m",
                "gateway.runtime.worker",
                str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=[theirs.fileno(), *descriptors],
                env=without_notify(os.environ),
                process_group=0,  # Ctrl-C is for the supervisor
            )
            undone.pop_all()
        self._channel = await Channel.over(ours, self._heard, lambda: None)
        self.send(first)
        tasks.spawn(self._wait(), name=f"worker {self.number}")

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    async def up(self, patience: float) -> Failure | None:
        """Wait until it serves (None) or has ended; after `patience` seconds it is ended."""
        try:
            return await asyncio.wait_for(asyncio.shield(self._up), patience)
        except TimeoutError:
            self.kill()
            await self.exited
            return Failure(-signal.SIGKILL, f"a worker was not ready within {patience:.0f} s")

    async def prepare(self, document: dict[str, Any], patience: float) -> str | None:
        """Let it build everything for another configuration. None: done; otherwise why not."""
        self._answer = asyncio.get_running_loop().create_future()
        self.send({"prepare": document})
        try:
            return await asyncio.wait_for(self._answer, patience)
        except TimeoutError:
            return f"worker {self.number} did not answer within {patience:.0f} s"

    def send(self, message: Message) -> None:
        """Say something."""
        self._channel.send(message)

    def leave(self) -> None:
        """Ask it to drain and end."""
        self.leaving = True
        if self.ready:
            self.send({"leave": True})
        else:
            self._signal(signal.SIGTERM)

    def hurry(self) -> None:
        """Ask it to end without waiting for its requests."""
        self.leaving = True
        self.send({"hurry": True})

    def kill(self) -> None:
        """End it now."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def _heard(self, message: Message) -> None:
        self.seen_at = time.monotonic()
        if "ready" in message:
            self.ready = True
            self.warnings = tuple(message["ready"]["warnings"])
            if not self._up.done():
                self._up.set_result(None)
        elif "failed" in message:
            self._message = message["failed"]["message"]
        elif "prepared" in message:
            if self._answer is not None and not self._answer.done():
                self._answer.set_result(message["prepared"])
        else:
            self._said(self, message)

    async def _wait(self) -> None:
        code = await self._process.wait()
        await asyncio.sleep(0)  # what it said last
        self.ready = False
        if not self._up.done():
            self._up.set_result(Failure(code, self._message or f"a worker ended with exit code {code} at its start"))
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(f"worker {self.number} ended with exit code {code}")
        self._channel.close()
        self.exited.set_result(code)


def _flags() -> list[str]:
    """`-P` unless this process was started with `-m` itself: a module in the current folder must not run as ours."""
    here = sys.path[0] if sys.path and not sys.flags.safe_path else ""
    return [] if here and Path(here) == Path.cwd() else ["-P"]
