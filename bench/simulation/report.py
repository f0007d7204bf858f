"""From trials to figures, figures to goals, and both to tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field

from bench.simulation.baselines import OURS, PEERS
from bench.simulation.clients import Tally
from bench.simulation.scenarios import HONEST, STOLEN, Honest, Stolen
from bench.simulation.trial import Theft, honest_days, theft

CHUNK = 5.0  # days of one client; the absolute limit of a session is thirty
CAUGHT_WITHIN = 30.0  # awake minutes
NOTICED_WITHIN = 4  # cycles
ACCESS_PER_HOUR = 5.0  # minutes


@dataclass(frozen=True, slots=True)
class Size:
    """How much is simulated. `crash_days`: for rare events."""

    days: float
    crash_days: float
    thefts: int
    peer_days: float
    peer_thefts: int


SIZES = {
    "ci": Size(days=5, crash_days=10, thefts=8, peer_days=5, peer_thefts=4),
    "full": Size(days=1000, crash_days=4000, thefts=500, peer_days=100, peer_thefts=100),
}


@dataclass(frozen=True, slots=True)
class HonestRow:
    """What honest users of one scenario suffered on one peer, per 1,000 session-days."""

    scenario: str
    peer: str
    days: float
    refreshes_per_day: float
    log_outs: float
    ended_user: float
    challenges: float
    alarms: float
    allowed: float | None


@dataclass(frozen=True, slots=True)
class TheftRow:
    """What became of the thieves of one scenario on one peer. Minutes; None: never happened."""

    scenario: str
    peer: str
    adaptive: bool
    trials: int
    caught: float
    noticed: float
    shut_out: float
    caught_median: float | None
    caught_p95: float | None
    caught_most: float | None
    noticed_median: float | None
    noticed_p95: float | None
    cycles: int
    access_median: float
    access_per_hour: float


@dataclass(slots=True)
class Report:
    """All figures of one run."""

    seed: str
    size: Size
    honest: list[HonestRow] = field(default_factory=list)
    thefts: list[TheftRow] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        """Plain data."""
        return asdict(self) | {"failures": failures(self)}


def simulate(size: Size, seed: str, peers: Iterable[str] = tuple(PEERS), jobs: int = 1) -> Report:
    """Run everything; the same seed gives the same figures, however many jobs share the work."""
    report = Report(seed, size)
    work = [(peer, scenario) for peer in peers for scenario in (*HONEST, *STOLEN)]
    if jobs > 1:
        with ProcessPoolExecutor(jobs) as pool:
            rows = list(pool.map(_row, *zip(*((peer, scenario, size, seed) for peer, scenario in work), strict=True)))
    else:
        rows = [_row(peer, scenario, size, seed) for peer, scenario in work]
    for row in rows:
        if isinstance(row, HonestRow):
            report.honest.append(row)
        else:
            report.thefts.append(row)
    return report


def failures(report: Report) -> list[str]:
    """Which goals the receipt-confirmed rule misses."""
    missed = []
    for row in report.honest:
        if row.peer == OURS and row.allowed is not None:
            if row.log_outs > row.allowed or (row.allowed and row.log_outs >= row.allowed):
                missed.append(f"{row.scenario}: {row.log_outs:.2f} false log-outs per 1,000 session-days")
            if row.challenges:
                missed.append(f"{row.scenario}: {row.challenges:.2f} challenges per 1,000 session-days")
    for theft_row in report.thefts:
        if theft_row.peer == OURS:
            missed += _adaptive_failures(theft_row) if theft_row.adaptive else _simple_failures(theft_row)
    return missed


def _simple_failures(row: TheftRow) -> list[str]:
    if row.caught < 1.0 or row.caught_most is None or row.caught_most > CAUGHT_WITHIN:
        return [f"{row.scenario}: {row.caught:.1%} caught, the last after {row.caught_most} awake minutes"]
    return []


def _adaptive_failures(row: TheftRow) -> list[str]:
    missed = []
    if row.noticed + row.shut_out < 1.0 - 1e-9:
        missed.append(f"{row.scenario}: {row.noticed:.1%} noticed, {row.shut_out:.1%} shut out")
    if row.cycles > NOTICED_WITHIN:
        missed.append(f"{row.scenario}: {row.cycles} cycles before it was noticed")
    if row.access_per_hour > ACCESS_PER_HOUR:
        missed.append(f"{row.scenario}: {row.access_per_hour:.1f} minutes of access in an hour")
    return missed


def _row(peer: str, scenario: Honest | Stolen, size: Size, seed: str) -> HonestRow | TheftRow:
    if isinstance(scenario, Honest):
        days = size.crash_days if scenario.habits.crashes else size.days
        return _honest(peer, scenario, days if peer == OURS else size.peer_days, seed)
    return _stolen(peer, scenario, size.thefts if peer == OURS else size.peer_thefts, seed)


def _honest(peer: str, scenario: Honest, days: float, seed: str) -> HonestRow:
    tally = Tally()
    for chunk in range(round(days / CHUNK)):
        tally.add(honest_days(scenario, peer, f"{seed}/{chunk}", CHUNK))
    scale = 1000.0 / days
    return HonestRow(
        scenario=scenario.name,
        peer=peer,
        days=days,
        refreshes_per_day=tally.refreshes / days,
        log_outs=tally.log_outs * scale,
        ended_user=tally.ended_user * scale,
        challenges=tally.challenges * scale,
        alarms=tally.alarms * scale,
        allowed=scenario.allowed,
    )


def _stolen(peer: str, scenario: Stolen, trials: int, seed: str) -> TheftRow:
    found: list[Theft] = [theft(scenario, peer, f"{seed}/{trial}") for trial in range(trials)]
    caught = sorted(one.caught for one in found if one.caught is not None)
    noticed = sorted(one.noticed for one in found if one.noticed is not None)
    return TheftRow(
        scenario=scenario.name,
        peer=peer,
        adaptive=scenario.adaptive,
        trials=trials,
        caught=len(caught) / trials,
        noticed=len(noticed) / trials,
        shut_out=sum(one.shut_out for one in found) / trials,
        caught_median=_at(caught, 0.5),
        caught_p95=_at(caught, 0.95),
        caught_most=_at(caught, 1.0),
        noticed_median=_at(noticed, 0.5),
        noticed_p95=_at(noticed, 0.95),
        cycles=max(one.cycles for one in found),
        access_median=statistics.median(one.access for one in found),
        access_per_hour=max(one.access_per_hour for one in found),
    )


def _at(ordered: list[float], share: float) -> float | None:
    """A quantile, to a tenth of a minute."""
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 1)
