"""Two gateways of two workers each on one PostgreSQL and one Redis, and a kept connection to every worker."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.clock import SystemClock
from gateway.credentials.hasher import PasswordHasher
from gateway.credentials.users import UserService
from gateway.stores.factory import open_stores
from support import postgres, redis
from support.leaks import WATCH
from support.postgres import PostgresServer
from support.process import AGENT, PASSWORD, Fleet, GatewayProcess
from support.redis import RedisServer

NODES, WORKERS = 2, 2


class Line:
    """A kept connection to one worker."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket = socket.create_connection(("127.0.0.1", port), 20)

    def close(self) -> None:
        self._socket.close()

    def worker(self, pids: list[int]) -> int | None:
        """Which of these processes holds the other end; None while none has accepted it."""
        mine = self._socket.getsockname()[1]
        ends = f":{self._port:04X}", f":{mine:04X}"
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        inode = next((row[9] for row in rows if row[1].endswith(ends[0]) and row[2].endswith(ends[1])), "")
        name = f"socket:[{inode}]"
        for pid in pids:
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(entry.readlink()) == name:
                        return pid
        return None

    def ask(self, method: str, path: str, bearer: str | None = None, body: object = None) -> tuple[int, Any]:
        """Status and body (JSON where it is) of one request."""
        data = json.dumps(body).encode() if body is not None else b""
        lines = [f"{method} {path} HTTP/1.1", "Host: gateway.test", f"User-Agent: {AGENT}"]
        lines += [f"Authorization: Bearer {bearer}"] if bearer is not None else []
        lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"] if method == "POST" else []
        self._socket.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        return self._read()

    def _read(self) -> tuple[int, Any]:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, rest = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?im)^content-length: *([0-9]+)", head)
        while len(rest) < int(length[1] if length else 0):
            rest += self._more()
        document = json.loads(rest) if b"json" in head else rest
        return int(head[9:12]), document

    def _more(self) -> bytes:
        data = self._socket.recv(65536)
        assert data, "the gateway closed the connection"
        return data


class Nodes:
    """The two gateways and what they stand on."""

    def __init__(self, fleet: Fleet, database: PostgresServer, cache: RedisServer, **sections: Any) -> None:
        self.fleet, self.database, self.redis = fleet, database, cache
        key = fleet.database.with_suffix(".key")
        key.touch(0o600)
        key.write_text(base64.b64encode(os.urandom(32)).decode())
        storage = {"database": database.url(), "redis": cache.url(), "master_key_file": str(key)}
        windows = {"in_flight_window": "20s", "late_window": "3m", "receipt_after": "60s"}
        settings: dict[str, Any] = {
            "storage": storage,
            "sessions": windows,
            "logging": {"access_log": False},
            **sections,
        }
        server = {"workers": WORKERS, "cpu_affinity": False}
        self.gateways = [fleet.serve(f"node{number}.yaml", server=server, **settings) for number in range(NODES)]
        asyncio.run(self._add_user("ada"))
        self.lines: list[Line] = []
        self.connect()

    def connect(self) -> None:
        """Have one connection to each worker, in the order of the gateways."""
        self.hang_up()
        for gateway in self.gateways:
            self.lines += _one_each(gateway)

    def hang_up(self) -> None:
        for line in self.lines:
            line.close()
        self.lines = []

    def login(self, at: int = 0) -> dict[str, Any]:
        """Tokens in the body, from the worker at this place."""
        members = {"username": "ada", "password": PASSWORD, "token_delivery": "body"}
        status, document = self.lines[at].ask("POST", "/auth/login", body=members)
        assert status == 200, document
        WATCH.secret(document["refresh_token"], "a refresh token")
        return dict(document)

    def statuses(self, access: str) -> list[int]:
        """What each worker says to this access token."""
        return [line.ask("GET", "/api/x", access)[0] for line in self.lines]

    def revoked_everywhere(self, at: int = 0) -> float:
        """Log in and out at one worker; seconds from the request to log out until every worker refuses."""
        access = self.login(at)["access_token"]
        assert self.statuses(access) == [200] * len(self.lines)
        begun = time.monotonic()
        status, document = self.lines[at].ask("POST", "/auth/logout", access)
        assert status == 204, document
        while self.statuses(access) != [401] * len(self.lines):
            assert time.monotonic() - begun < 20, "not refused on every worker"
        return time.monotonic() - begun

    async def _add_user(self, name: str) -> None:
        stores = await open_stores(self.database.url(), clock=SystemClock(), busy_timeout=5.0)
        hasher = PasswordHasher(permits=1)
        try:
            await UserService(stores.users, hasher, SystemClock()).add(
                name, PASSWORD, email="a@b.test", roles=("user",)
            )
        finally:
            await hasher.close()
            await stores.database.close()


@contextlib.contextmanager
def two_nodes(folder: Path, **sections: Any) -> Iterator[Nodes]:
    """Servers of their own and two gateways; all gone at the end."""
    with (
        postgres.own_server() as database,
        redis.own_server() as cache,
        contextlib.closing(Fleet(folder)) as fleet,
    ):
        asyncio.run(database.make(postgres.DATABASE))
        nodes = Nodes(fleet, database, cache, **sections)
        with contextlib.closing(_Hanging(nodes)):
            yield nodes


class _Hanging:
    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    def close(self) -> None:
        self._nodes.hang_up()


def _one_each(gateway: GatewayProcess) -> list[Line]:
    """A connection to each of its workers; what comes twice is closed."""
    pids, found, spare = gateway.workers(), {}, []
    deadline = time.monotonic() + 20
    while len(found) < len(pids):
        assert time.monotonic() < deadline, "not every worker took a connection"
        line = Line(gateway.port)
        line.ask("GET", "/public/x")
        pid = line.worker(pids)
        if pid is None or pid in found:
            spare.append(line)
        else:
            found[pid] = line
    for line in spare:
        line.close()
    return [found[pid] for pid in pids]
