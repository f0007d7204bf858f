"""One measured run: load from another process, CPU read before and after."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.processes import cpu_seconds

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of wrk showed. CPU in microseconds per request, latencies in milliseconds."""

    cpu_us: float
    per_second: float
    p50_ms: float
    p99_ms: float
    errors: int


def wrk(
    pid: int,
    url: str,
    *,
    seconds: float,
    connections: int = 64,
    headers: Mapping[str, str] | None = None,
    script: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Run:
    """Drive `url` with one wrk thread and charge the CPU of `pid`'s processes to the requests answered."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "--timeout", "10s"]
    command += ["-s", str(script)] if script else []
    for name, value in (headers or {}).items():
        command += ["-H", f"{name}: {value}"]
    before = cpu_seconds(pid)
    done = subprocess.run(
        [*command, url],
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 60,
        env={**os.environ, **(env or {})},
    )
    spent, out = cpu_seconds(pid) - before, done.stdout
    requests = int(_find(r"(\d+) requests in", out))
    errors = sum(int(part) for part in re.findall(r"Non-2xx or 3xx responses: (\d+)", out))
    errors += sum(int(part) for part in re.findall(r"(?:connect|read|write|timeout) (\d+)", out))
    return Run(
        cpu_us=spent / max(requests, 1) * 1e6,
        per_second=float(_find(r"Requests/sec:\s+([\d.]+)", out)),
        p50_ms=_latency("50", out),
        p99_ms=_latency("99", out),
        errors=errors,
    )


def _find(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise RuntimeError(f"wrk printed something unexpected:\n{text}")
    return match.group(1)


def _latency(percentile: str, text: str) -> float:
    number, unit = re.search(rf"{percentile}%\s+([\d.]+)(us|ms|s|m)\b", text).groups()  # type: ignore[union-attr]
    return float(number) * _UNITS[unit]
