"""The bench: every peer in one run, interleaved, medians; a table for people, JSON for machines.

usage: bench/run [--seconds S] [--rounds N] [--json FILE] [--readme FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import statistics
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import gateway_peer, load, nginx
from bench.processes import free_port, rss_mib, server

PATH = "/api/small"
GATEWAY = "gateway: verify, identity, log"
NAIVE = "aiohttp Application + ClientSession, jwt.decode"
BARE = "aiohttp Application + ClientSession, no auth"
NGINX = "nginx proxy_pass, no auth"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
REFRESH_CLIENTS, REFRESH_SESSIONS = 16, 4000


def main() -> int:
    """Run everything and print the tables."""
    options = _options()
    for tool in ("wrk", "nginx"):
        if shutil.which(tool) is None:
            print(f"bench: {tool} is not installed (apt-get install wrk nginx-light)", file=sys.stderr)
            return 1
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as name, contextlib.ExitStack() as stack:
        found = _measure(Path(name), stack, options)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    _print(found)
    if options.readme:
        _write_readme(options.readme, found)
    return 1 if any(row["errors"] for row in (*found["proxy"].values(), found["refresh"])) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one run (default: 5)")
    parser.add_argument("--rounds", type=int, default=5, help="runs per peer, interleaved (default: 5)")
    parser.add_argument("--json", type=Path, default=Path("bench/results/latest.json"), help="where the figures go")
    parser.add_argument("--readme", type=Path, help="a Markdown file whose bench section is written again")
    return parser.parse_args()


def _measure(folder: Path, stack: contextlib.ExitStack, options: argparse.Namespace) -> dict[str, dict]:  # type: ignore[type-arg]
    log = folder / "servers.log"
    ports = {name: free_port() for name in ("origin", GATEWAY, NAIVE, BARE, NGINX)}
    upstream = f"http://127.0.0.1:{ports['origin']}"
    stack.enter_context(server(nginx.origin(folder, ports["origin"]), ports["origin"], log=log))
    config = gateway_peer.configure(folder, ports[GATEWAY], ports["origin"])
    pids = {
        GATEWAY: stack.enter_context(server(gateway_peer.serve(config), ports[GATEWAY], log=folder / "gateway.log")).pid
    }
    issuer = f"http://127.0.0.1:{ports[GATEWAY]}"
    naive = [sys.executable, "-m", "bench.naive_proxy"]
    for name, command in (
        (NAIVE, [*naive, str(ports[NAIVE]), upstream, issuer + "/.well-known/jwks.json", issuer]),
        (BARE, [*naive, str(ports[BARE]), upstream]),
        (NGINX, nginx.proxy(folder, ports[NGINX], ports["origin"])),
    ):
        pids[name] = stack.enter_context(server(command, ports[name], log=log)).pid
    resting = rss_mib(pids[GATEWAY])
    refreshes = _refreshes(pids[GATEWAY], ports[GATEWAY], folder, options)
    token = str(gateway_peer.log_in(ports[GATEWAY])["access_token"])
    headers = {"Authorization": f"Bearer {token}"}
    runs: dict[str, list[load.Run]] = {name: [] for name in pids}
    for round_number in range(options.rounds + 1):
        for name, pid in pids.items():
            seconds = options.seconds if round_number else 1.0  # the first round only warms up
            print(f"round {round_number}/{options.rounds}: {name}", file=sys.stderr)
            result = load.wrk(pid, f"http://127.0.0.1:{ports[name]}{PATH}", seconds=seconds, headers=headers)
            if round_number:
                runs[name].append(result)
    return {
        "proxy": {name: _median(found) for name, found in runs.items()},
        "refresh": refreshes,
        "memory": {"gateway_rss_mib_at_rest": resting, "gateway_rss_mib_after": rss_mib(pids[GATEWAY])},
    }


def _refreshes(pid: int, port: int, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Many sessions in turn, none of which waits for its next refresh as long as it would in earnest."""
    found = []
    for round_number in range(options.rounds + 1):
        print(f"round {round_number}/{options.rounds}: refresh", file=sys.stderr)
        tokens = gateway_peer.start_sessions(folder, REFRESH_SESSIONS)
        result = load.wrk(
            pid,
            f"http://127.0.0.1:{port}/auth/refresh",
            seconds=options.seconds if round_number else 1.0,
            connections=REFRESH_CLIENTS,
            script=Path(__file__).with_name("refresh.lua"),
            env={"REFRESH_TOKENS": str(tokens)},
        )
        if round_number:
            found.append(result)
    return _median(found)


def _median(runs: list[load.Run]) -> dict[str, float]:
    rows = [asdict(run) for run in runs]
    return {key: (sum if key == "errors" else statistics.median)(row[key] for row in rows) for key in rows[0]}


def _print(found: dict[str, dict]) -> None:  # type: ignore[type-arg]
    console = Console(width=None if sys.stdout.isatty() else 120)
    own = found["proxy"][GATEWAY]["cpu_us"]
    table = Table(title=f"Proxied GET, 48 bytes of JSON, {load.wrk.__kwdefaults__['connections']} connections")
    for heading in ("proxy", "CPU µs/request", "gateway ÷ it", "requests/s", "p50 ms", "p99 ms"):
        table.add_column(heading, justify="left" if heading == "proxy" else "right")
    for name, row in sorted(found["proxy"].items(), key=lambda item: item[1]["cpu_us"]):
        table.add_row(
            name,
            f"{row['cpu_us']:.1f}",
            f"{own / row['cpu_us']:.2f}",
            f"{row['per_second']:.0f}",
            f"{row['p50_ms']:.2f}",
            f"{row['p99_ms']:.2f}",
        )
    console.print(table)
    cost = found["refresh"]
    console.print(
        f"Refresh (SQLite, EdDSA, durable, {REFRESH_CLIENTS} clients): {cost['cpu_us']:.0f} µs CPU each, "
        f"{cost['per_second']:.0f}/s, p50 {cost['p50_ms']:.1f} ms, p99 {cost['p99_ms']:.1f} ms"
    )
    memory = found["memory"]
    console.print(
        f"Memory: {memory['gateway_rss_mib_at_rest']:.0f} MiB at rest, {memory['gateway_rss_mib_after']:.0f} MiB after"
    )


def _write_readme(path: Path, found: dict[str, dict]) -> None:  # type: ignore[type-arg]
    """Put the table between the markers that the file has for it."""
    own = found["proxy"][GATEWAY]["cpu_us"]
    lines = ["| proxy | CPU µs/request | gateway ÷ it | requests/s | p99 ms |", "|---|---:|---:|---:|---:|"]
    for name, row in sorted(found["proxy"].items(), key=lambda item: item[1]["cpu_us"]):
        shown = f"**{name}**" if name == GATEWAY else name
        ratio = own / row["cpu_us"]
        lines.append(
            f"| {shown} | {row['cpu_us']:.0f} | {ratio:.2f} | {row['per_second']:,.0f} | {row['p99_ms']:.1f} |"
        )
    cost = found["refresh"]
    summary = (
        f"A durable refresh on SQLite, signed with EdDSA: {cost['cpu_us']:.0f} µs of CPU, {cost['per_second']:,.0f} a "
        f"second in one worker, p99 {cost['p99_ms']:.0f} ms with {REFRESH_CLIENTS} clients."
    )
    lines += ["", summary]
    before, _, rest = path.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}")


if __name__ == "__main__":
    sys.exit(main())
