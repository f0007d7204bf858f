"""One of several workers: a process that serves on listeners it inherited, and tells the supervisor how it is.

usage: python -m gateway.runtime.worker DESCRIPTOR     started by `gateway.runtime.supervisor`
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from typing import Any, Final, NoReturn

from gateway import tasks
from gateway.app import Gateway, open_gateway
from gateway.clock import SystemClock
from gateway.errors import GatewayError
from gateway.proxy.front import Front
from gateway.runtime.channel import Channel, Message, encode, read_first
from gateway.runtime.fleet_metrics import packed, unpacked
from gateway.runtime.listeners import Listeners
from gateway.runtime.loglock import LogLock
from gateway.runtime.serving import Stop, run, serving
from gateway.runtime.turns import Counts, Turns
from gateway.settings.model import Settings
from gateway.telemetry.metrics import Family

BEAT: Final = 1.0
_PATIENCE: Final = 2.0
"""Seconds for the supervisor to say what the other workers have counted."""
CANNOT_START, BAD_CONFIG = 3, 78


class Worker:
    """What a worker answers the supervisor. `stop` is also its end when the supervisor is gone."""

    def __init__(self, stop: Stop) -> None:
        self.stop = stop
        self.channel: Channel
        self.gateway: Gateway | None = None
        self._prepared: Callable[[], None] | None = None
        self._fleet: Mapping[str, str | None] = {}
        self._asked: list[asyncio.Future[list[Family]]] = []

    def others(self) -> Mapping[str, str | None]:
        """What the supervisor says about all workers, as checks."""
        return self._fleet

    async def elsewhere(self) -> list[Family]:
        """What the other workers have counted, and those before them. Raises TimeoutError."""
        asked: asyncio.Future[list[Family]] = asyncio.get_running_loop().create_future()
        self._asked.append(asked)
        self.channel.send({"scrape": True})
        return await asyncio.wait_for(asked, _PATIENCE)

    def ready(self, gateway: Gateway) -> None:
        """Requests are served."""
        self.gateway = gateway
        gateway.login_throttle.tell = lambda *outcome: self.channel.send({"login": outcome})
        self.channel.send({"ready": {"warnings": gateway.warnings}})

    async def beat(self) -> None:
        """Show that the event loop turns, and what is wrong; never returns."""
        while True:
            problems = self.gateway.quick_checks().items() if self.gateway is not None else ()
            self.channel.send({"beat": "; ".join(f"{name}: {text}" for name, text in problems if text) or None})
            self.count()
            await asyncio.sleep(BEAT)

    def count(self) -> None:
        """Tell what was counted here."""
        if self.gateway is not None:
            self.channel.send({"counts": packed(self.gateway.counted())})

    def heard(self, message: Message) -> None:
        """The supervisor said something."""
        gateway = self.gateway
        if "fleet" in message:
            self._fleet = message["fleet"]
        elif "counted" in message:
            asked, self._asked = self._asked, []
            for future in asked:
                if not future.done():
                    future.set_result(unpacked(message["counted"]))
        elif "login" in message and gateway is not None:
            gateway.login_throttle.hear(*message["login"])
        elif "prepare" in message and gateway is not None:
            tasks.spawn(self._prepare(gateway, message["prepare"]), name="new configuration")
        elif "commit" in message and self._prepared is not None:
            self._prepared()
            self._prepared = None
        elif "discard" in message:
            self._prepared = None
        elif "leave" in message:
            self.stop.wish()
        elif "hurry" in message:
            self.stop.hurry()

    async def _prepare(self, gateway: Gateway, document: dict[str, Any]) -> None:
        try:
            self._prepared = await gateway.prepare(Settings.model_validate(document))
        except Exception as error:  # noqa: BLE001 - whatever it is, the supervisor has to know
            self.channel.send({"prepared": _sentence(error)})
        else:
            self.channel.send({"prepared": None})


def main() -> None:
    """Run one worker to its end."""
    # The supervisor decides about these, and says so with SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sock = socket.socket(fileno=int(sys.argv[1]))
    try:
        first = read_first(sock)
        settings = Settings.model_validate(first["settings"])
    except EOFError:
        sys.exit(0)
    except ValueError as error:
        _give_up(sock, BAD_CONFIG, error)
    try:
        run(_work(sock, first, settings))
    except GatewayError as error:
        _give_up(sock, BAD_CONFIG if error.code == "bad_configuration" else CANNOT_START, error)


def _give_up(sock: socket.socket, code: int, error: Exception) -> NoReturn:
    """The supervisor says it on stderr, once for all workers."""
    with suppress(OSError):
        sock.sendall(encode({"failed": {"code": code, "message": _sentence(error)}}))
    sys.exit(code)


async def _work(sock: socket.socket, first: Message, settings: Settings) -> None:
    stop = Stop()
    # Service managers send it to all processes, and the supervisor says the same: that is one wish, not two.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.wish)
    worker = Worker(stop)
    # A copy of the socket: what stops the start is said over the original.
    worker.channel = await Channel.over(sock.dup(), worker.heard, stop.wish)
    beat = tasks.spawn(worker.beat(), name="signs of life")
    lock, number = LogLock(first["lock"]), first["number"]
    counts = Counts(first["counts"])

    def turns(front: Front) -> Turns:
        return Turns(lambda: front.load, counts, number)

    try:
        with closing(Listeners.adopt(first["descriptors"])) as listeners:
            # The first sends them for all: it is there whenever any is, and replaced within moments.
            opened = open_gateway(settings, SystemClock(), exclusive=lock, canary=number == 1)
            async with opened as gateway:
                async with serving(
                    gateway, listeners, stop, nth=number, others=worker.others, elsewhere=worker.elsewhere, turns=turns
                ):
                    worker.ready(gateway)
                    await stop.wait()
                worker.count()
    finally:
        await tasks.cancel(beat)
        worker.channel.close()


def _sentence(error: BaseException) -> str:
    if isinstance(error, GatewayError):
        return error.debug or error.detail or error.title
    return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    main()
