"""Real gateway processes: started, talked to, stopped or killed. Everything they write is kept and watched."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from gateway.clock import SystemClock
from gateway.credentials.hasher import PasswordHasher
from gateway.credentials.users import UserService
from gateway.stores.factory import open_stores
from support.echo import EchoUpstream
from support.leaks import WATCH

PATIENCE = 20.0
"""Seconds before a condition that never comes true fails the test."""
PASSWORD = "correct-horse-battery"
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
AT_ONCE = {"in_flight_window": "0s", "late_window": "0s", "receipt_after": "0s"}
"""Windows of rotation that make theft show at once."""


def until(condition: Callable[[], object], what: str = "the condition", seconds: float = PATIENCE) -> None:
    """Wait for a condition, not for a time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} never came true"
        time.sleep(0.02)


@dataclass(frozen=True)
class Answer:
    """An answer, read."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document

    @property
    def error(self) -> str:
        return str(self.json["error"])

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def cookie(self) -> str:
        """`name=value` of the cookie that is set."""
        header = self.header("Set-Cookie")
        assert header is not None, self.headers
        return header.partition(";")[0]


class Lines:
    """Follows a stream on a thread of its own; what came is there at once."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream = stream
        self.all: list[str] = []
        self._thread = threading.Thread(target=self._follow, name=name, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        for line in self._stream:
            self.all.append(line.decode("utf-8", "backslashreplace").rstrip("\n"))

    def close(self) -> None:
        self._thread.join(PATIENCE)
        self._stream.close()

    @property
    def text(self) -> str:
        return "\n".join(self.all)


class GatewayProcess:
    """One `gateway` process. `log` is its stdout as JSON objects, so far."""

    def __init__(self, arguments: Sequence[str], folder: Path, port: int, env: Mapping[str, str]) -> None:
        self.port = port
        self._arguments = [sys.executable, "-m", "gateway", *arguments]
        self._folder = folder
        self._env = env
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self._arguments,
            cwd=self._folder,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.stdout = Lines(self.process.stdout, "stdout")
        self.stderr = Lines(self.process.stderr, "stderr")

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in list(self.stdout.all) if line.startswith("{")]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [entry for entry in self.log if entry["event"] == name]

    def wait_for(self, name: str, **fields: object) -> dict[str, Any]:
        """The first event of this name with these fields, waited for."""

        def found() -> list[dict[str, Any]]:
            return [entry for entry in self.events(name) if fields.items() <= entry.items()]

        until(lambda: found() or self.process.poll() is not None, f"the event {name} {fields}")
        assert found(), f"{name} is not in the log; stderr: {self.stderr.text}"
        return found()[0]

    def ready(self) -> GatewayProcess:
        self.wait_for("gateway.started")
        return self

    def workers(self) -> list[int]:
        """The processes that this one started and that live."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()] if children.exists() else []

    def hang_up(self) -> None:
        """Ask it to read its configuration again."""
        self.process.send_signal(signal.SIGHUP)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(PATIENCE)
        self.stdout.close()
        self.stderr.close()
        WATCH.output(self.stdout.text, "a gateway's stdout")
        WATCH.output(self.stderr.text, "a gateway's stderr")
        return code

    def restart(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop it in this way and start it again on the same files and ports."""
        self.stop(number)
        self.start()
        self.ready()

    def request(
        self, method: str, path: str, headers: Sequence[tuple[str, str]] = (), body: bytes | None = None
    ) -> Answer:
        """One request on a connection of its own, with exactly these headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            names = {name.lower() for name, _ in headers}
            for name, value in headers:
                connection.putheader(name, value)
            if "user-agent" not in names:
                connection.putheader("User-Agent", AGENT)
            if body is not None or method == "POST":
                connection.putheader("Content-Length", str(len(body or b"")))
            connection.endheaders(body)
            response = connection.getresponse()
            answer = Answer(response.status, tuple(response.getheaders()), response.read())
        finally:
            connection.close()
        WATCH.answer(answer.status, answer.headers, answer.body, f"{method} {path.partition('?')[0]}")
        return answer

    def post(
        self, path: str, members: object = None, *, bearer: str | None = None, cookie: str | None = None
    ) -> Answer:
        headers = [("Content-Type", "application/json")] if members is not None else []
        if bearer is not None:
            headers.append(("Authorization", f"Bearer {bearer}"))
        if cookie is not None:
            headers.append(("Cookie", cookie))
        return self.request("POST", path, headers, json.dumps(members).encode() if members is not None else None)

    def call(self, access: str, *headers: tuple[str, str], path: str = "/api/x", method: str = "GET") -> Answer:
        """A proxied request with this access token."""
        return self.request(method, path, [("Authorization", f"Bearer {access}"), *headers])

    def login(self, name: str = "ada", password: str = PASSWORD) -> Answer:
        answer = self.post("/auth/login", {"username": name, "password": password})
        assert answer.status == 200, answer.body
        return answer

    def body_login(self, name: str = "ada", password: str = PASSWORD) -> dict[str, Any]:
        """Log in for tokens in the body."""
        members = {"username": name, "password": password, "token_delivery": "body"}
        answer = self.post("/auth/login", members)
        assert answer.status == 200, answer.body
        return answer.json

    def refresh(self, token: str) -> Answer:
        """Refresh with a token in the body."""
        return self.post("/auth/refresh", {"refresh_token": token})


class Fleet:
    """Gateway processes on one folder: a configuration, a database, an upstream that tells what it saw."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.upstream = EchoUpstream()
        self._processes: list[GatewayProcess] = []

    @property
    def database(self) -> Path:
        return self.folder / "gateway.db"

    def environment(self, **changes: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY")}
        return kept | {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1"} | changes

    def configure(self, name: str = "gateway.yaml", **sections: Any) -> Path:
        """Write a configuration (JSON is YAML) that listens on free ports; the path of the file."""
        document: dict[str, Any] = {
            "server": {
                "listen": f"127.0.0.1:{free_port()}",
                "admin_listen": None,
                "public_url": "https://gateway.test",
            },
            "storage": {"database": f"sqlite:///{self.database}"},
            "sessions": AT_ONCE,
            "routes": [
                {"name": "api", "match": {"path": "/api/"}, "upstream": self.upstream.url},
                {"name": "public", "match": {"path": "/public/"}, "upstream": self.upstream.url, "auth": "none"},
            ],
        }
        for section, values in sections.items():
            known = document.get(section)
            document[section] = known | values if isinstance(known, dict) and isinstance(values, dict) else values
        path = self.folder / name
        path.write_text(json.dumps(document, indent=1))
        return path

    def serve(self, name: str = "gateway.yaml", **sections: Any) -> GatewayProcess:
        """A gateway that is ready. Between finding a free port and taking it somebody may be faster: then again."""
        for _ in range(3):
            path = self.configure(name, **sections)
            gateway = self.launch("serve", "--config", str(path), port=_port_of(path))
            until(lambda: gateway.events("gateway.started") or gateway.process.poll() is not None, "the start")  # noqa: B023
            if gateway.process.poll() is None or "in use" not in gateway.stderr.text:
                break
        gateway.ready()
        key = self.database.with_suffix(".key").read_text().strip()
        WATCH.secret(key.removeprefix("1:"), "the master key")
        return gateway

    def launch(self, *arguments: str, port: int = 0, **env: str) -> GatewayProcess:
        """A process that may or may not get ready."""
        process = GatewayProcess(arguments, self.folder, port, self.environment(**env))
        self._processes.append(process)
        return process

    def command(self, *arguments: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the gateway to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "gateway", *arguments],
            cwd=self.folder,
            env=self.environment(**env),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE * 2,
            check=False,
        )
        WATCH.output(done.stdout + done.stderr, f"the output of `gateway {' '.join(arguments)}`")
        return done

    def add_user(self, name: str = "ada", *, roles: Sequence[str] = ("user",), password: str = PASSWORD) -> None:
        """Add a user to the database, which is made when it is not there."""
        WATCH.secret(password, "a password")
        asyncio.run(self._add_user(name, password, tuple(roles)))

    async def _add_user(self, name: str, password: str, roles: tuple[str, ...]) -> None:
        stores = await open_stores(f"sqlite:///{self.database}", clock=SystemClock(), busy_timeout=5.0)
        hasher = PasswordHasher(permits=1)
        try:
            await UserService(stores.users, hasher, SystemClock()).add(
                name, password, email=f"{name}@example.com", roles=roles
            )
        finally:
            await hasher.close()
            await stores.database.close()

    def close(self) -> None:
        for process in self._processes:
            if process.process.poll() is None:
                process.stop(signal.SIGKILL)
            elif not process.process.stdout or not process.process.stdout.closed:
                process.wait()
        self.upstream.close()
        for head in self.upstream.heads:
            WATCH.output(head, "a request the upstream got")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A folder, an upstream and any number of gateway processes; all gone at the end."""
    with contextlib.closing(Fleet(tmp_path)) as made:
        yield made


def free_port() -> int:
    """A port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _port_of(path: Path) -> int:
    listen: str = json.loads(path.read_text())["server"]["listen"]
    return int(listen.rpartition(":")[2])
