"""docs/events.md is complete and its examples are true to the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

from gateway.events import Level, Name

CATALOGUE = (Path(__file__).parents[3] / "docs" / "events.md").read_text()
SECTIONS = dict(re.findall(r"^### (\S+)\n(.*?)(?=^##|\Z)", CATALOGUE, re.MULTILINE | re.DOTALL))


def test_every_event_is_in_the_catalogue_and_nothing_else() -> None:
    assert set(SECTIONS) == {name.value for name in Name}


def test_every_event_has_a_level_and_an_example_that_is_a_line_of_its_own() -> None:
    for name, text in SECTIONS.items():
        assert text.startswith(tuple(level.value for level in Level)), name
        (example,) = re.findall(r"```json\n(.*?)\n```", text, re.DOTALL)
        document = json.loads(example)
        assert list(document)[:3] == ["timestamp", "level", "event"]
        assert document["event"] == name
        assert document["level"] in set(Level)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", document["timestamp"])
        own = set(document) - {"timestamp", "level", "event", "request_id", "user_id", "session_id", "client.address"}
        for field in own - {"user_agent.original"}:
            assert f"`{field}`" in text or name == "proxy.request", f"{name}: {field} is not explained"
