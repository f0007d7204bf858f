"""Clients that never try anything twice: each request they send is answered, or counts as failed."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

_REQUEST = b"GET %b HTTP/1.1\r\nHost: gateway.test\r\n%b\r\n"
_PATIENCE = 10.0


class Load:
    """Threads that send one request after the other until they are told to stop. `statuses` counts the answers.

    `context`: over TLS. `leaving`: nobody listening any more is no failure but the end of the load.
    """

    def __init__(
        self,
        port: int,
        path: str,
        *,
        kept: int,
        fresh: int,
        header: str = "",
        context: ssl.SSLContext | None = None,
        leaving: bool = False,
    ) -> None:
        self.statuses: Counter[int] = Counter()
        self.failures: list[str] = []
        self.answered = 0
        self._port = port
        self._head = _REQUEST % (path.encode(), f"{header}\r\n".encode() if header else b"")
        self._fresh_head = self._head[:-2] + b"Connection: close\r\n\r\n"
        self._context = context
        self._leaving = leaving
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._keep, daemon=True) for _ in range(kept)]
        self._threads += [threading.Thread(target=self._open, daemon=True) for _ in range(fresh)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(_PATIENCE)

    def _keep(self) -> None:
        """One connection for as long as the gateway keeps it: it may say `Connection: close`, and nothing else."""
        while not self._stop.is_set():
            try:
                with self._connect() as sock:
                    while not self._stop.is_set() and self._ask(sock, self._head):
                        pass
            except OSError as error:
                if self._is_the_end(error):
                    return
                self._failed(f"kept: {error!r}")

    def _open(self) -> None:
        while not self._stop.is_set():
            try:
                with self._connect() as sock:
                    self._ask(sock, self._fresh_head)
            except OSError as error:
                if self._is_the_end(error):
                    return
                self._failed(f"fresh: {error!r}")

    def _connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self._port), _PATIENCE)
        return sock if self._context is None else self._context.wrap_socket(sock, server_hostname="localhost")

    def _is_the_end(self, error: OSError) -> bool:
        return self._leaving and isinstance(error, ConnectionRefusedError)

    def _ask(self, sock: socket.socket, head: bytes) -> bool:
        """One request and its answer; whether another may follow."""
        sock.sendall(head)
        data = b""
        while b"\r\n\r\n" not in data:
            more = sock.recv(65536)
            if not more:
                self._failed(f"no answer, but {data!r}")
                return False
            data += more
        answer, _, body = data.partition(b"\r\n\r\n")
        lines = answer.lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
        while len(body) < length:
            more = sock.recv(65536)
            if not more:
                self._failed("half an answer")
                return False
            body += more
        with self._lock:
            self.statuses[int(answer[9:12])] += 1
            self.answered += 1
        return b"connection: close" not in lines

    def _failed(self, what: str) -> None:
        with self._lock:
            self.failures.append(what)


@contextlib.contextmanager
def load(port: int, path: str, *, kept: int = 6, fresh: int = 2, **options: Any) -> Iterator[Load]:
    """Load while the block runs; afterwards every request has its answer or is a failure."""
    made = Load(port, path, kept=kept, fresh=fresh, **options)
    made.start()
    try:
        yield made
    finally:
        made.stop()
