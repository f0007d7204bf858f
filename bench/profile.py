"""Where the Python of a proxied request goes: a whole gateway, its sockets replaced by objects that take the bytes.

usage: python -m bench.profile [--requests N] [--top N]
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import pstats
import tempfile
import time
from pathlib import Path
from typing import Any, TextIO

from gateway.app import Gateway, open_gateway
from gateway.clock import SystemClock
from gateway.proxy.upstream import UpstreamConnection
from gateway.risk.client import client_facts
from gateway.risk.facts import RequestContext
from gateway.sessions.session import Channel
from gateway.settings.loader import load

CONFIG = """
server: {admin_listen: null}
storage: {database: "memory:"}
tokens: {algorithm: RS256}
logging: {format: json}
routes: [{name: api, match: {path: /api/}, upstream: "http://127.0.0.1:9"}]
"""
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Wed, 25 Nov 2026 02:02:04 GMT\r\n"
    b"Content-Type: application/json\r\nContent-Length: 48\r\nConnection: keep-alive\r\n\r\n" + b"x" * 48
)


class Wire(asyncio.Transport):
    """A transport that ends here."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: Any) -> None:
        self.written = data

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 9), "sockname": ("127.0.0.1", 80)}.get(name, default)

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        """Nothing is open."""

    def abort(self) -> None:
        """Nothing is open."""


async def access_token(gateway: Gateway) -> str:
    """That of a new session of a new user."""
    user = await gateway.users.add_hashed(gateway.users.new_user("bench", roles=("user",)), None)
    facts = client_facts("127.0.0.1", "bench/1.0", v4=24, v6=56)
    context = RequestContext("bench", facts, gateway.clock.monotonic())
    issued = await gateway.sessions.start(user, Channel.BODY, context, ("pwd",))
    return issued.access_token


async def measure(config: Path, requests: int, top: int, out: TextIO) -> None:
    settings = load(config, {}, {}).settings
    async with open_gateway(settings, SystemClock()) as gateway:
        token = await access_token(gateway)
        asked = f"GET /api/small HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        wire, client = Wire(), gateway.front()
        client.connection_made(wire)
        [endpoint] = gateway.proxy._upstreams.endpoints
        upstream = UpstreamConnection(endpoint, asyncio.get_running_loop())
        upstream.connection_made(Wire())
        endpoint.release(upstream)

        def run(count: int) -> float:
            start = time.perf_counter()
            for _ in range(count):
                client.data_received(asked)
                upstream.data_received(ANSWER)
            return (time.perf_counter() - start) / count * 1e6

        run(requests)
        assert wire.written.startswith(b"HTTP/1.1 200 OK"), wire.written
        best = min(run(requests) for _ in range(9))
        profile = cProfile.Profile()
        profile.runcall(run, requests)
    print(
        f"{best:.1f} µs a request: parsers, authentication, heads, log and counters; no system call, no loop\n",
        file=out,
    )
    pstats.Stats(profile, stream=out).sort_stats("tottime").print_stats(top)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.profile", description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000, help="requests of one run, the best of nine counts")
    parser.add_argument("--top", type=int, default=25, help="functions shown")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gateway-profile-") as folder:
        config = Path(folder) / "gateway.yaml"
        config.write_text(CONFIG)
        # The gateway logs to descriptor 1: that is part of what is measured, but not of what is read.
        with os.fdopen(os.dup(1), "w") as out, Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            asyncio.run(measure(config, options.requests, options.top, out))


if __name__ == "__main__":
    main()
