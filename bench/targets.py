"""What the product promises, and whether a run's figures hold it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Figure = Callable[[str, str, str], float]
"""Scenario, peer, name of the figure; raises KeyError when it was not measured."""


@dataclass(frozen=True, slots=True)
class Target:
    """`value` and `limit` from a run's figures; met when the value does not exceed the limit."""

    text: str
    value: Callable[[Figure], float]
    limit: Callable[[Figure], float]
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target beside what was measured; `met` None: not measured."""

    text: str
    value: float | None
    limit: float | None
    unit: str
    met: bool | None


def _ratio(text: str, scenario: str, peer: str, limit: float, figure: str = "cpu_us") -> Target:
    def value(of: Figure) -> float:
        return of(scenario, "gateway", figure) / of(scenario, peer, figure)

    return Target(text, value, lambda _: limit, "×")


def _at_most(text: str, scenario: str, figure: str, limit: float, unit: str) -> Target:
    return Target(text, lambda of: of(scenario, "gateway", figure), lambda _: limit, unit)


TARGETS = (
    _ratio("CPU/request, cached token ≤ 1.0 × HAProxy jwt_verify", "cached", "haproxy", 1.0),
    _ratio("CPU/request, cached token ≤ 0.45 × Caddy without auth", "cached", "caddy", 0.45),
    _ratio("CPU/request, cached token ≤ 0.25 × naive aiohttp", "cached", "naive", 0.25),
    _ratio("CPU/request, cached token ≤ 3 × nginx without auth", "cached", "nginx", 3.0),
    _ratio("CPU/request, 10,000 tokens ≤ 1.3 × HAProxy", "zipf", "haproxy", 1.3),
    Target(
        "p99 at half load ≤ 1.5 × HAProxy's + 1 ms",
        lambda of: of("cached", "gateway", "p99_ms"),
        lambda of: 1.5 * of("cached", "haproxy", "p99_ms") + 1,
        "ms",
    ),
    _ratio("10 MB bodies, CPU per GB ≤ 1.1 × HAProxy's", "10m", "haproxy", 1.1, "cpu_s_per_gb"),
    _at_most("RSS at rest ≤ 80 MB", "idle", "rest_mb", 80, "MB"),
    _at_most("an idle keep-alive connection ≤ 12 KB", "idle", "kb_each", 12, "KB"),
    _at_most("an open WebSocket ≤ 40 KB", "websockets", "kb_each", 40, "KB"),
    Target(
        "login storm: proxied p99 ≤ 1.5 × without + 2 ms",
        lambda of: of("storm", "gateway", "p99_ms"),
        lambda of: 1.5 * of("storm", "gateway", "calm_p99_ms") + 2,
        "ms",
    ),
    Target(
        "login storm: log-ins refused with anything but 503 and Retry-After",
        lambda of: of("storm", "gateway", "refused_otherwise_count"),
        lambda _: 0,
    ),
)


def judge(found: dict[str, Any]) -> list[Verdict]:
    """Every target beside this run's figures."""

    def figure(scenario: str, peer: str, name: str) -> float:
        return float(found["scenarios"][scenario]["peers"][peer][name])

    return [_judge(target, figure) for target in TARGETS]


def _judge(target: Target, figure: Figure) -> Verdict:
    try:
        value, limit = target.value(figure), target.limit(figure)
    except (KeyError, ZeroDivisionError):
        return Verdict(target.text, None, None, target.unit, None)
    return Verdict(target.text, value, limit, target.unit, value <= limit)
