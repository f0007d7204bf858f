"""The simulation on the command line; exit 1 when a goal is missed."""

from __future__ import annotations

import argparse
import json
import sys
import time

from bench.simulation.baselines import OURS, PEERS
from bench.simulation.report import SIZES, failures, simulate
from bench.simulation.tables import markdown


def main() -> int:
    """Simulate, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m bench.simulation", description=__doc__)
    parser.add_argument("--size", choices=sorted(SIZES), default="ci")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the work")
    parser.add_argument("--ours", action="store_true", help="leave out what others do")
    parser.add_argument("--json", action="store_true", help="figures instead of tables")
    options = parser.parse_args()
    began = time.monotonic()
    report = simulate(SIZES[options.size], options.seed, (OURS,) if options.ours else tuple(PEERS), options.jobs)
    print(json.dumps(report.as_json(), indent=2) if options.json else markdown(report))
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    return 1 if failures(report) else 0


if __name__ == "__main__":
    sys.exit(main())
