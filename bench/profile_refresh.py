"""Where the CPU of a refresh goes: a whole gateway and a real store, the clients' sockets replaced by objects.

usage: python -m bench.profile_refresh [--store postgres|sqlite|memory] [--refreshes N] [--runs N] [--top N]
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import os
import pstats
import re
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TextIO

import uvloop

from bench.profile import Wire
from gateway.app import Gateway, open_gateway
from gateway.clock import SystemClock
from gateway.risk.client import client_facts
from gateway.risk.facts import RequestContext
from gateway.sessions.session import Channel
from gateway.settings.loader import load

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support import postgres

CLIENTS = 16
_HEAD = "POST /auth/refresh HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nUser-Agent: bench/1.0\r\n"
_TOKEN = re.compile(rb'"refresh_token":"([^"]+)"')


class Client(Wire):
    """One client on one connection, which refreshes again as soon as it has its answer."""

    def __init__(self, gateway: Gateway, token: str) -> None:
        super().__init__()
        self.token = token
        self.connection = gateway.front()
        self.connection.connection_made(self)
        self.answered: asyncio.Future[None] | None = None
        self.answer = b""

    def write(self, data: Any) -> None:
        self.answer += bytes(data)
        found = _TOKEN.search(self.answer)
        if found and self.answered is not None and self.answer.endswith(b"}"):
            self.token = found[1].decode()
            self.answered.set_result(None)
            self.answered = None

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    async def refresh(self, times: int) -> None:
        for _ in range(times):
            self.answered, self.answer = asyncio.get_running_loop().create_future(), b""
            body = f'{{"refresh_token":"{self.token}"}}'
            self.connection.data_received(f"{_HEAD}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            async with asyncio.timeout(10):
                if self.answered is not None:
                    await self.answered


async def measure(config: Path, options: argparse.Namespace, out: TextIO) -> dict[str, float]:
    """CPU microseconds of one refresh, the median of the runs; the profile of one more goes to `out`."""
    settings = load(config, {}, {}).settings
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(open_gateway(settings, SystemClock()))
        clients = [Client(gateway, await _token(gateway, number)) for number in range(CLIENTS)]
        each = max(1, options.refreshes // CLIENTS)

        async def run() -> float:
            before = time.process_time()
            await asyncio.gather(*(client.refresh(each) for client in clients))
            return (time.process_time() - before) / (each * CLIENTS) * 1e6

        await run()
        runs = [await run() for _ in range(options.runs)]
        profile = cProfile.Profile()
        profile.enable()
        await run()
        profile.disable()
    found = {"cpu_us": statistics.median(runs), "least_cpu_us": min(runs)}
    print(f"{found['cpu_us']:.0f} µs a refresh, {found['least_cpu_us']:.0f} at best; no sockets of clients\n", file=out)
    pstats.Stats(profile, stream=out).sort_stats(options.sort).print_stats(options.top)
    return found


async def _token(gateway: Gateway, number: int) -> str:
    user = await gateway.users.add_hashed(gateway.users.new_user(f"bench-{number}", roles=("user",)), None)
    facts = client_facts("127.0.0.1", "bench/1.0", v4=24, v6=56)
    context = RequestContext("bench", facts, gateway.clock.monotonic())
    issued = await gateway.sessions.start(user, Channel.BODY, context, ("pwd",))
    assert issued.refresh_token is not None
    return issued.refresh_token


def _database(store: str, folder: Path) -> str:
    if store == "postgres":
        return asyncio.run(postgres.server().make("profile"))
    return "memory:" if store == "memory" else f"sqlite:///{folder}/gateway.db"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.profile_refresh", description=__doc__)
    parser.add_argument("--store", default="postgres", choices=("postgres", "sqlite", "memory"))
    parser.add_argument("--refreshes", type=int, default=4000, help="of one run")
    parser.add_argument("--runs", type=int, default=5, help="the median of them counts")
    parser.add_argument("--top", type=int, default=30, help="functions shown")
    parser.add_argument("--sort", default="tottime", choices=("tottime", "cumtime"))
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    uvloop.install()
    with tempfile.TemporaryDirectory(prefix="gateway-profile-") as name:
        folder = Path(name)
        (folder / "master.key").write_bytes(b"1:" + b"A" * 43 + b"=\n")
        (folder / "master.key").chmod(0o600)
        config = folder / "gateway.yaml"
        config.write_text(
            f'storage: {{database: "{_database(options.store, folder)}", master_key_file: "{folder}/master.key"}}\n'
            "server: {admin_listen: null}\nlogging: {format: json}\n"
        )
        # The gateway logs to descriptor 1: that is part of what is measured, but not of what is read.
        with os.fdopen(os.dup(1), "w") as out, Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            found = asyncio.run(measure(config, options, out))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
