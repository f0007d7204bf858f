"""The bench: every peer in one run, interleaved, medians; tables for people, JSON for machines."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import draw, machine, readme, report, targets
from bench.rounds import measure
from bench.scenarios import SCENARIOS
from bench.world import PEERS, build

RESULTS = Path("bench/results/latest.json")


def main() -> int:
    """Run everything and print the tables."""
    options = _options()
    machine.install()
    if options.install:
        return 0
    machine.prepare()
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as name, contextlib.ExitStack() as stack:
        world = build(Path(name), options.peers, stack)
        found = measure(world, [SCENARIOS[name] for name in options.only], options)
    if options.json:
        report.save(options.json, found)
    report.show(found)
    if options.readme:
        readme.write(options.readme, found)
    if options.picture:
        draw.draw(options.picture, found)
    return 1 if options.check and _missed(found) else 0


def _missed(found: dict[str, Any]) -> bool:
    """Whether a target was missed or an answer was wrong."""
    rows = (row for scenario in found["scenarios"].values() for row in scenario["peers"].items())
    wrong = any(name == "gateway" and row["errors"] for name, row in rows)
    return wrong or any(verdict.met is False for verdict in targets.judge(found))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of one run (default: 1)")
    parser.add_argument("--rounds", type=int, default=5, help="runs per peer, interleaved (default: 5)")
    parser.add_argument("--only", type=_names(SCENARIOS), default=list(SCENARIOS), help=", ".join(SCENARIOS))
    parser.add_argument("--peers", type=_names(PEERS), default=list(PEERS), help=", ".join(PEERS))
    parser.add_argument(
        "--json", type=Path, help=f"where the figures go (default, when nothing is left out: {RESULTS})"
    )
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed or an answer was wrong")
    parser.add_argument("--readme", type=Path, help="a Markdown file whose bench section is written again")
    parser.add_argument("--picture", type=Path, help="an SVG file to draw (docs/bench.svg)")
    parser.add_argument("--install", action="store_true", help="only install what is missing")
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
