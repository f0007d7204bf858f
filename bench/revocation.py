"""Log-out until refused on every worker: two nodes of two workers on one PostgreSQL and one Redis.

usage: python -m bench.revocation [--count N]

Each figure is the time from sending the log-out on one worker until each of the four has refused the access token; the
four are asked one after the other, so the time to ask is part of it. Repeated after each server was killed.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.nodes import Nodes, two_nodes

GOAL = 1.0


def measured(nodes: Nodes, what: str, count: int) -> float:
    """Print p50, p99 and the longest of `count` log-outs, in milliseconds; the p99 in seconds."""
    times = sorted(nodes.revoked_everywhere(number % len(nodes.lines)) for number in range(count))
    p99 = times[min(count - 1, round(0.99 * count))]
    figures = f"p50 {times[count // 2] * 1e3:6.1f} ms  p99 {p99 * 1e3:6.1f} ms  max {times[-1] * 1e3:6.1f} ms"
    print(f"{what:34} {count:4} log-outs  {figures}", flush=True)
    return p99


def recovered(nodes: Nodes) -> None:
    """Wait until both nodes log in again."""
    deadline = time.monotonic() + 30
    right = {"username": "ada", "password": "correct-horse-battery"}
    while [gateway.post("/auth/login", right).status for gateway in nodes.gateways] != [200, 200]:
        assert time.monotonic() < deadline, "no log-ins again"


def main() -> int:
    """All four rounds; 1 when a p99 is a second or more."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="log-outs per round")
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory() as folder, two_nodes(Path(folder)) as nodes:
        worst = measured(nodes, "both up", count)
        nodes.redis.stop(signal.SIGKILL)
        worst = max(worst, measured(nodes, "Redis killed", count))
        nodes.redis.start()
        worst = max(worst, measured(nodes, "Redis back", count))
        nodes.database.stop(signal.SIGKILL)
        nodes.database.start()
        recovered(nodes)
        worst = max(worst, measured(nodes, "PostgreSQL killed and back", count))
    return int(worst >= GOAL)


if __name__ == "__main__":
    sys.exit(main())
