"""What is measured, a file for each kind."""

from __future__ import annotations

from bench.scenarios import http, memory
from bench.scenarios.scenario import Scenario

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario for scenario in (*memory.SCENARIOS, *http.SCENARIOS)
}
