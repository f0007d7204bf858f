"""docs/threat-model.md and docs/faults.md name tests; each of them exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
TEXT = (TESTS.parent / "docs" / "threat-model.md").read_text(encoding="utf-8")
FAULTS = (TESTS.parent / "docs" / "faults.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`([\w/]+\.py)::(test_\w+)`", TEXT + FAULTS)


def functions(path: Path) -> set[str]:
    """Every function in a file, methods included."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_named_test_exists() -> None:
    assert len(NAMED) > 100
    known = {name: functions(TESTS / name) if (TESTS / name).exists() else set() for name, _ in NAMED}
    assert [f"{name}::{test}" for name, test in NAMED if test not in known[name]] == []


def test_every_threat_names_a_test() -> None:
    rows = [line for line in TEXT.split("## Threats")[1].split("## Not yet held")[0].splitlines() if "| " in line]
    threats = [row for row in rows if not row.startswith(("| threat |", "|---"))]
    assert len(threats) > 60
    assert [row for row in threats if "::test_" not in row] == []


def test_every_fault_names_a_test() -> None:
    rows = [line for line in FAULTS.splitlines() if line.startswith("| ") and not line.startswith("| what ")]
    assert len(rows) > 10
    assert [row for row in rows if "::test_" not in row] == []
