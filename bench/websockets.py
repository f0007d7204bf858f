"""Many WebSockets through a real gateway: memory of each, and how fast those of one session close at its log-out.

usage: python -m bench.websockets [--sockets N] [--session N] [--json FILE]

Exit code 1 when a target is missed. Clients and upstream are raw sockets in processes of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.peers import gateway
from bench.processes import free_port, rss_mib, server
from bench.websocket_upstream import KEY, enough_files

KIB_TARGET = 40.0
SECONDS_TARGET = 1.0
AT_ONCE = 100
FRAME = b"\x82\x84\0\0\0\0ping"  # masked with zeros, so that it comes back as it is
PATIENCE = 60.0


@dataclass(frozen=True)
class Figures:
    """What came out. `kib_per_socket`: of all, or of the second half if that is more. `closed_seconds` is from sending
    the log-out to the last 4401."""

    sockets: int
    rss_mib_before: float
    rss_mib_open: float
    kib_per_socket: float
    opened_seconds: float
    revoked: int
    closed_4401: int
    closed_seconds: float
    others_echoed: int

    @property
    def good(self) -> bool:
        """Whether every target was met."""
        return (
            self.kib_per_socket <= KIB_TARGET
            and self.closed_4401 == self.revoked
            and self.closed_seconds < SECONDS_TARGET
            and self.others_echoed == self.sockets - self.revoked
        )


Socket = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _open(port: int, access: str) -> Socket:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
    writer.write(
        f"GET /api/ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY.decode()}\r\n"
        f"Authorization: Bearer {access}\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 101 "):
        raise RuntimeError(f"no WebSocket: {head[:200]!r}")
    return reader, writer


async def _open_many(port: int, access: str, count: int) -> list[Socket]:
    found: list[Socket] = []
    while len(found) < count:
        batch = min(AT_ONCE, count - len(found))
        found += await asyncio.gather(*(_open(port, access) for _ in range(batch)))
    return found


async def _echoes(one: Socket) -> bool:
    reader, writer = one
    writer.write(FRAME)
    return await reader.readexactly(len(FRAME)) == FRAME


async def _code(one: Socket) -> tuple[int, float]:
    """The code of the Close frame that comes, and when it came."""
    frame = await one[0].readexactly(4)
    return (int.from_bytes(frame[2:4], "big") if frame[0] == 0x88 else 0), time.monotonic()


def _log_out(port: int, access: str) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/auth/logout", method="POST", headers={"Authorization": f"Bearer {access}"}
    )
    with urllib.request.urlopen(request, timeout=30):
        return


async def _measure(port: int, pid: int, tokens: list[str], sockets: int, of_session: int) -> Figures:
    first, second = tokens
    for _ in range(2):  # whatever is made once for all is made before the first look
        for one in await _open_many(port, first, AT_ONCE):
            await _echoes(one)
            one[1].close()
    await asyncio.sleep(1)
    before, began = rss_mib(pid), time.monotonic()
    half = (sockets - of_session) // 2
    others = await _open_many(port, first, half)
    middle = rss_mib(pid)
    others += await _open_many(port, first, sockets - of_session - half)
    mine = await _open_many(port, second, of_session)
    opened = time.monotonic() - began
    await asyncio.gather(*map(_echoes, (*others, *mine)))
    after = rss_mib(pid)
    waiting = [asyncio.create_task(_code(one)) for one in mine]
    said = time.monotonic()
    await asyncio.to_thread(_log_out, port, second)
    codes = await asyncio.gather(*waiting)
    echoed = sum(await asyncio.gather(*map(_echoes, others)))
    for _, writer in (*mine, *others):
        writer.close()
    return Figures(
        sockets=sockets,
        rss_mib_before=round(before, 1),
        rss_mib_open=round(after, 1),
        # Memory that was free in the process before hides some of the first half's.
        kib_per_socket=round(1024 * max((after - before) / sockets, (after - middle) / (sockets - half)), 2),
        opened_seconds=round(opened, 2),
        revoked=of_session,
        closed_4401=sum(code == 4401 for code, _ in codes),
        closed_seconds=round(max(at for _, at in codes) - said, 3),
        others_echoed=echoed,
    )


async def _bounded(port: int, pid: int, tokens: list[str], options: argparse.Namespace) -> Figures:
    async with asyncio.timeout(PATIENCE + options.sockets / 100):
        return await _measure(port, pid, tokens, options.sockets, options.session)


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m bench.websockets", description=__doc__)
    parser.add_argument("--sockets", type=int, default=5000, help="WebSockets in all (default: 5000)")
    parser.add_argument("--session", type=int, default=100, help="how many are the revoked session's (default: 100)")
    parser.add_argument("--json", type=Path, help="where the figures go")
    options = parser.parse_args()
    enough_files(2 * options.sockets + 500)  # the gateway inherits it, and needs two for each
    origin, port = free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="gateway-websockets-") as name:
        folder = Path(name)
        log = folder / "log"
        upstream = [sys.executable, "-m", "bench.websocket_upstream", str(origin)]
        peer = gateway.make(folder, port, origin, origin)
        tokens = gateway.start_sessions(folder, 2, access=True).read_text().split()
        with server(upstream, origin, log=log), peer.running() as running:
            found = asyncio.run(_bounded(port, running.pid, tokens, options))
    document = {**asdict(found), "kib_target": KIB_TARGET, "seconds_target": SECONDS_TARGET, "good": found.good}
    print("\n".join(f"{name:16} {value}" for name, value in document.items()))
    if options.json:
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0 if found.good else 1


if __name__ == "__main__":
    sys.exit(main())
