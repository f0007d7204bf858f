"""`gateway users` on a SQLite file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli import EXIT_CANNOT_START, EXIT_FAILURE, EXIT_USAGE, cli
from gateway.cli import users as users_module

BCRYPT = "$2b$04$cVWp4XaNU8a4v1uMRum2SO026BWLIoQMD/TXg5uZV.0P.uO8m3YEm"
GOOD = "correct horse"
Gateway = Any


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    Path("gateway.yaml").write_text(
        "routes:\n  - {name: api, match: {path: /api/}, upstream: 'http://127.0.0.1:9000'}\n", encoding="utf-8"
    )

    def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(cli, ["users", *arguments], input=stdin)

    return run


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody sits at the keyboard."""

    class Keyboard:
        isatty = staticmethod(lambda: True)

    monkeypatch.setattr(users_module, "sys", type("sys", (), {"stdin": Keyboard}))


def add(gateway: Gateway, name: str, *options: str, password: str = GOOD) -> dict[str, Any]:
    """Add a user and return it as JSON shows it."""
    result = gateway("add", name, *options, "--password-stdin", "--json", stdin=password + "\n")
    assert result.exit_code == 0, result.output
    added: dict[str, Any] = json.loads(result.stdout)
    return added


def listed(gateway: Gateway) -> dict[str, dict[str, Any]]:
    """The users by name."""
    result = gateway("list", "--json")
    assert result.exit_code == 0, result.output
    return {user["username"]: user for user in json.loads(result.stdout)["users"]}


