"""What stops a gateway from starting is one clear line and an exit code that supervisors understand."""

from __future__ import annotations

import base64
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from support import postgres
from support.process import Fleet, GatewayProcess, free_port, until

CANNOT_START, BAD_CONFIG = 3, 78


def assert_refuses(fleet: Fleet, *arguments: str, because: str) -> str:
    """Run `gateway serve` and expect exit code 3, nothing on stdout and one line on stderr."""
    done = fleet.command("serve", *arguments)
    assert done.returncode == CANNOT_START, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("gateway: ")
    assert because in line
    return line


@pytest.mark.parametrize("which", ["listen", "admin_listen"])
def test_port_in_use(fleet: Fleet, which: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        path = fleet.configure(server={which: address})
        line = assert_refuses(fleet, "--config", str(path), because="in use")
    assert address in line
    assert not fleet.database.exists()


def test_the_port_is_taken_before_the_database_is_touched(fleet: Fleet) -> None:
    gateway = fleet.serve()
    line = assert_refuses(fleet, "--config", "gateway.yaml", because="in use by another process")
    assert f":{gateway.port}:" in line
    assert gateway.request("GET", "/auth/me").status == 401


def test_missing_configuration(fleet: Fleet) -> None:
    assert_refuses(fleet, "--config", "nowhere.yaml", because="nowhere.yaml")
    done = fleet.command("serve", GATEWAY_CONFIG="elsewhere.yaml")
    assert (done.returncode, "elsewhere.yaml" in done.stderr) == (CANNOT_START, True)


def test_configuration_that_is_a_folder(fleet: Fleet) -> None:
    assert_refuses(fleet, "--config", str(fleet.folder), because=str(fleet.folder))


def test_database_that_is_a_folder(fleet: Fleet) -> None:
    fleet.database.mkdir()
    assert_refuses(fleet, "--config", str(fleet.configure()), because=f"the database {fleet.database} cannot be opened")


def test_database_that_is_garbage(fleet: Fleet) -> None:
    fleet.database.write_bytes(os.urandom(20_000))
    assert_refuses(fleet, "--config", str(fleet.configure()), because="is not a SQLite database")


def test_database_in_a_folder_that_is_not_there(fleet: Fleet) -> None:
    path = fleet.configure(storage={"database": f"sqlite:///{fleet.folder}/nowhere/gateway.db"})
    assert_refuses(fleet, "--config", str(path), because="No such file or directory")


def test_database_without_permission(fleet: Fleet) -> None:
    """root may read whatever it likes, so for it the file is made one that nobody can write."""
    fleet.add_user()
    config = str(fleet.configure())
    if os.geteuid() == 0:
        fleet.database.unlink()
        fleet.database.symlink_to("/proc/version")
    else:
        fleet.database.chmod(0)
    assert_refuses(fleet, "--config", config, because=f"the database {fleet.database}")


def test_wrong_master_key(fleet: Fleet) -> None:
    gateway = fleet.serve()
    assert gateway.stop() == 0
    other = base64.b64encode(b"another key, 32 bytes of it, yes").decode()
    fleet.database.with_suffix(".key").write_text(f"1:{other}\n")
    line = assert_refuses(
        fleet, "--config", "gateway.yaml", because="the master key file does not belong to this store"
    )
    assert other not in line


def test_lost_master_key(fleet: Fleet) -> None:
    gateway = fleet.serve()
    assert gateway.stop() == 0
    key = fleet.database.with_suffix(".key")
    key.unlink()
    assert_refuses(fleet, "--config", "gateway.yaml", because="bring it back")
    assert not key.exists()


def test_bad_configuration_tells_every_problem_at_once(fleet: Fleet) -> None:
    path = fleet.folder / "bad.yaml"
    path.write_text(
        "server:\n"
        "  listen: 127.0.0.1:http\n"
        "  trusted_proxys: []\n"
        "tokens:\n"
        "  access_ttl: fifteen\n"
        "routes:\n"
        "  - name: a\n"
        "    match: {path: /a/}\n"
        "    upstream: http://user:hunter2hunter2@127.0.0.1:9000\n"
        "  - name: a\n"
        "    match: {path: /auth/x}\n"
    )
    done = fleet.command("serve", "--config", str(path))
    assert (done.returncode, done.stdout) == (BAD_CONFIG, "")
    *problems, summary = done.stderr.splitlines()
    assert summary == f"gateway: {len(problems)} problems in the configuration"
    found = [re.match(rf"{path}:(\d+):\d+: ([^:]+): .+", problem) for problem in problems]
    places = {(int(match[1]), match[2]) for match in found if match}
    assert places >= {
        (2, "server.listen"),
        (3, "server.trusted_proxys"),
        (5, "tokens.access_ttl"),
        (9, "routes[0].upstream"),
    }
    assert any(place.startswith("routes[1]") for _, place in places)
    assert "did you mean" in done.stderr.lower()
    assert "hunter2" not in done.stderr
    assert not fleet.database.exists()


@pytest.fixture
def temporary(fleet: Fleet) -> Path:
    """A TMPDIR of our own."""
    folder = fleet.folder / "temporary"
    folder.mkdir()
    return folder


def pasted(demo: GatewayProcess) -> str:
    """The lines to paste, as they are printed."""
    text = demo.stdout.text
    return text[text.index("  # log in:") : text.index("Ctrl-C stops")]


def test_the_demo_keeps_its_promises(fleet: Fleet, temporary: Path) -> None:
    demo = fleet.launch("demo", TMPDIR=str(temporary))
    until(lambda: "Ctrl-C stops" in demo.stdout.text or demo.process.poll() is not None, "the lines to paste")
    # A terminal's bash gets all lines at once; stderr shows the answers that go into variables.
    shell = subprocess.run(
        ["bash", "--noprofile", "--norc"],
        input=pasted(demo),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=fleet.folder,
    )
    hello, fresh, theft, after_theft, left, after_log_out = shell.stdout.splitlines()
    for answer in (hello, fresh):
        assert '"X-User-Name": "demo"' in answer
        assert "somebody-else" not in answer
    assert '"refresh_token_reused"' in theft
    assert '"invalid_token"' in after_theft
    assert left == "204"
    assert '"invalid_token"' in after_log_out
    assert shell.stderr.count('"access_token":') == 2
    reused = demo.wait_for("session.refresh_reused", outcome="theft", level="error")
    assert reused["revoked"] == 1
    assert demo.stop(signal.SIGINT) == 0
    assert demo.stderr.text == ""
    assert "nothing is left of it" in demo.stdout.text
    assert list(temporary.iterdir()) == []
    assert {path.name for path in fleet.folder.iterdir()} == {"temporary"}


def test_the_demo_on_a_port_that_is_taken(fleet: Fleet, temporary: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = fleet.command("demo", "--port", str(taken.getsockname()[1]), TMPDIR=str(temporary))
    assert done.returncode == CANNOT_START
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr + done.stdout
    assert list(temporary.iterdir()) == []


def test_sigterm_ends_the_demo_as_well(fleet: Fleet, temporary: Path) -> None:
    demo = fleet.launch("demo", TMPDIR=str(temporary))
    until(lambda: "Ctrl-C stops" in demo.stdout.text or demo.process.poll() is not None, "the lines to paste")
    assert demo.stop(signal.SIGTERM) == 0
    assert list(temporary.iterdir()) == []


def test_a_postgres_that_cannot_be_used(fleet: Fleet) -> None:
    """One line for each reason, and never the password."""
    key = fleet.folder / "master.key"
    key.write_text("1:" + base64.b64encode(b"k" * 32).decode() + "\n")
    key.chmod(0o600)
    server = postgres.server()
    for url, because in (
        (server.url().replace(postgres.PASSWORD, "not-the-password"), "refuses the password"),
        (server.url("nowhere"), "does not exist"),
        (server.url(port=free_port()), "cannot be reached"),
    ):
        path = fleet.configure(storage={"database": url, "master_key_file": str(key)})
        line = assert_refuses(fleet, "--config", str(path), because=because)
        assert postgres.PASSWORD not in line and "not-the-password" not in line
