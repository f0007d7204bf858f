"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from bench.simulation.baselines import OURS
from bench.simulation.report import HonestRow, Report, TheftRow, failures


def markdown(report: Report) -> str:
    """Every table, and the goals that were missed."""
    parts = [
        "### Honest users, receipt-confirmed: per 1,000 session-days",
        _honest([row for row in report.honest if row.peer == OURS]),
    ]
    peers = list(dict.fromkeys(row.peer for row in report.honest))
    if len(peers) > 1:
        parts += ["### Honest users: false log-outs per 1,000 session-days, by rule", _compare(report.honest, peers)]
    parts += ["### Thieves, receipt-confirmed", _thefts([row for row in report.thefts if row.peer == OURS])]
    if len(peers) > 1:
        parts += [
            "### Thieves: share caught, and the most minutes of access in any hour, by rule",
            _compare_thefts(report.thefts, peers),
        ]
    missed = failures(report)
    parts.append("Goals missed:\n\n" + "\n".join(f"- {one}" for one in missed) if missed else "Every goal is met.")
    return "\n\n".join(parts) + "\n"


def _honest(rows: Sequence[HonestRow]) -> str:
    head = ("scenario", "days", "refreshes a day", "false log-outs", "of them all sessions", "challenges", "alarms")
    body = [
        (
            row.scenario,
            f"{row.days:.0f}",
            f"{row.refreshes_per_day:.0f}",
            _rate(row.log_outs),
            _rate(row.ended_user),
            _rate(row.challenges),
            _rate(row.alarms),
        )
        for row in rows
    ]
    return _table(head, body)


def _thefts(rows: Sequence[TheftRow]) -> str:
    head = (
        "thief",
        "trials",
        "caught",
        "median, p95, last (min)",
        "noticed",
        "else shut out",
        "median, p95 (min)",
        "cycles, most",
        "access: median (min)",
        "most in an hour (min)",
    )
    body = [
        (
            row.scenario,
            str(row.trials),
            f"{row.caught:.0%}",
            f"{_minutes(row.caught_median)}, {_minutes(row.caught_p95)}, {_minutes(row.caught_most)}",
            f"{row.noticed:.1%}",
            f"{row.shut_out:.1%}" if row.adaptive else "",
            f"{_minutes(row.noticed_median)}, {_minutes(row.noticed_p95)}",
            str(row.cycles) if row.adaptive else "",
            f"{row.access_median:.1f}",
            f"{row.access_per_hour:.1f}",
        )
        for row in rows
    ]
    return _table(head, body)


def _compare(rows: Sequence[HonestRow], peers: Sequence[str]) -> str:
    found = {(row.scenario, row.peer): row for row in rows}
    scenarios = dict.fromkeys(row.scenario for row in rows)
    body = [(name, *(_rate(found[name, peer].log_outs) for peer in peers)) for name in scenarios]
    return _table(("scenario", *peers), body)


def _compare_thefts(rows: Sequence[TheftRow], peers: Sequence[str]) -> str:
    found = {(row.scenario, row.peer): row for row in rows}
    scenarios = dict.fromkeys(row.scenario for row in rows)
    body = [
        (name, *(f"{found[name, peer].caught:.0%}, {found[name, peer].access_per_hour:.0f}" for peer in peers))
        for name in scenarios
    ]
    return _table(("thief", *peers), body)


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.2g}"


def _minutes(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *body))
