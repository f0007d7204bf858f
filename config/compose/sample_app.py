"""A backend to try the gateway with: answers with what it was told about the caller."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SHOWN = ("X-User-Id", "X-User-Name", "X-User-Email", "X-User-Roles", "X-Session-Id", "X-Request-Id", "X-Forwarded-For")


class Tell(BaseHTTPRequestHandler):
    """Says who calls, on every path."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        told = {name: self.headers[name] for name in SHOWN if name in self.headers}
        body = json.dumps({"path": self.path, "told": told}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """The gateway logs."""


if __name__ == "__main__":
    host, _, port = sys.argv[1].rpartition(":")
    ThreadingHTTPServer((host, int(port)), Tell).serve_forever()
