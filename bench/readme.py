"""The README's table, between the markers that stand there for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


def write(path: Path, found: Mapping[str, Any]) -> None:
    """Replace what is between the markers; raises ValueError when the file has none."""
    text = path.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no {BEGIN} … {END}")
    path.write_text(f"{before}{BEGIN}\n{section(found)}\n{END}{after}")


def section(found: Mapping[str, Any]) -> str:
    """The table and what does not fit into it."""
    scenarios = found["scenarios"]
    lines = [
        "![CPU per proxied request, beside nginx, HAProxy, Caddy, Apache and aiohttp](docs/bench.svg)",
        "",
        "| proxy | CPU µs/request | gateway ÷ it | 10,000 tokens | 16 KB body | CPU s/GB | requests/s | p99 ms |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    cached = scenarios["cached"]["peers"]
    for name, row in sorted(cached.items(), key=lambda item: item[1]["cpu_us"]):
        title = found["peers"][name]
        cells = [
            f"**{title}**" if name == "gateway" else title,
            f"{row['cpu_us']:.0f}",
            f"{cached['gateway']['cpu_us'] / row['cpu_us']:.2f}",
            _cell(scenarios, "zipf", name, "cpu_us", ".0f"),
            _cell(scenarios, "16k", name, "cpu_us", ".0f"),
            _cell(scenarios, "10m", name, "cpu_s_per_gb", ".2f"),
            f"{row['per_second']:,.0f}",
            f"{row['p99_ms']:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "CPU is user and system, on one core for each; p99 is taken at half of each one's own maximum, open loop.",
        *_more(found),
    ]
    return "\n".join(lines)


def _cell(scenarios: Mapping[str, Any], scenario: str, peer: str, figure: str, form: str) -> str:
    row = scenarios.get(scenario, {}).get("peers", {}).get(peer)
    return f"{row[figure]:{form}}" if row else "–"


def _more(found: Mapping[str, Any]) -> list[str]:
    scenarios, lines = found["scenarios"], []
    idle = scenarios.get("idle", {}).get("peers", {}).get("gateway")
    sockets = scenarios.get("websockets", {}).get("peers", {}).get("gateway")
    if idle:
        text = f"Memory of a worker: {idle['rest_mb']:.0f} MB at rest, {idle['kb_each']:.1f} KB per idle connection"
        lines.append(text + (f", {sockets['kb_each']:.1f} KB per open WebSocket." if sockets else "."))
    storm = scenarios.get("storm", {}).get("peers", {}).get("gateway")
    if storm:
        lines.append(f"Proxied p99 {storm['calm_p99_ms']:.1f} ms, during a login storm {storm['p99_ms']:.1f} ms.")
    cost = scenarios.get("refresh", {}).get("peers", {}).get("gateway")
    if cost:
        lines.append(
            f"A durable refresh on SQLite, signed with EdDSA: {cost['cpu_us']:.0f} µs of CPU, "
            f"{cost['per_second']:,.0f} a second in one worker, p99 {cost['p99_ms']:.0f} ms."
        )
    left_out = [*found["left_out"]]
    return lines + ([f"Not installed where this was measured: {', '.join(left_out)}."] if left_out else [])
