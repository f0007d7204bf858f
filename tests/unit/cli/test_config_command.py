"""`gateway config` and the exit codes of every command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from gateway.cli import cli

BAD = "server:\n  lisen: x\nroutes:\n  - name: a\n    match: {path: /a}\n    upstream: http://u:hunter2@h\n"


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("GATEWAY")]:
        monkeypatch.delenv(name)


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, args, prog_name="gateway")


def test_check_prints_every_problem_with_its_place_and_exits_78(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(BAD)
    result = run("config", "check", "--config", "bad.yaml")
    lines = result.stdout.splitlines()
    assert result.exit_code == 78
    assert lines[0].split() == ["where", "key", "problem"]
    assert lines[1].split(maxsplit=2) == [
        "bad.yaml:2:3",
        "server.lisen",
        "unknown key 'lisen' (did you mean 'listen'?)",
    ]
    assert lines[2].startswith("bad.yaml:6:5")
    assert result.stderr == "gateway: 2 problems\n"
    assert "hunter2" not in result.output


def test_check_says_what_would_change(tmp_path: Path) -> None:
    route = {"name": "api", "match": {"path": "/api/"}, "upstream": "http://127.0.0.1:9000"}
    (tmp_path / "gateway.yaml").write_text(json.dumps({"routes": [route]}))
    (tmp_path / "running.json").write_text(run("config", "show", "--json").stdout)
    assert run("config", "check", "--diff", "running.json").stdout.splitlines()[1:] == ["nothing changes"]
    new = {"server": {"workers": 2, "listen": "127.0.0.1:8081"}, "routes": [route | {"auth": "none"}]}
    (tmp_path / "new.yaml").write_text(json.dumps(new))
    result = run("config", "check", "--config", "new.yaml", "--diff", "running.json")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "new.yaml: ok, 1 route",
        "! route api: required → none",
        "  server.listen: 127.0.0.1:8080 → 127.0.0.1:8081 (needs a restart)",
        "  server.public_url: http://127.0.0.1:8080 → http://127.0.0.1:8081 (needs a restart)",
        "  server.workers: 1 → 2 (by new workers)",
        "4 changes, 1 of them (!) weaken protection",
    ]
    document = json.loads(run("config", "check", "--config", "new.yaml", "--diff", "gateway.yaml", "--json").stdout)
    assert document["changes"][0] == {"change": "route api: required → none", "weakens": True, "how": "swap"}
    (tmp_path / "running.json").write_text("server: {lisen: x}")
    assert run("config", "check", "--diff", "running.json").exit_code == 78


def test_check_compares_with_what_show_printed_of_secrets(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("sqlite:///gateway.db?password=hunter2hunter2")
    (tmp_path / "token").write_text("only-for-this-test-0123456789abcdef")
    (tmp_path / "gateway.yaml").write_text("{storage: {database_file: url}, server: {admin_token_file: token}}")
    shown = run("config", "show", "--json").stdout
    assert "hunter2" not in shown
    assert "only-for-this-test" not in shown
    (tmp_path / "running.json").write_text(shown)
    result = run("config", "check", "--diff", "running.json")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "nothing changes")
    (tmp_path / "new.yaml").write_text("{storage: {database_file: url}, server: {admin_token: '%s'}}" % ("a" * 32))
    result = run("config", "check", "--config", "new.yaml", "--diff", "gateway.yaml")
    assert result.stdout.splitlines()[1:] == [
        "  server.admin_token: changed",
        "  server.admin_token_file: token → null",
        "2 changes, 0 of them (!) weaken protection",
    ]


def test_check_as_json(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(BAD)
    result = run("config", "check", "--config", "bad.yaml", "--json")
    document = json.loads(result.stdout)
    assert (result.exit_code, document["ok"]) == (78, False)
    assert [(problem["path"], problem["line"]) for problem in document["problems"]] == [
        ("server.lisen", 2),
        ("routes[0].upstream", 6),
    ]
    (tmp_path / "bad.yaml").write_text("server: {public_url: 'http://a.org'}")
    document = json.loads(run("config", "check", "--config", "bad.yaml", "--json").stdout)
    assert (document["ok"], document["warnings"][0]["path"]) == (True, "server.public_url")


def test_the_file_comes_from_the_flag_the_variable_or_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("config", "check").stdout == "the defaults: ok, 0 routes\n"
    (tmp_path / "gateway.yaml").write_text("tokens: {audience: folder}")
    assert run("config", "check").stdout == "gateway.yaml: ok, 0 routes\n"
    (tmp_path / "other.yaml").write_text("tokens: {audience: variable}")
    monkeypatch.setenv("GATEWAY_CONFIG", "other.yaml")
    assert "audience: variable" in run("config", "show").stdout
    assert "audience: folder" in run("config", "show", "--config", "gateway.yaml").stdout


def test_a_missing_file_is_one_clear_line_and_exit_3() -> None:
    for command in (("config", "check"), ("config", "show"), ("sessions", "list"), ("events", "report")):
        result = run(*command, "--config", "nowhere.yaml")
        assert result.exit_code == 3
        assert result.stderr == "gateway: the configuration file nowhere.yaml does not exist\n"
        assert result.stdout == ""


def test_a_bad_file_stops_every_command_with_78_and_all_problems(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(BAD)
    for command in (("config", "show"), ("sessions", "list"), ("events", "tail")):
        result = run(*command)
        assert result.exit_code == 78
        assert [line.partition(": ")[0] for line in result.stderr.splitlines()] == [
            "gateway.yaml:2:3",
            "gateway.yaml:6:5",
            "gateway",
        ]


def test_show_is_yaml_that_can_be_used_again_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY__STORAGE__DATABASE", "sqlite:///a.db?password=hunter2")
    result = run("config", "show")
    assert result.exit_code == 0
    assert "hunter2" not in result.output
    assert yaml.safe_load(result.stdout)["tokens"]["access_ttl"] == "15m"
    (tmp_path / "again.yaml").write_text(result.stdout)
    monkeypatch.delenv("GATEWAY__STORAGE__DATABASE")
    assert run("config", "check", "--config", "again.yaml").exit_code == 0
    assert json.loads(run("config", "show", "--json").stdout)["server"]["workers"] == 1


def test_show_says_where_values_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gateway.yaml").write_text("tokens: {audience: mine}")
    monkeypatch.setenv("GATEWAY__SERVER__LISTEN", "127.0.0.1:1")
    lines = {line.split()[0]: line.split() for line in run("config", "show", "--origin").stdout.splitlines()}
    assert lines["tokens.audience"] == ["tokens.audience", "mine", "gateway.yaml"]
    assert lines["server.listen"][-1] == "GATEWAY__SERVER__LISTEN"
    assert lines["server.public_url"] == ["server.public_url", "http://127.0.0.1:1", "server.listen"]
    assert lines["tokens.access_ttl"] == ["tokens.access_ttl", "15m", "default"]
    rows = json.loads(run("config", "show", "--origin", "--json").stdout)
    assert {"path": "tokens.audience", "value": "mine", "origin": "gateway.yaml"} in rows


def test_schema_prints_the_schema() -> None:
    assert json.loads(run("config", "schema").stdout)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize(
    "args", [["nonsense"], ["config", "nonsense"], ["config", "check", "--nonsense"], ["sessions", "revoke"]]
)
def test_wrong_usage_exits_2(args: list[str]) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert "Usage: gateway" in result.stderr


def test_help_lists_every_command_without_importing_one() -> None:
    code = (
        "import sys\nfrom gateway.cli import cli\n"
        "try: cli(['--help'])\nexcept SystemExit: pass\n"
        "print('loaded', *(name for name in ('pydantic', 'aiohttp', 'cryptography', 'yaml') if name in sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    for name in ("demo", "serve", "config", "users", "sessions", "keys", "events", "doctor"):
        assert f"\n  {name} " in result.stdout
    assert result.stdout.splitlines()[-1].strip() == "loaded"


def test_the_process_says_its_version_and_exits_3_without_a_traceback(tmp_path: Path) -> None:
    version = subprocess.run(
        [sys.executable, "-m", "gateway", "--version"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        check=True,
    )
    assert version.stdout.startswith("gateway ")
    result = subprocess.run(
        [sys.executable, "-m", "gateway", "serve", "--config", "nowhere.yaml"],
        capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (3, "")
    assert result.stderr == "gateway: the configuration file nowhere.yaml does not exist\n"
