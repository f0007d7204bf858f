"""Prints every query of the dashboards named as recording rules, for promtool to parse; variables get sample values."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SAMPLES = {
    "$__rate_interval": "1m",
    "$__interval": "30s",
    "$__range": "1h",
    "$job": "gateway",
    "$instance": ".*",
    "$route": ".*",
}


def queries(dashboard: dict[str, Any]) -> Iterator[str]:
    """Each expression, with values in the places of Grafana's variables."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield filled(target["expr"])


def filled(expression: str) -> str:
    """`expression` as Prometheus would get it. Raises ValueError where a variable is not known."""
    for name, value in SAMPLES.items():
        expression = expression.replace(name, value)
    if left := re.search(r"\$\w+", expression):
        raise ValueError(f"unknown variable {left[0]} in {expression}")
    return expression


def main() -> None:
    """A file of rules on stdout; JSON is YAML."""
    found = [query for name in sys.argv[1:] for query in queries(json.loads(Path(name).read_text(encoding="utf-8")))]
    rules = [{"record": f"dashboard:query:{number}", "expr": query} for number, query in enumerate(found)]
    print(json.dumps({"groups": [{"name": "dashboards", "rules": rules}]}, indent=1))


if __name__ == "__main__":
    main()
