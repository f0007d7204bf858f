"""The picture of the README: CPU per request of every peer, as SVG that reads on light and dark pages."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 800, 370, 70, 34, 54
_STYLE = (
    "text{font:14px system-ui,-apple-system,'Segoe UI',sans-serif;fill:#1f2328}"
    ".muted{fill:#59636e;font-size:12px}.head{font-weight:600;font-size:15px}.own{font-weight:600}"
    ".bar{fill:#8c959f}.bar.own{fill:#0969da}.base{stroke:#d1d9e0}"
    "@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.muted{fill:#9198a1}"
    ".bar{fill:#656c76}.bar.own{fill:#4493f8}.base{stroke:#3d444d}}"
)


def draw(path: Path, found: Mapping[str, Any]) -> None:
    """Write the picture of the scenario `cached`."""
    scenario = found["scenarios"]["cached"]
    rows = sorted((row["cpu_us"], name) for name, row in scenario["peers"].items())
    path.write_text(bars(scenario["title"], [(found["peers"][name], cpu, name == "gateway") for cpu, name in rows]))


def bars(title: str, rows: list[tuple[str, float, bool]]) -> str:
    """A horizontal bar for each of `rows`: label, microseconds, whether it is ours."""
    height = _TOP + _ROW * len(rows) + 30
    scale = (_WIDTH - _LEFT - _RIGHT) / max((value for _, value, _ in rows), default=1.0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"<title>{escape(_spoken(rows))}</title>",
        f"<style>{_STYLE}</style>",
        '<text class="head" x="12" y="24">CPU per proxied request, microseconds</text>',
        f'<text class="muted" x="12" y="42">{escape(title)}; less is better</text>',
    ]
    for index, (label, value, own) in enumerate(rows):
        y, kind, width = _TOP + _ROW * index, " own" if own else "", f"{value * scale:.1f}"
        parts += [
            f'<text class="label{kind}" x="{_LEFT - 12}" y="{y + 20}" text-anchor="end">{escape(label)}</text>',
            f'<rect class="bar{kind}" x="{_LEFT}" y="{y + 5}" width="{width}" height="{_ROW - 12}" rx="3"/>',
            f'<text class="value{kind}" x="{_LEFT + value * scale + 8:.1f}" y="{y + 20}">{value:.0f}</text>',
        ]
    bottom = _TOP + _ROW * len(rows)
    parts.append(f'<line class="base" x1="{_LEFT}" x2="{_LEFT}" y1="{_TOP}" y2="{bottom}"/>')
    parts.append(f'<text class="muted" x="12" y="{bottom + 20}">one process on one core each, same run, medians</text>')
    return "\n".join([*parts, "</svg>", ""])


def _spoken(rows: list[tuple[str, float, bool]]) -> str:
    return "CPU per proxied request: " + "; ".join(f"{label} {value:.0f} µs" for label, value, _ in rows)