def test_no_users_yet(gateway: Gateway) -> None:
    result = gateway("list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "gateway users add" in result.stderr
    assert listed(gateway) == {}


def test_add_then_list(gateway: Gateway) -> None:
    alice = add(gateway, "Alice", "--role", "admin", "--role", "dev", "--email", "a@example.com")
    bob = add(gateway, "[red]bob")
    assert listed(gateway) == {"Alice": alice, "[red]bob": bob}
    assert (alice["roles"], alice["email"], alice["active"]) == (["admin", "dev"], "a@example.com", True)
    assert set(alice) == {
        "id", "username", "email", "roles", "active", "has_password", "created_at", "password_changed_at",
    }  # fmt: skip
    table = gateway("list").stdout
    assert all(text in table for text in ("Alice", "[red]bob", "admin, dev", "active", alice["id"]))
    plain = gateway("add", "carol", "--password-stdin", stdin=GOOD)
    assert plain.stdout.startswith("Added carol (")


def test_the_password_is_asked_for_twice_and_not_shown(gateway: Gateway, terminal: None) -> None:
    result = gateway("add", "alice", stdin=f"{GOOD}\n{GOOD}\n")
    assert result.exit_code == 0, result.output
    assert GOOD not in result.output
    assert gateway("add", "bob", stdin=f"{GOOD}\nanother one\n").exit_code == EXIT_FAILURE
    assert list(listed(gateway)) == ["alice"]


def test_without_a_terminal_there_is_no_asking(gateway: Gateway) -> None:
    result = gateway("add", "alice", stdin=f"{GOOD}\n{GOOD}\n")
    assert result.exit_code == EXIT_USAGE
    assert "--password-stdin" in result.stderr


def test_the_password_is_no_argument(gateway: Gateway) -> None:
    assert gateway("add", "alice", "--password", GOOD).exit_code == EXIT_USAGE
    assert gateway("add", "alice", GOOD).exit_code == EXIT_USAGE


@pytest.mark.parametrize(
    ("stdin", "why"),
    [
        ("short\n", "shorter"),
        ("", "shorter"),
        ("one line\nand another\n", "more than one line"),
        (b"not \xff utf-8\n", "not UTF-8"),
        ("x" * 5000, "longer"),
    ],
)
def test_an_unfit_password_is_one_clear_line(gateway: Gateway, stdin: str | bytes, why: str) -> None:
    result = gateway("add", "alice", "--password-stdin", stdin=stdin)
    assert result.exit_code == EXIT_FAILURE
    assert why in result.stderr
    assert result.stderr.count("\n") == 1
    assert listed(gateway) == {}


def test_a_taken_name_and_an_unfit_one_are_one_clear_line(gateway: Gateway) -> None:
    add(gateway, "alice")
    for arguments in (("ALICE",), ("a\nb",), ("bob", "--role", "a,b"), ("bob", "--email", "bob")):
        result = gateway("add", *arguments, "--password-stdin", stdin=GOOD)
        assert (result.exit_code, result.stderr.count("\n")) == (EXIT_FAILURE, 1), result.stderr
    assert list(listed(gateway)) == ["alice"]


def test_set_password(gateway: Gateway) -> None:
    before = add(gateway, "alice")
    result = gateway("set-password", "Alice", "--password-stdin", stdin="battery staple\n")
    assert result.stdout == "Password of alice set.\n"
    assert listed(gateway)["alice"]["id"] == before["id"]


def test_set_roles(gateway: Gateway) -> None:
    add(gateway, "alice", "--role", "dev")
    assert gateway("set-roles", "alice", "--role", "ops", "--role", "dev").stdout == "Roles of alice: ops, dev.\n"
    assert listed(gateway)["alice"]["roles"] == ["ops", "dev"]
    assert gateway("set-roles", "alice").stdout == "Roles of alice: none.\n"


def test_disable_and_enable(gateway: Gateway) -> None:
    add(gateway, "alice")
    assert gateway("disable", "alice").stdout == "Disabled alice.\n"
    assert "disabled" in gateway("list").stdout
    assert gateway("enable", "alice").stdout == "Enabled alice.\n"
    assert listed(gateway)["alice"]["active"]


def test_removal_asks_first(gateway: Gateway) -> None:
    add(gateway, "alice")
    assert gateway("remove", "alice", stdin="n\n").exit_code == EXIT_FAILURE
    assert gateway("remove", "alice").exit_code == EXIT_FAILURE
    assert list(listed(gateway)) == ["alice"]
    assert gateway("remove", "alice", stdin="y\n").exit_code == 0
    add(gateway, "bob")
    assert gateway("remove", "bob", "--yes").stdout == "Removed bob.\n"
    assert listed(gateway) == {}


@pytest.mark.parametrize(
    "command", [("set-password", "x", "--password-stdin"), ("set-roles", "x"), ("disable", "x"), ("enable", "x"),
                ("remove", "x", "--yes")]
)  # fmt: skip
def test_an_unknown_user_is_one_clear_line(gateway: Gateway, command: tuple[str, ...]) -> None:
    result = gateway(*command, stdin=GOOD)
    assert (result.exit_code, result.stderr) == (EXIT_FAILURE, "gateway: no such user\n")


def test_an_import_reports_every_problem_and_takes_the_rest(gateway: Gateway) -> None:
    Path("users.csv").write_text(
        f"username,password_hash,roles\nalice,{BCRYPT},a;b\nbob,$6$salt$digest,\ncarol,hunter2,\ndave,,\n"
    )
    result = gateway("import", "users.csv")
    assert result.exit_code == EXIT_FAILURE
    assert result.stdout == "Imported 2 of 4 users.\n"
    lines = result.stderr.splitlines()
    assert lines[0].startswith("users.csv:3: hash scheme sha512_crypt is not supported")
    assert lines[1].startswith("users.csv:4: password hash: format not recognised")
    assert "hunter2" not in result.output
    assert list(listed(gateway)) == ["alice", "dave"]
    assert listed(gateway)["alice"]["roles"] == ["a", "b"]
    assert "no password" in gateway("list").stdout


def test_strict_is_all_or_nothing(gateway: Gateway) -> None:
    Path("users.jsonl").write_text('{"username": "alice"}\n{"username": "a\\tb"}\n')
    result = gateway("import", "users.jsonl", "--strict", "--json")
    assert result.exit_code == EXIT_FAILURE
    report = json.loads(result.stdout)
    assert (report["rows"], report["imported"], report["problems"][0]["line"]) == (2, 0, 2)
    assert listed(gateway) == {}
    Path("users.jsonl").write_text('{"username": "alice"}\n')
    assert gateway("import", "users.jsonl", "--strict").stdout == "Imported 1 of 1 user.\n"
    assert list(listed(gateway)) == ["alice"]


def test_a_dry_run_stores_nothing(gateway: Gateway) -> None:
    Path("list").write_text("username\nalice\nALICE\n")
    result = gateway("import", "list", "--format", "csv", "--dry-run")
    assert (result.exit_code, result.stdout) == (
        EXIT_FAILURE,
        "1 of 2 users can be imported; nothing was stored.\n",
    )
    assert listed(gateway) == {}


def test_files_that_cannot_be_imported(gateway: Gateway) -> None:
    Path("users.xlsx").write_text("x")
    Path("users.csv").write_text("name\nalice\n")
    assert gateway("import", "missing.csv").exit_code == EXIT_USAGE
    for name, why in (("users.xlsx", "--format"), ("users.csv", "line 1")):
        result = gateway("import", name)
        assert result.exit_code == EXIT_FAILURE
        assert why in result.stderr
        assert result.stderr.count("\n") == 1


def test_an_outage_half_way_says_how_far_it_came(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.credentials import importer
    from gateway.credentials.users import UserService
    from gateway.errors import StoreUnavailable

    monkeypatch.setattr(importer, "BATCH", 1)
    insert = UserService.add_hashed

    async def fail_on_carol(self: UserService, user: Any, password_hash: str | None, *, active: bool = True) -> Any:
        if user.username == "carol":
            raise StoreUnavailable("The store is down")
        return await insert(self, user, password_hash, active=active)

    monkeypatch.setattr(UserService, "add_hashed", fail_on_carol)
    Path("users.csv").write_text("username\nalice\nbob\ncarol\ndave\n")
    result = gateway("import", "users.csv")
    assert (result.exit_code, result.stdout) == (EXIT_FAILURE, "Imported 2 of 3 users.\n")
    assert "The store is down" in result.stderr
    assert list(listed(gateway)) == ["alice", "bob"]


def test_a_store_that_cannot_be_opened_is_exit_3(gateway: Gateway) -> None:
    Path("gateway.db").write_text("this is no database, and longer than a header" * 10)
    result = gateway("list")
    assert result.exit_code == EXIT_CANNOT_START
    assert result.stderr.count("\n") == 1
