"""What a refresh costs: clients side by side on keep-alive connections, each refreshing its sessions in turn."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from dataclasses import dataclass

from bench.processes import cpu_seconds


@dataclass(frozen=True, slots=True)
class RefreshRun:
    """CPU microseconds of the gateway per refresh, refreshes per second, latencies in milliseconds."""

    cpu_us: float
    per_second: float
    p50_ms: float
    p99_ms: float


async def _client(port: int, tokens: list[str], until: float, took: list[float]) -> None:
    """Refresh the sessions of `tokens` in turn over one connection until the time is over, replacing each token."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    turns = itertools.cycle(range(len(tokens)))
    try:
        while time.monotonic() < until:
            mine = next(turns)
            started = time.perf_counter()
            body = json.dumps({"refresh_token": tokens[mine]}).encode()
            writer.write(
                b"POST /auth/refresh HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
                b"User-Agent: bench/1.0\r\nContent-Length: %d\r\n\r\n%b" % (port, len(body), body)
            )
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            answer = await reader.readexactly(length)
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"refresh refused: {head!r} {answer!r}")
            tokens[mine] = json.loads(answer)["refresh_token"]
            took.append((time.perf_counter() - started) * 1e3)
    finally:
        writer.close()


async def run(pid: int, port: int, clients: list[list[str]], seconds: float) -> RefreshRun:
    """Let each client refresh its own sessions for `seconds`; the tokens are replaced in place."""
    took: list[float] = []
    before, started = cpu_seconds(pid), time.monotonic()
    await asyncio.gather(*(_client(port, tokens, started + seconds, took) for tokens in clients))
    elapsed, spent = time.monotonic() - started, cpu_seconds(pid) - before
    took.sort()
    return RefreshRun(spent / len(took) * 1e6, len(took) / elapsed, took[len(took) // 2], took[int(len(took) * 0.99)])
