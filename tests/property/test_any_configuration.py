"""Whatever a configuration file holds, the answer is settings or problems with places, never another exception."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.settings import yaml_tree
from gateway.settings.explain import section_of
from gateway.settings.loader import ConfigError, Loaded, load
from gateway.settings.model import Settings
from gateway.settings.units import format_duration, format_size, parse_duration, parse_size

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 10**20), st.floats(-1e6, 1e6), st.text(max_size=8),
    st.sampled_from(["5m", "0", "http://h", "/a/", "/auth/x", "127.0.0.1:1", "sqlite:///x", "none", "GET", "a"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)


def sections(model: Any) -> st.SearchStrategy[Any]:
    """Mappings of the right keys, mostly, and of right or wrong values."""
    fields = {
        name: VALUES if section_of(info.annotation) is None else sections(section_of(info.annotation)) | VALUES
        for name, info in model.model_fields.items()
    }
    fields = {
        name: (st.lists(kind, max_size=3) | kind) if name in {"routes", "upstream"} else kind
        for name, kind in fields.items()
    }
    return st.fixed_dictionaries({}, optional=fields | {"unknown": SCALARS})


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tmp_path_factory.mktemp("config") / "gateway.yaml"


def attempt(*args: Any) -> Loaded | ConfigError:
    try:
        return load(*args)
    except ConfigError as error:
        return error


@given(document=sections(Settings))
def test_any_document_is_settings_or_problems_in_their_place(path: Any, document: Any) -> None:
    path.write_text(json.dumps(document, indent=1))
    found = attempt(path, {})
    if isinstance(found, ConfigError):
        assert found.problems
        assert all(problem.line is not None and problem.message for problem in found.problems)
    else:
        assert found.settings.routes is not None


@given(
    values=st.dictionaries(
        st.sampled_from(["SERVER", "ROUTES", "AUTH__COOKIE", "SERVER__LISTEN", "X__Y", "__", ""]), st.text(max_size=20)
    )
)
def test_any_environment_is_settings_or_problems(values: dict[str, str]) -> None:
    found = attempt(None, {f"GATEWAY__{name}": value for name, value in values.items()})
    assert isinstance(found, Loaded) or all(
        problem.source in {f"GATEWAY__{name}" for name in values} for problem in found.problems
    )


@given(
    text=st.text(alphabet=st.characters(codec="utf-8"), max_size=200)
    | st.text(alphabet="a:-[]{}&*!<>|'\"#%@ \n\t,?~", max_size=60)
)
def test_any_text_is_data_or_a_finding(text: str) -> None:
    tree = yaml_tree.parse(text)
    assert all(mark.line >= 1 and finding.message for finding, mark in tree.findings)


@given(milliseconds=st.integers(0, 10**12))
def test_durations_survive_writing(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000, abs=1e-4)


@given(size=st.integers(0, 2**50))
def test_sizes_survive_writing(size: int) -> None:
    assert parse_size(format_size(size)) == size
