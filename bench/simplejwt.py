"""A refresh of the gateway beside one of djangorestframework-simplejwt, both on one PostgreSQL, one and two workers.

usage: python -m bench.simplejwt [--seconds S] [--rounds N] [--sessions N] [--clients N] [--json FILE]

simplejwt has rotation and blacklist on and runs under gunicorn, in an environment of its own (`.venv-simplejwt`): once
as `startproject` and gunicorn set it up, once as lean as it can be (threads, kept connections, no middleware). Exit 1
when a refresh of the former costs less than `LEAST` times the CPU of ours, or somebody answered wrongly. Needs wrk
(apt-get install wrk).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import refresh_stores
from bench.measured import Row, median
from bench.peers import gateway
from bench.processes import Server, cpu_seconds, free_port, server

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support import postgres

LEAST = 15.0
WORKERS = (1, 2)
_LEAN = ", lean"
_HERE = Path(__file__).parent / "peers" / "simplejwt"
_ENVIRONMENT = Path(__file__).parents[1] / ".venv-simplejwt"


@dataclass(frozen=True, slots=True)
class Contender:
    """Who refreshes: `tokens` makes a file of as many refresh tokens, `member` is what bodies call one."""

    name: str
    server: Server
    tokens: Callable[[int], Path]
    path: str
    member: str


def main() -> int:
    """Measure all in turn, print a table."""
    options = _options()
    rows: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as name, ExitStack() as stack:
        Path(name).chmod(0o755)
        python = _python()
        contenders = [
            *(_ours(Path(name), stack, workers) for workers in WORKERS),
            *(_theirs(python, Path(name), stack, workers, lean=False) for workers in WORKERS),
            _theirs(python, Path(name), stack, 1, lean=True),
        ]
        for round_number in range(options.rounds + 1):
            for each in contenders:
                row = _round(each, options, options.seconds if round_number else 1.0)
                if round_number:  # the first round only warms up
                    rows.setdefault(each.name, []).append(row)
    found = {name: median(several) for name, several in rows.items()}
    status = _show(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return status


def _round(each: Contender, options: argparse.Namespace, seconds: float) -> Row:
    tokens = each.tokens(options.sessions)
    before = cpu_seconds(postgres.server().pid)
    run = refresh_stores.drive(
        each.server, tokens, seconds=seconds, clients=options.clients, path=each.path, member=each.member
    )
    spent = cpu_seconds(postgres.server().pid) - before
    return {
        "cpu_us": run.cpu_us,
        "per_second": run.per_second,
        "p50_ms": run.p50_ms,
        "p99_ms": run.p99_ms,
        "errors": run.errors,
        "postgres_us": spent / max(1.0, run.per_second * seconds) * 1e6,
    }


def _show(found: dict[str, Row]) -> int:
    print(
        f"{'a refresh':24} {'CPU µs':>8} {'per s':>7} {'p50 ms':>7} {'p99 ms':>7} {'PostgreSQL µs':>14} {'errors':>7}"
    )
    for name, row in found.items():
        print(
            f"{name:24} {row['cpu_us']:8.0f} {row['per_second']:7.0f} {row['p50_ms']:7.1f} {row['p99_ms']:7.1f}"
            f" {row['postgres_us']:14.0f} {row['errors']:7.0f}"
        )
    for name, row in found.items():
        if name.startswith("simplejwt"):
            ours = found[name.replace("simplejwt", "gateway").removesuffix(_LEAN)]
            row["ratio"] = row["cpu_us"] / ours["cpu_us"]
            print(f"{name}: {row['ratio']:.1f} times the CPU of the gateway")
    missed = [row for name, row in found.items() if not name.endswith(_LEAN) and row.get("ratio", LEAST) < LEAST]
    return 1 if missed or any(row["errors"] for row in found.values()) else 0


def _ours(folder: Path, stack: ExitStack, workers: int) -> Contender:
    port, pid, home = refresh_stores.serve("postgres", folder / f"ours-{workers}", stack, workers=workers)
    return Contender(
        f"gateway, {workers} workers",
        Server(pid, port),
        lambda count: gateway.start_sessions(home, count),
        "/auth/refresh",
        "refresh_token",
    )


def _theirs(python: Path, folder: Path, stack: ExitStack, workers: int, *, lean: bool) -> Contender:
    name = f"simplejwt, {workers} workers" + _LEAN * lean
    url = asyncio.run(postgres.server().make(f"simplejwt{workers}{'lean' * lean}"))
    environment = {**os.environ, "SIMPLEJWT_DATABASE": url, "PYTHONPATH": str(_HERE), "PYTHONDONTWRITEBYTECODE": "1"}
    if lean:
        environment["SIMPLEJWT_LEAN"] = "yes"
    port = free_port()
    tokens = folder / name

    def make(count: int) -> Path:
        command = [str(python), str(_HERE / "app.py"), str(count)]
        tokens.write_bytes(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout)
        return tokens

    make(1)  # the tables are there before the first request
    command = [str(python), "-m", "gunicorn", "app:application", "--bind", f"127.0.0.1:{port}"]
    command += ["--workers", str(workers), "--log-level", "error"]
    command += ["--worker-class", "gthread", "--threads", "4"] * lean
    log = folder / f"{name}.log"
    process = stack.enter_context(server(command, port, log=log, env=environment))
    return Contender(name, Server(process.pid, port), make, "/token/refresh", "refresh")


def _python() -> Path:
    """The interpreter of simplejwt's environment, made when it is not there or not the one that is asked for."""
    wanted = (_HERE / "requirements.txt").read_text()
    python, mark = _ENVIRONMENT / "bin" / "python", _ENVIRONMENT / ".installed"
    if not mark.exists() or mark.read_text() != wanted:
        print("bench: installing djangorestframework-simplejwt", file=sys.stderr)
        venv.create(_ENVIRONMENT, clear=True, with_pip=True)
        install = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "-q", "install"]
        subprocess.run([*install, "-r", str(_HERE / "requirements.txt")], check=True, timeout=240)
        mark.write_text(wanted)
    return python


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.simplejwt", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one run (default: 5)")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each, in turn (default: 2)")
    parser.add_argument("--sessions", type=int, default=1000, help="sessions started for each run (default: 1000)")
    parser.add_argument("--clients", type=int, default=16, help="connections of wrk (default: 16)")
    parser.add_argument("--json", type=Path, help="write the figures there")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
