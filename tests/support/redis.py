"""A real redis-server: started by the first test that asks, gone with the test process.

`scripts/test` installs it where it may. Without it these tests are skipped on a developer's machine, and fail in CI.
"""

from __future__ import annotations

import atexit
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from support.leaks import WATCH

PATIENCE: Final = 20.0
PASSWORD: Final = "redis-password-of-the-tests"
USER: Final = "gateway"
_CONFIG: Final = """\
bind 127.0.0.1
port {port}
unixsocket {folder}/redis.sock
dir {folder}
logfile {folder}/log
appendonly yes
appendfsync always
save ""
requirepass {password}
user {user} on >{password} ~* &* +@all -@dangerous +info +config|get
{extra}
"""


class RedisServer:
    """One server with a folder and a port of its own; what it acknowledged is on disk."""

    def __init__(self, folder: Path, *, extra: str = "", mode: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.port = free_port()
        self.socket = folder / "redis.sock"
        self._mode = mode
        self._process: subprocess.Popen[bytes] | None = None
        config = _CONFIG.format(port=self.port, folder=folder, password=PASSWORD, user=USER, extra=extra)
        if "--sentinel" in mode:  # rewrites its file; has neither persistence nor a socket
            config = f"bind 127.0.0.1\nport {self.port}\ndir {folder}\nlogfile {folder}/log\n{extra}\n"
        (folder / "redis.conf").write_text(config)

    def start(self) -> None:
        """Start, or start again on the same data and port; returns when it answers."""
        self._process = subprocess.Popen(
            [binary(), str(self.folder / "redis.conf"), *self._mode],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
        )
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            assert self._process.poll() is None and time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.01)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it: SIGTERM in order, SIGKILL as a crash would."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(PATIENCE)
            self._process = None

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def url(self, db: int = 0, *, port: int | None = None) -> str:
        """A URL as the configuration holds it."""
        return f"redis://{USER}:{PASSWORD}@127.0.0.1:{port or self.port}/{db}"

    def command(self, *words: str) -> str:
        """One command of the administrator, its answer as text."""
        request = _packed("AUTH", PASSWORD) + _packed(*words) + _packed("QUIT")
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection:
            connection.settimeout(PATIENCE)
            connection.sendall(request)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        return answer.removeprefix(b"+OK\r\n").removesuffix(b"+OK\r\n").decode()

    def _answers(self) -> bool:
        """Whether it has loaded its data: asked without logging in, it still says when it has not."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
            connection.settimeout(1)
            connection.sendall(_packed("AUTH", PASSWORD) + _packed("PING"))
            answer = b""
            while answer.count(b"\r\n") < 2 and (more := connection.recv(1024)):
                answer += more
            return b"+PONG" in answer
        return False


@cache
def server() -> RedisServer:
    """The server that the tests of this process share."""
    made = RedisServer(_folder("shared"))
    made.start()
    atexit.register(made.stop)
    return made


@contextmanager
def own_server(*, extra: str = "", mode: tuple[str, ...] = ()) -> Iterator[RedisServer]:
    """A server for one test, which may do anything to it. `extra`: lines of its configuration; `mode`: arguments."""
    made = RedisServer(_folder("own"), extra=extra, mode=mode)
    made.start()
    try:
        yield made
    finally:
        made.stop()


@cache
def binary() -> str:
    """The program, or a skip of the test that asks; in CI there is no skipping."""
    found = os.environ.get("GATEWAY_TEST_REDIS") or shutil.which("redis-server")
    if found is None:
        message = "needs redis-server: apt-get install redis-server, or GATEWAY_TEST_REDIS=/path/to/it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


@cache
def _root() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="gateway-redis-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    WATCH.secret(PASSWORD.encode(), "the password of Redis")
    return folder


def _folder(name: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=_root()))


def _packed(*words: str) -> bytes:
    parts = [b"$%d\r\n%b\r\n" % (len(word.encode()), word.encode()) for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(parts)


def free_port() -> int:
    """A port below those that connections get: nobody takes it while the server is down for a moment."""
    while True:
        port = random.randint(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
