"""What a storm of log-ins does to proxied requests: their p50 and p99 without and with it, in turns.

usage: python -m bench.login_storm [--rate N] [--logins N] [--seconds S] [--rounds N] [--json FILE]

Both loads are open: requests are due at fixed times, and how late an answer is counts from then, so that a gateway
that stands still is not asked less. Ends by itself after about rounds * 2 * seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench import gateway_peer
from bench.processes import free_port, server

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 48\r\n\r\n" + b"x" * 48
ALLOWED_FACTOR, ALLOWED_SECONDS = 1.5, 0.002


class Backend(asyncio.Protocol):
    """Answers every head at once, whatever it asks for."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._transport.write(ANSWER * data.count(b"\r\n\r\n"))


async def _backend(port: int) -> None:
    listener = await asyncio.get_running_loop().create_server(Backend, "127.0.0.1", port)
    await listener.serve_forever()


class Client:
    """One kept connection; opened again when the other side closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and head of the answer."""
        if self._writer is None or self._writer.is_closing():
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        assert self._reader is not None
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        fields = head.lower()
        at = fields.index(b"content-length:") + 15
        await self._reader.readexactly(int(fields[at : fields.index(b"\r\n", at)]))
        if b"\r\nconnection: close" in fields:
            self._writer.close()
        return int(head[9:12]), fields

    def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.close()


async def open_load(rate: float, seconds: float, ask: Callable[[Client], Awaitable[None]], port: int) -> list[float]:
    """Ask `rate` times a second; how long each took from when it was due, in seconds."""
    loop = asyncio.get_running_loop()
    idle: list[Client] = []
    took: list[float] = []
    running: set[asyncio.Task[None]] = set()
    start = loop.time()

    async def one(due: float) -> None:
        client = idle.pop() if idle else Client(port)
        await ask(client)
        took.append(loop.time() - due)
        idle.append(client)

    for number in range(int(rate * seconds)):
        due = start + number / rate
        if (wait := due - loop.time()) > 0:
            await asyncio.sleep(wait)
        task = loop.create_task(one(due))
        running.add(task)
        task.add_done_callback(running.discard)
    if running:
        await asyncio.wait(running, timeout=30)
    for client in idle:
        client.close()
    return took


class Storm:
    """Log-ins with a wrong password, each of which costs a hash like any other."""

    def __init__(self, port: int) -> None:
        self.answers: Counter[int] = Counter()
        self.without_retry_after = 0
        body = json.dumps({"username": "nobody", "password": "correct horse battery"}).encode()
        self._request = (
            f"POST /auth/login HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: storm/1.0\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    async def ask(self, client: Client) -> None:
        """One log-in."""
        status, head = await client.ask(self._request)
        self.answers[status] += 1
        if status == 503 and b"\r\nretry-after: " not in head:
            self.without_retry_after += 1


async def measure(port: int, token: str, options: argparse.Namespace) -> dict[str, object]:
    """Rounds of both kinds in turns; medians."""
    request = f"GET /api/x HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()

    async def proxied(client: Client) -> None:
        status, _ = await client.ask(request)
        if status != 200:
            raise RuntimeError(f"a proxied request was answered {status}")

    storm = Storm(port)
    await open_load(options.rate, 1.0, proxied, port)
    found: dict[str, list[tuple[float, float]]] = {"quiet": [], "storm": []}
    for _ in range(options.rounds):
        found["quiet"].append(_percentiles(await open_load(options.rate, options.seconds, proxied, port)))
        took, _ = await asyncio.gather(
            open_load(options.rate, options.seconds, proxied, port),
            open_load(options.logins, options.seconds, storm.ask, port),
        )
        found["storm"].append(_percentiles(took))
    report: dict[str, object] = {"rate": options.rate, "logins_per_second": options.logins}
    for kind, runs in found.items():
        report[kind] = {
            "p50_ms": round(statistics.median(run[0] for run in runs) * 1e3, 3),
            "p99_ms": round(statistics.median(run[1] for run in runs) * 1e3, 3),
            "p99_ms_each": [round(run[1] * 1e3, 3) for run in runs],
        }
    allowed = statistics.median(run[1] for run in found["quiet"]) * ALLOWED_FACTOR + ALLOWED_SECONDS
    report["p99_allowed_ms"] = round(allowed * 1e3, 3)
    report["held"] = statistics.median(run[1] for run in found["storm"]) <= allowed
    report["logins"] = {str(status): count for status, count in sorted(storm.answers.items())}
    report["refused_without_retry_after"] = storm.without_retry_after
    return report


def _percentiles(took: list[float]) -> tuple[float, float]:
    ordered = sorted(took)
    return ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]


def run(options: argparse.Namespace) -> dict[str, object]:
    """Start a backend and the gateway, measure, stop them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port, origin = free_port(), free_port()
        config = gateway_peer.configure(folder, port, origin)
        # Wrong passwords are to be hashed, not throttled; failures would end the storm.
        config.write_text(config.read_text() + "throttle: {enabled: false}\n")
        backend = [sys.executable, "-m", "bench.login_storm", "--backend", str(origin)]
        with server(backend, origin, log=folder / "log"), server(gateway_peer.serve(config), port, log=folder / "log"):
            token = str(gateway_peer.log_in(port)["access_token"])
            time.sleep(options.settle)
            return asyncio.run(measure(port, token, options))


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=300.0, help="proxied requests a second")
    parser.add_argument("--logins", type=float, default=100.0, help="log-ins a second during the storm")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--settle", type=float, default=1.0, help="seconds between start and the first round")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--backend", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.backend is not None:
        asyncio.run(_backend(options.backend))
        return 0
    report = run(options)
    text = json.dumps(report, indent=2)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n")
    return 0 if report["held"] else 1


if __name__ == "__main__":
    sys.exit(main())
