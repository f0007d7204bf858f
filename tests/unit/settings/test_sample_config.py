"""The files in config/ are true: the sample shows the defaults, the schema is the model's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from gateway.settings import yaml_tree
from gateway.settings.loader import load
from gateway.settings.schema import json_schema
from gateway.settings.secrets import leaves

CONFIG = Path(__file__).parents[3] / "config"
SAMPLE, SCHEMA = CONFIG / "gateway.yaml", CONFIG / "gateway.schema.json"


def test_the_schema_is_current() -> None:
    assert json.loads(SCHEMA.read_text()) == json_schema(), "gateway config schema > config/gateway.schema.json"


def test_the_schema_says_what_every_key_is_for() -> None:
    def fields(node: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        if isinstance(node, dict):
            properties = node.get("properties", {})
            if node.get("additionalProperties") is False and isinstance(properties, dict):
                yield from properties.items()
            for child in node.values():
                yield from fields(child)

    definitions = json_schema()["$defs"]
    missing = {
        name
        for name, field in fields(definitions)
        if not field.get("description")
        and not definitions.get(field.get("$ref", "").rpartition("/")[2], {}).get("description")
    }
    assert missing <= {"url", "weight"}


def test_the_sample_passes_schema_and_checks_without_a_warning() -> None:
    document = yaml_tree.parse(SAMPLE.read_text()).data
    jsonschema_rs.Draft202012Validator(json_schema()).validate(document)
    assert load(SAMPLE, {}).warnings == ()
    assert SAMPLE.read_text().startswith("# yaml-language-server: $schema=./gateway.schema.json\n")


def test_the_sample_shows_the_default_of_every_key() -> None:
    sample, defaults = load(SAMPLE, {}).settings, load(None, {}).settings
    assert sample.model_copy(update={"routes": ()}) == defaults
    written = yaml_tree.parse(SAMPLE.read_text()).data
    shown = {place for place, _ in leaves(written) if place != ("routes",)}
    known = {place for place, _ in leaves(defaults.model_dump(mode="json")) if place != ("routes",)}
    assert known - shown == {("storage", "database_file"), ("storage", "redis_file"), ("tracing", "headers_file")}
    (route,) = sample.routes
    minimal = type(route).model_validate(
        {"name": "api", "match": {"path": "/api/"}, "upstream": "http://127.0.0.1:9000"}
    )
    assert route == minimal


@pytest.mark.parametrize(
    "bad", [{"server": {"lisen": 1}}, {"tokens": {"access_ttl": "15"}}, {"routes": [{"name": "a"}]}]
)
def test_an_editor_sees_mistakes_by_the_schema(bad: dict[str, Any]) -> None:
    assert not jsonschema_rs.Draft202012Validator(json_schema()).is_valid(bad)
