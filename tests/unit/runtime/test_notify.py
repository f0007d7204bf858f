"""What systemd is told."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.runtime.notify import Notifier, without_notify


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A service manager that listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(5)
        receiver.bind(str(tmp_path / "notify"))
        yield receiver


def notifier(manager: socket.socket, **env: str) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": manager.getsockname(), **env}, pid=4711)


def test_the_states_of_a_service(manager: socket.socket) -> None:
    telling = notifier(manager)
    telling.ready()
    telling.reloading()
    telling.stopping()
    assert manager.recv(1024) == b"READY=1\nMAINPID=4711"
    assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=\d+", manager.recv(1024))
    assert manager.recv(1024) == b"STOPPING=1"


async def test_signs_of_life(manager: socket.socket) -> None:
    telling = notifier(manager, WATCHDOG_USEC="30000", WATCHDOG_PID="4711")
    assert telling.watchdog == 0.03
    task = asyncio.ensure_future(telling.keep_alive())
    received = [await asyncio.to_thread(manager.recv, 1024) for _ in range(3)]
    task.cancel()
    await asyncio.wait([task])
    assert received == [b"WATCHDOG=1"] * 3


async def test_nobody_watches(manager: socket.socket) -> None:
    assert notifier(manager, WATCHDOG_USEC="30000", WATCHDOG_PID="1").watchdog is None
    assert notifier(manager, WATCHDOG_USEC="soon").watchdog is None
    async with asyncio.timeout(5):
        await notifier(manager).keep_alive()


def test_an_abstract_socket() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0gateway-test-notify")
        receiver.settimeout(5)
        Notifier({"NOTIFY_SOCKET": "@gateway-test-notify"}, pid=1).stopping()
        assert receiver.recv(64) == b"STOPPING=1"


def test_without_a_manager_nothing_happens(tmp_path: Path) -> None:
    Notifier({}).ready()
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready()
    assert without_notify({"NOTIFY_SOCKET": "x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "2", "HOME": "/"}) == {
        "HOME": "/"
    }
