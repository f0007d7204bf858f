"""The JSON Schema of the configuration, for editors."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from gateway.settings.model import Settings
from gateway.settings.section import Section

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _Generator(GenerateJsonSchema):
    def generate(self, schema: Any, mode: Any = "validation") -> JsonSchemaValue:
        return {"$schema": DIALECT, **super().generate(schema, mode)}

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def json_schema() -> dict[str, Any]:
    """The schema of a configuration file. Defaults are written the way the file would hold them."""
    document: dict[str, Any] = Settings.model_json_schema(schema_generator=_Generator)
    document["title"] = "gateway.yaml"
    defaults = _defaults()
    for name, definition in document["$defs"].items():
        definition.pop("title", None)
        for key, field in definition.get("properties", {}).items():
            _mend(field, defaults.get(name, {}), key)
    for key, field in document["properties"].items():
        _mend(field, {}, key)
    return document


def _mend(field: dict[str, Any], defaults: dict[str, Any], key: str) -> None:
    """Durations as text; sections not repeated as defaults of what holds them; an empty section key allowed."""
    if "default" in field and key in defaults:
        field["default"] = defaults[key]
    if isinstance(field.get("default"), dict) and "$ref" in field:
        del field["default"]


def _defaults() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    pending: list[type[Section]] = [Section]
    while pending:
        for section in pending.pop().__subclasses__():
            pending.append(section)
            complete = {name: info.default for name, info in section.model_fields.items() if not info.is_required()}
            found[section.__name__] = section.model_construct(**complete).model_dump(mode="json", warnings=False)
    return found
