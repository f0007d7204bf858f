"""What one run showed, and the median of several."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Row = dict[str, float]
"""Figures by name: `cpu_us` per request, `per_second`, `p50_ms`, `p99_ms`, `errors`, and what a scenario adds."""


@dataclass(frozen=True, slots=True)
class Run:
    """CPU in microseconds per request, latencies in milliseconds."""

    cpu_us: float
    per_second: float
    p50_ms: float
    p99_ms: float
    errors: int


def median(rows: Sequence[Mapping[str, float]]) -> Row:
    """The median of each figure; errors are summed."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _middle(name, [row[name] for row in rows if name in row]) for name in names}


def add(row: Mapping[str, float], other: Mapping[str, float]) -> Row:
    """Both rows in one; counts of errors that are in both are summed."""
    both = {name: row[name] + other[name] for name in row.keys() & other.keys() if _counts(name)}
    return {**row, **other, **both}


def _middle(name: str, values: list[float]) -> float:
    return float(sum(values)) if _counts(name) else statistics.median(values)


def _counts(name: str) -> bool:
    return name == "errors" or name.endswith("_count")


def percentile(values: Iterable[float], share: float) -> float:
    """The value that `share` (0 to 1) of them do not exceed; 0 when there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
