"""The simulation at the size of a test: every goal of docs/simulation.md, and that a bad rule shows in it."""

from __future__ import annotations

import dataclasses

import pytest

from bench.simulation.baselines import OURS, PEERS
from bench.simulation.report import SIZES, HonestRow, Report, TheftRow, failures, simulate
from bench.simulation.scenarios import HONEST, STOLEN
from bench.simulation.tables import markdown
from bench.simulation.trial import honest_days, theft

STRICT, LEEWAY, PARENT = "strict single use", "60 s leeway, new tokens", "10 s reuse, parent allowed"


@pytest.fixture(scope="module")
def report() -> Report:
    return simulate(SIZES["ci"], "ci", (OURS,))


def test_every_goal_is_met(report: Report) -> None:
    assert failures(report) == []
    assert len(report.honest) == len(HONEST)
    assert len(report.thefts) == len(STOLEN)


def test_no_honest_user_is_logged_out_or_challenged(report: Report) -> None:
    assert [row.scenario for row in report.honest if row.challenges or (row.allowed == 0 and row.log_outs)] == []


def test_every_simple_thief_is_caught_within_thirty_awake_minutes(report: Report) -> None:
    simple = [row for row in report.thefts if not row.adaptive]
    assert simple
    assert all(row.caught == 1.0 and row.caught_most is not None and row.caught_most <= 30.0 for row in simple)


def test_the_adaptive_thief_is_noticed_and_starved(report: Report) -> None:
    adaptive = [row for row in report.thefts if row.adaptive]
    assert adaptive
    assert all(row.cycles <= 4 and row.access_per_hour <= 5.0 for row in adaptive)
    assert all(row.noticed + row.shut_out == pytest.approx(1.0) for row in adaptive)


def test_strict_single_use_logs_tabs_out_on_the_same_traces() -> None:
    tabs = next(s for s in HONEST if s.name == "5 tabs, one jar")
    assert honest_days(tabs, STRICT, "ci", 2).log_outs > 10
    assert honest_days(tabs, OURS, "ci", 2).log_outs == 0


def test_several_live_tokens_or_an_allowed_parent_let_thieves_live() -> None:
    every_ten = STOLEN[0]
    assert any(theft(every_ten, LEEWAY, f"ci/{n}").caught is None for n in range(12))
    adaptive = next(s for s in STOLEN if s.name == "adaptive, same device, one tab")
    assert max(theft(adaptive, PARENT, f"ci/{n}").access_per_hour for n in range(4)) > 30


def test_the_same_seed_gives_the_same_figures() -> None:
    for peer in PEERS:
        assert honest_days(HONEST[6], peer, "x", 1) == honest_days(HONEST[6], peer, "x", 1)
        assert theft(STOLEN[7], peer, "x") == theft(STOLEN[7], peer, "x")


def test_a_missed_goal_is_told(report: Report) -> None:
    honest: list[HonestRow] = [dataclasses.replace(report.honest[0], log_outs=1.0, challenges=1.0)]
    simple = dataclasses.replace(report.thefts[0], caught=0.5)
    starving: TheftRow = next(row for row in report.thefts if row.adaptive)
    adaptive = dataclasses.replace(starving, cycles=9, access_per_hour=6.0, noticed=0.5, shut_out=0.0)
    spoiled = Report("x", report.size, honest, [simple, adaptive])
    missed = failures(spoiled)
    assert len(missed) == 6
    assert "Goals missed" in markdown(spoiled)
    assert "Every goal is met" in markdown(report)
