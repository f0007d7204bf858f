"""What is measured, a file for each kind."""

from __future__ import annotations

from bench.scenarios import events, http, memory, own, websocket
from bench.scenarios.scenario import Scenario

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (*memory.SCENARIOS, *http.SCENARIOS, *websocket.SCENARIOS, *events.SCENARIOS, *own.SCENARIOS)
}
