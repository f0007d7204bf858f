"""Mixed traffic against the gateway for some minutes: memory must stay flat and every answer must be the expected one.

usage: bench/run soak [--minutes M]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import machine
from bench.peers import gateway
from bench.processes import Server
from bench.traffic import Traffic
from bench.world import World, build

EVERY = 2.0
"""Seconds between two looks at the memory."""
ALLOWED = 0.05
"""How far the memory of the last fifth may be from that of the fifth after the warm-up."""
_USERS, _SESSIONS, _TOKENS = 100, 50, 500


@dataclass(frozen=True, slots=True)
class Sample:
    """Seconds since the start, MB resident, exchanges done so far."""

    at: float
    rss_mb: float
    done: int


def main() -> int:
    """Run it; 0 when memory was flat and nothing unexpected happened."""
    parser = argparse.ArgumentParser(prog="bench/run soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long (default: 5)")
    options = parser.parse_args()
    machine.install()
    machine.prepare()
    with tempfile.TemporaryDirectory(prefix="gateway-soak-") as name, contextlib.ExitStack() as stack:
        world = build(Path(name), ["gateway"], stack)
        gateway.start_sessions(world.gateway.folder, _USERS, passwords=True)
        refresh = gateway.start_sessions(world.gateway.folder, _SESSIONS).read_text().split()
        running = world.start(world.gateway, stack)
        traffic = Traffic(running.port, world.tokens[:_TOKENS], refresh, _USERS)
        samples = asyncio.run(_soak(traffic, running, options.minutes * 60))
        logged = _errors_logged(world)
    return _judge(samples, traffic, logged)


async def _soak(traffic: Traffic, running: Server, seconds: float) -> list[Sample]:
    began, samples = time.monotonic(), []
    async with traffic.running():
        while (at := time.monotonic() - began) < seconds:
            await asyncio.sleep(EVERY)
            samples.append(Sample(at + EVERY, running.rss_kib() * 1.024e-3, traffic.done.total()))
    return samples


def _errors_logged(world: World) -> Counter[str]:
    """The events that the gateway logged as errors, and lines that are no JSON: a traceback, most likely."""
    found: Counter[str] = Counter()
    with (world.gateway.folder / f"{world.gateway.name}.out").open() as lines:
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                found[line.strip()[:120]] += 1
                continue
            if entry.get("level") in ("error", "critical"):
                found[entry["event"]] += 1
    return found


def flatness(samples: list[Sample]) -> float:
    """The memory of the last fifth over that of the second, less one: the first fifth is the warm-up."""
    fifth = max(len(samples) // 5, 1)
    first = statistics.mean(sample.rss_mb for sample in samples[fifth : 2 * fifth] or samples)
    return statistics.mean(sample.rss_mb for sample in samples[-fifth:]) / first - 1


def _judge(samples: list[Sample], traffic: Traffic, logged: Counter[str]) -> int:
    console, table = Console(width=None if sys.stdout.isatty() else 120), Table(title="soak")
    for name in ("seconds", "RSS MB", "exchanges"):
        table.add_column(name, justify="right")
    for sample in samples[:: max(len(samples) // 20, 1)]:
        table.add_row(f"{sample.at:.0f}", f"{sample.rss_mb:.1f}", f"{sample.done:,}")
    console.print(table)
    console.print(", ".join(f"{name} {count:,}" for name, count in sorted(traffic.done.items())))
    for name, reason in traffic.left_out.items():
        console.print(f"left out: {name}: {reason}")
    unexpected = traffic.unexpected + logged
    for text, count in unexpected.most_common(20):
        console.print(f"unexpected, {count} times: {text}", markup=False)
    drift = flatness(samples)
    console.print(f"memory: {drift:+.1%} from the second fifth to the last (allowed: {ALLOWED:.0%})")
    return 0 if abs(drift) <= ALLOWED and not unexpected else 1


if __name__ == "__main__":
    sys.exit(main())
