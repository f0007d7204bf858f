"""The figures as JSON and as tables."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.targets import Verdict, judge

_COLUMNS = {
    "cpu_us": ("CPU µs", 1),
    "ratio": ("gateway ÷ it", 2),
    "per_second": ("a second", 0),
    "one_core": ("on one core", 0),
    "p50_ms": ("p50 ms", 2),
    "p99_ms": ("p99 ms", 2),
    "calm_p99_ms": ("p99 ms before", 2),
    "half_cpu_us": ("CPU µs at half", 1),
    "late_p99_ms": ("sent late", 2),
    "cpu_s_per_gb": ("CPU s/GB", 3),
    "rest_mb": ("MB at rest", 1),
    "kb_each": ("KB each", 2),
    "errors": ("errors", 0),
}


def save(path: Path, found: dict[str, Any]) -> None:
    """Write the figures, rounded to six digits, as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_rounded(found), indent=1, ensure_ascii=False) + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value


def show(found: dict[str, Any]) -> None:
    """A table for each scenario."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    for scenario in found["scenarios"].values():
        console.print(_table(scenario, found["peers"]))
        for name, row in scenario["peers"].items():
            counts = [
                f"{key.removesuffix('_count')} {value:.0f}" for key, value in row.items() if key.endswith("_count")
            ]
            if row["errors"] or any("login" in count for count in counts):
                console.print(f"  {name}: {', '.join(counts)}")
        for name, reason in scenario["left_out"].items():
            console.print(f"  left out: {name}: {reason}")
    for name, reason in found["left_out"].items():
        console.print(f"left out: {name}: {reason}")
    console.print(_verdicts(judge(found)))
    console.print(f"{found['rounds']} rounds of {found['seconds']:g} s, {found['took_s']} s in all")


def _table(scenario: dict[str, Any], titles: dict[str, str]) -> Table:
    rows = scenario["peers"]
    for row in rows.values():
        if "gateway" in rows and row.get("cpu_us"):
            row["ratio"] = rows["gateway"]["cpu_us"] / row["cpu_us"]
    shown = [name for name in _COLUMNS if any(name in row for row in rows.values())]
    table = Table(title=scenario["title"])
    table.add_column("peer")
    for name in shown:
        table.add_column(_COLUMNS[name][0], justify="right")
    for peer, row in sorted(rows.items(), key=lambda item: item[1].get("cpu_us", 0.0)):
        cells = (f"{row[name]:,.{_COLUMNS[name][1]}f}" if name in row else "" for name in shown)
        table.add_row(titles[peer], *cells)
    return table


def _verdicts(verdicts: list[Verdict]) -> Table:
    table = Table(title="targets")
    for name in ("target", "measured", "limit", ""):
        table.add_column(name, justify="left" if name == "target" else "right")
    for verdict in verdicts:
        if verdict.value is None or verdict.limit is None:
            table.add_row(verdict.text, "", "", "not measured")
            continue
        value, limit = (f"{number:,.2f} {verdict.unit}".strip() for number in (verdict.value, verdict.limit))
        table.add_row(verdict.text, value, limit, "met" if verdict.met else "[red]MISSED[/red]")
    return table
