"""The bench: every peer in one run, interleaved, medians; tables for people, JSON for machines."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

from bench import machine, report
from bench.rounds import measure
from bench.scenarios import SCENARIOS
from bench.world import PEERS, build

RESULTS = Path("bench/results/latest.json")


def main() -> int:
    """Run everything and print the tables."""
    options = _options()
    machine.install()
    machine.prepare()
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as name, contextlib.ExitStack() as stack:
        world = build(Path(name), options.peers, stack)
        found = measure(world, [SCENARIOS[name] for name in options.only], options)
    if options.json:
        report.save(options.json, found)
    report.show(found)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.2, help="length of one run (default: 1.2)")
    parser.add_argument("--rounds", type=int, default=5, help="runs per peer, interleaved (default: 5)")
    parser.add_argument("--only", type=_names(SCENARIOS), default=list(SCENARIOS), help=", ".join(SCENARIOS))
    parser.add_argument("--peers", type=_names(PEERS), default=list(PEERS), help=", ".join(PEERS))
    parser.add_argument("--json", type=Path, help=f"where the figures go (default, when nothing is left out: {RESULTS})")
    options = parser.parse_args()
    if options.json is None and len(options.only) == len(SCENARIOS) and len(options.peers) == len(PEERS):
        options.json = RESULTS
    return options


def _names(known: object) -> object:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        unknown = [name for name in names if name not in known]  # type: ignore[operator]
        if unknown:
            raise argparse.ArgumentTypeError(f"no such thing: {', '.join(unknown)}")
        return names

    return parse


if __name__ == "__main__":
    sys.exit(main())
