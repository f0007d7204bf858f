"""Restart, reload and stop under load, with uploads half way, over plain HTTP and TLS: no request fails."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.listening import certificate, client_context
from support.load import load
from support.process import Fleet, GatewayProcess, until
from support.proxying import upstream
from support.websockets import close_code, handshake, switching

HALF = 200_000
WATCHED = {"watch": True, "interval": "100ms"}


class Upload:
    """A request whose second half is sent when the test says so. `status` is its answer's, 0: none came."""

    def __init__(self, port: int, context: ssl.SSLContext | None) -> None:
        self.status = 0
        self.half_way = threading.Event()
        self.go_on = threading.Event()
        self._port = port
        self._context = context
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError), self._connect() as sock:
            head = f"PUT /public/x HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: {2 * HALF}\r\n\r\n"
            sock.sendall(head.encode() + bytes(HALF))
            self.half_way.set()
            assert self.go_on.wait(20)
            sock.sendall(bytes(HALF))
            self.status = int(sock.recv(65536)[9:12])

    def _connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self._port), 20)
        return sock if self._context is None else self._context.wrap_socket(sock, server_hostname="localhost")

    def finish(self) -> int:
        """Send the rest; the status of the answer."""
        self.go_on.set()
        self._thread.join(20)
        return self.status


@contextlib.contextmanager
def uploads(gateway: GatewayProcess, context: ssl.SSLContext | None) -> Iterator[None]:
    """Four uploads are half way while the block runs, and end well after it."""
    made = [Upload(gateway.port, context) for _ in range(4)]
    for upload in made:
        assert upload.half_way.wait(20)
    yield
    assert [upload.finish() for upload in made] == [200] * 4


def rewrite(fleet: Fleet, **server: Any) -> None:
    """Change the running configuration's file, in one step."""
    path = fleet.folder / "gateway.yaml"
    document = json.loads(path.read_text())
    document["server"] |= server
    new = path.with_suffix(".new")
    new.write_text(json.dumps(document))
    new.rename(path)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_no_request_fails(fleet: Fleet, tmp_path: Path, tls: bool) -> None:
    server: dict[str, Any] = {"workers": 2, "cpu_affinity": False, "reload": WATCHED}
    context = None
    if tls:
        files = certificate(tmp_path)
        server["tls"] = {"cert_file": str(files.certificate), "key_file": str(files.key)}
        context = client_context()
    gateway = fleet.serve(server=server, logging={"access_log": False})
    first = set(gateway.workers())
    with load(gateway.port, "/public/x", kept=3, fresh=1, context=context, leaving=True) as clients:
        until(lambda: clients.answered > 30, "the load")
        with uploads(gateway, context):
            rewrite(fleet, cpu_affinity=True)  # what a worker is born with
            until(lambda: len(gateway.events("config.reloaded")) >= 1, "the restart")
        until(lambda: len(gateway.events("worker.exited")) == 2, "the old workers' end")
        assert first.isdisjoint(gateway.workers())
        with uploads(gateway, context):
            rewrite(fleet, trusted_proxies=["10.0.0.0/8"], reload={"watch": False})
            until(lambda: len(gateway.events("config.reloaded")) >= 2, "the reload")
        with uploads(gateway, context):
            rewrite(fleet, cpu_affinity=False)
            gateway.hang_up()
            until(lambda: len(gateway.events("config.reloaded")) >= 3, "the restart on SIGHUP")
        until(lambda: len(gateway.events("worker.exited")) == 4, "the end of those too")
        answered = clients.answered
        until(lambda: clients.answered > answered + 30, "more load")
        with uploads(gateway, context):
            gateway.process.send_signal(signal.SIGTERM)
            until(lambda: refused(gateway.port), "the end of accepting")
        assert gateway.wait() == 0
    assert clients.failures == []
    assert set(clients.statuses) == {200}
    assert [event["exit_code"] for event in gateway.events("worker.exited")] == [0] * 6


async def test_streams_are_told_to_come_again(fleet: Fleet) -> None:
    async def hold(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with upstream(switching(hold)) as up:
        routes = [{"name": "ws", "match": {"path": "/ws/"}, "upstream": f"http://127.0.0.1:{up.port}", "auth": "none"}]
        gateway = await asyncio.to_thread(lambda: fleet.serve(server={"workers": 2}, routes=routes))
        clients = []
        for _ in range(4):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(handshake("/ws/x", token=None))
            async with asyncio.timeout(20):
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            clients.append((reader, writer))
        for pid in gateway.workers():
            os.kill(pid, signal.SIGTERM)
        gateway.process.send_signal(signal.SIGTERM)
        for reader, writer in clients:
            async with asyncio.timeout(20):
                assert close_code(await reader.readexactly(17)) == 1001
            writer.write(b"\x88\x82\x00\x00\x00\x00\x03\xe9")
        assert await asyncio.to_thread(gateway.wait) == 0
        for _, writer in clients:
            writer.close()


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return True
    return False
