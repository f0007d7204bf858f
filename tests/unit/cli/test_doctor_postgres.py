"""`gateway doctor` on PostgreSQL: its version, what a start would change, and whose clock differs."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from support import postgres
from support.process import free_port

from gateway.cli import cli
from gateway.cli.context import open_deployment
from gateway.clock import SystemClock
from gateway.settings.loader import load

RUNNING = {"upstream", "admin listener", "readiness"}


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty database that ./gateway.yaml names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    url = asyncio.run(postgres.server().make("doctor"))
    Path("master.key").write_text("1:" + base64.b64encode(b"k" * 32).decode() + "\n")
    Path("master.key").chmod(0o600)
    Path("gateway.yaml").write_text(
        f"storage: {{database: '{url}', master_key_file: master.key}}\nserver: {{admin_listen: null}}\n"
    )
    return url


def serve_once() -> None:
    async def serve() -> None:
        async with open_deployment(load(Path("gateway.yaml"), {}).settings, SystemClock()) as deployment:
            await (await deployment.keys()).load()

    asyncio.run(serve())


def checks() -> dict[str, tuple[str, str]]:
    result = CliRunner().invoke(cli, ["doctor", "--json"])
    assert postgres.PASSWORD not in result.output
    return {entry["check"]: (entry["status"], entry["detail"]) for entry in json.loads(result.stdout)["checks"]}


def test_a_good_database(database: str) -> None:
    serve_once()
    found = checks()
    assert {check: status for check, (status, _) in found.items() if check not in RUNNING} == {
        "config": "ok",
        "database": "ok",
        "master key": "ok",
        "signing key": "ok",
        "clock": "ok",
    }
    server = postgres.server()
    assert f"127.0.0.1:{server.port}/doctor, PostgreSQL " in found["database"][1]
    assert "schema 1" in found["database"][1]


def test_what_a_start_would_apply_is_told_and_not_applied(database: str) -> None:
    for _ in range(2):
        status, detail = checks()["database"]
        assert (status, "lacks 0001_initial.sql" in detail) == ("FAIL", True)


def test_a_clock_that_differs_fails(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    serve_once()
    real = SystemClock.now
    monkeypatch.setattr(SystemClock, "now", lambda self: real() + 3)
    status, detail = checks()["clock"]
    assert (status, detail[:1]) == ("FAIL", "3")
    assert "2.5 s are allowed" in detail


def test_no_server(database: str) -> None:
    elsewhere = database.replace(str(postgres.server().port), str(free_port()))
    text = f"storage: {{database: '{elsewhere}', master_key_file: master.key}}\nserver: {{admin_listen: null}}\n"
    Path("gateway.yaml").write_text(text)
    status, detail = checks()["database"]
    assert (status, "cannot be reached" in detail) == ("FAIL", True)
    assert checks()["clock"][0] == "skip"
