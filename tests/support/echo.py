"""An upstream on plain sockets and threads that answers every request with the head it saw, as JSON."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable


class EchoUpstream:
    """Listens from the start. `heads` are the request heads so far; `before_answer` may hold an answer back."""

    def __init__(self, port: int = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.heads: list[bytes] = []
        self.before_answer: Callable[[], object] | None = None
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as stream:
            while head := _head(stream):
                self.heads.append(head)
                line, *fields = head.decode("latin-1").split("\r\n")[:-2]
                headers = [[name, value.strip()] for name, _, value in (field.partition(":") for field in fields)]
                length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
                stream.read(length)
                if self.before_answer is not None:
                    self.before_answer()
                body = json.dumps({"line": line, "headers": headers}).encode()
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
                    + body
                )

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)


def _head(stream: object) -> bytes:
    lines = []
    while line := stream.readline():  # type: ignore[attr-defined]
        lines.append(line)
        if line == b"\r\n":
            return b"".join(lines)
    return b""


def told(answer: bytes) -> dict[str, list[str]]:
    """What the upstream saw: each header by its lower-case name."""
    found: dict[str, list[str]] = {}
    for name, value in json.loads(answer)["headers"]:
        found.setdefault(name.lower(), []).append(value)
    return found
