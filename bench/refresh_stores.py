"""What a refresh costs the gateway on each store: the real `gateway serve`, EdDSA, one worker, wrk beside it.

usage: python -m bench.refresh_stores [--seconds S] [--rounds N] [--sessions N] [--clients N] [--pooled]
PostgreSQL is the one of the tests; its own CPU is told apart. Needs wrk (apt-get install wrk).
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench import wrk
from bench.measured import Run
from bench.peers import gateway
from bench.processes import Server, cpu_seconds, free_port, server

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support import postgres

DATABASES = ("sqlite", "postgres")


def main() -> int:
    """Measure the stores in turn and print a line for each."""
    options = _options()
    found: dict[str, list[Run]] = {kind: [] for kind in DATABASES}
    theirs: list[float] = []
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as name, ExitStack() as stack:
        served = {kind: serve(kind, Path(name) / kind, stack, pooled=options.pooled) for kind in DATABASES}
        for round_number in range(options.rounds + 1):
            for kind, (port, pid, folder) in served.items():
                before = cpu_seconds(postgres.server().pid)
                tokens = gateway.start_sessions(folder, options.sessions)
                seconds = options.seconds if round_number else 1.0
                run = drive(Server(pid, port), tokens, seconds=seconds, clients=options.clients)
                if not round_number:
                    continue  # the first round only warms up
                found[kind].append(run)
                if kind == "postgres":
                    spent = cpu_seconds(postgres.server().pid) - before
                    theirs.append(spent / max(1.0, run.per_second * options.seconds) * 1e6)
    for kind, runs in found.items():
        print(
            f"{kind:9} {statistics.median(r.cpu_us for r in runs):6.0f} µs CPU of the gateway each,"
            f" {statistics.median(r.per_second for r in runs):6.0f}/s,"
            f" p50 {statistics.median(r.p50_ms for r in runs):.1f} ms,"
            f" p99 {statistics.median(r.p99_ms for r in runs):.1f} ms, errors {sum(r.errors for r in runs)}"
        )
    print(f"PostgreSQL itself: {statistics.median(theirs):.0f} µs CPU each")
    return 1 if any(run.errors for runs in found.values() for run in runs) else 0


def serve(
    kind: str, folder: Path, stack: ExitStack, *, pooled: bool = False, workers: int = 1
) -> tuple[int, int, Path]:
    """A gateway on this store until `stack` ends: its port, its process, its folder."""
    folder.mkdir()
    port = free_port()
    url = f"sqlite:///{folder}/gateway.db"
    if kind == "postgres":
        made = asyncio.run(postgres.server().make(f"bench{workers}"))
        url = made + ("?pgbouncer=true" if pooled else "")
    (folder / "master.key").write_text("1:" + base64.b64encode(os.urandom(32)).decode() + "\n")
    (folder / "master.key").chmod(0o600)
    listen = f'listen: "127.0.0.1:{port}", public_url: "http://127.0.0.1:{port}", workers: {workers}'
    (folder / "gateway.yaml").write_text(
        f"""
server: {{admin_listen: null, {listen}}}
storage: {{database: "{url}", master_key_file: "{folder}/master.key"}}
auth: {{cookie: {{secure: false}}}}
logging: {{format: json}}
"""
    )
    process = stack.enter_context(server(_command(folder), port, log=folder / "log"))
    return port, process.pid, folder


def drive(
    peer: Server,
    tokens: Path,
    *,
    seconds: float,
    clients: int,
    path: str = "/auth/refresh",
    member: str = "refresh_token",
) -> Run:
    """Refresh the sessions of `tokens` in turn, each with what its last refresh gave."""
    env = {"REFRESH_TOKENS": str(tokens), "REFRESH_MEMBER": member}
    script = wrk.HERE / "refresh.lua"
    return wrk.drive(peer, seconds=seconds, connections=clients, script=script, path=path, env=env)


def _command(folder: Path) -> list[str]:
    return [*gateway.COMMAND, "serve", "--config", str(folder / "gateway.yaml")]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.refresh_stores", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one run (default: 5)")
    parser.add_argument("--rounds", type=int, default=3, help="runs per store, in turn (default: 3)")
    parser.add_argument("--sessions", type=int, default=4000, help="sessions started for each run (default: 4000)")
    parser.add_argument("--clients", type=int, default=16, help="connections of wrk (default: 16)")
    parser.add_argument("--pooled", action="store_true", help="as behind PgBouncer: no session state, more round trips")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
