"""`gateway keys` on a SQLite file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli import EXIT_CANNOT_START, cli

Gateway = Any


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    Path("gateway.yaml").write_text(
        "routes:\n  - {name: api, match: {path: /api/}, upstream: 'http://127.0.0.1:9000'}\n", encoding="utf-8"
    )

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, ["keys", *arguments])

    return run


def listed(gateway: Gateway) -> list[dict[str, Any]]:
    result = gateway("list", "--json")
    assert result.exit_code == 0, result.output
    keys: list[dict[str, Any]] = json.loads(result.stdout)["keys"]
    return keys


def test_an_empty_store_says_so_and_stays_empty(gateway: Gateway) -> None:
    result = gateway("list")
    assert result.exit_code == 0
    assert "No signing key yet" in result.stdout
    assert listed(gateway) == []


def test_rotate_then_list(gateway: Gateway) -> None:
    first = gateway("rotate")
    assert first.exit_code == 0, first.output
    second = json.loads(gateway("rotate", "--json").stdout)
    keys = listed(gateway)
    assert [key["state"] for key in keys] == ["signing", "published"]
    assert keys[0]["kid"] in first.stdout
    assert keys[1] == second
    assert keys[0]["retired_at"] == second["signs_from"]
    assert set(second) == {"kid", "algorithm", "state", "created_at", "signs_from", "retired_at", "master_key"}
    table = gateway("list").stdout
    assert all(key["kid"] in table and key["signs_from"] in table for key in keys)


def test_rotate_soon(gateway: Gateway) -> None:
    gateway("rotate")
    assert gateway("rotate").exit_code == 0
    assert gateway("rotate", "--soon").exit_code == 0
    assert [key["state"] for key in listed(gateway)] == ["signing", "retired", "published"]


def test_withdraw_leaves_one_key(gateway: Gateway) -> None:
    gateway("rotate")
    result = gateway("rotate", "--withdraw")
    assert result.exit_code == 0
    assert "All other keys are withdrawn" in result.stdout
    (key,) = listed(gateway)
    assert key["kid"] in result.stdout
    assert key["state"] == "signing"


def test_a_wrong_master_key_is_one_line_and_exit_3(gateway: Gateway) -> None:
    gateway("rotate")
    (path,) = Path().glob("*.key")
    path.write_text("1:" + "QUJD" * 10 + "QUI=\n", encoding="utf-8")
    result = gateway("list")
    assert result.exit_code == EXIT_CANNOT_START
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert "QUJD" not in result.stderr
