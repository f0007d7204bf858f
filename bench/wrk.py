"""Closed loop with wrk: as much as one core of the peer can, CPU read before and after."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from bench.measured import Run
from bench.processes import Server

HERE = Path(__file__).parent
CONNECTIONS = 64
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


def drive(
    peer: Server,
    *,
    seconds: float,
    script: Path,
    env: Mapping[str, str],
    path: str = "/",
    connections: int = CONNECTIONS,
    refused: bool = False,
) -> Run:
    """Drive a peer with one wrk thread and charge the CPU of its processes to the requests answered.

    `refused`: right are answers outside of 2xx and 3xx, every other is an error.
    """
    command = ["wrk", "-t1", f"-c{connections}", "-d60s", "--latency", "--timeout", "10s", "-s", str(script)]
    command += [f"http://127.0.0.1:{peer.port}{path}"]
    before = peer.cpu_seconds()
    out = _run_for(seconds, command, {**os.environ, **env})
    spent = peer.cpu_seconds() - before
    requests = int(_find(r"(\d+) requests in", out))
    bad = sum(int(part) for part in re.findall(r"Non-2xx or 3xx responses: (\d+)", out))
    errors = abs(requests - bad) if refused else bad
    errors += sum(int(part) for part in re.findall(r"(?:connect|read|write|timeout) (\d+)", out))
    return Run(
        cpu_us=spent / max(requests, 1) * 1e6,
        per_second=float(_find(r"Requests/sec:\s+([\d.]+)", out)),
        p50_ms=_latency("50", out),
        p99_ms=_latency("99", out),
        errors=errors,
    )


def _run_for(seconds: float, command: list[str], env: Mapping[str, str]) -> str:
    """What wrk prints; it counts whole seconds only, so it is interrupted when the time is over."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as process:
        try:
            return process.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            return process.communicate(timeout=30)[0]
        finally:
            process.kill()


def _find(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise RuntimeError(f"wrk printed something unexpected:\n{text}")
    return match.group(1)


def _latency(percentile: str, text: str) -> float:
    number, unit = re.search(rf"{percentile}%\s+([\d.]+)(us|ms|s|m)\b", text).groups()  # type: ignore[union-attr]
    return float(number) * _UNITS[unit]
