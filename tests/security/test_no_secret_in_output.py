"""No token, cookie or password in any log line, error, metric or Referer.

`support.leak_check` holds that for every test of the suite; here it is shown that it would notice, and one gateway is
given secrets in every place where a client can put one.
"""

from __future__ import annotations

import base64
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.leaks import WATCH, Watch
from support.process import PASSWORD, Fleet

from gateway.errors import InvalidRequest
from gateway.events import Event, Name

TOKEN = "gwr_" + "A1b2C3d4" * 4
JWT = "eyJhbGciOiJFZERTQSJ9aaaa.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"
SECRET = "my-mothers-name-1955"


@pytest.fixture
def planted() -> Iterator[None]:
    """What this test leaks, it leaks on purpose."""
    yield
    WATCH.start_test()


@pytest.mark.parametrize(
    "text",
    [
        f"token={TOKEN}",
        f"Authorization: Bearer {JWT}",
        f"password: {SECRET}",
        base64.b64encode(SECRET.encode()).decode(),
        "my-mothers-name-1955%26",
        "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA",
    ],
)
def test_the_watch_sees(text: str) -> None:
    watch = Watch()
    watch.secret(SECRET, "a password")
    watch.output(f"one line\nbefore {text} after\nanother", "the log")
    assert len(watch.leaks) == 1
    assert "one line" not in watch.leaks[0]


def test_the_watch_is_not_easily_alarmed() -> None:
    watch = Watch()
    for harmless in ("short", "00000000", ""):
        watch.secret(harmless, "a password")
    watch.output("00000000-0000-7000-8000-000000000001 gwr_ eyJ short Bearer realm", "the log")
    assert watch.leaks == []


def test_a_success_may_carry_tokens_and_an_error_may_not() -> None:
    watch = Watch()
    headers = [("Set-Cookie", f"gw_refresh={TOKEN}")]
    watch.answer(200, headers, JWT.encode(), "login")
    assert watch.leaks == []
    watch.answer(401, headers, JWT.encode(), "login")
    assert len(watch.leaks) == 2


def test_every_event_error_and_password_of_the_process_is_watched(planted: None) -> None:
    before = WATCH.texts
    Event(Name.LOGIN_FAILED, fields={"reason": ["x", JWT]})
    assert [leak.partition(":")[0] for leak in WATCH.leaks] == ["a JWT in the event login.failed"]
    InvalidRequest(f"What is {TOKEN}?")
    assert WATCH.leaks[1].startswith("a refresh token in the error InvalidRequest")
    assert WATCH.texts == before + 2


def test_a_leak_fails_the_test_that_made_it(tmp_path: Path) -> None:
    (tmp_path / "test_leak.py").write_text(
        f"def test_printed():\n    print('{TOKEN}')\n\ndef test_quiet():\n    print('nothing')\n"
    )
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "support.leak_check", "-p", "no:cacheprovider", "-q", str(tmp_path)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tests)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "1 error" in done.stdout or "1 failed" in done.stdout
    assert "a refresh token in captured stdout call" in done.stdout
    assert "2 passed" in done.stdout or "1 passed" in done.stdout


def test_secrets_in_every_place_a_client_can_put_them(fleet: Fleet) -> None:
    """The fixture watches stdout, stderr, error answers and what the upstream got."""
    fleet.add_user()
    gateway = fleet.serve(server={"admin_listen": None}, logging={"level": "debug"})
    tokens = gateway.body_login()
    access, refresh = tokens["access_token"], tokens["refresh_token"]
    for text, what in ((access, "an access token"), (refresh, "a refresh token"), (SECRET, "a wrong password")):
        WATCH.secret(text, what)
    basic = base64.b64encode(f"ada:{PASSWORD}".encode()).decode()
    json_type = ("Content-Type", "application/json")
    tries = [
        ("POST", "/auth/login", [json_type], json.dumps({"username": "ada", "password": SECRET})),
        ("POST", "/auth/login", [json_type], json.dumps({"username": SECRET, "password": SECRET})),
        ("POST", "/auth/login", [json_type], f'{{"password":"{PASSWORD}","password":"{SECRET}"}}'),
        ("POST", "/auth/login", [json_type], json.dumps({"username": "ada", "password": [PASSWORD]})),
        ("POST", "/auth/login", [("Content-Type", "text/plain")], PASSWORD),
        ("POST", f"/auth/login?password={PASSWORD}", [json_type], "{}"),
        ("POST", "/auth/refresh", [json_type], json.dumps({"refresh_token": refresh[:-2]})),
        ("POST", "/auth/refresh", [json_type], json.dumps({"refresh_token": access})),
        ("POST", "/auth/refresh", [("Cookie", f"__Host-gw_refresh={refresh}")], None),
        ("POST", "/auth/revoke", [("Content-Type", "application/x-www-form-urlencoded")], f"token={access}&token=x"),
        ("GET", "/auth/me", [("Authorization", f"Bearer {refresh}")], None),
        ("GET", "/auth/me", [("Authorization", f"Basic {basic}")], None),
        ("GET", f"/auth/me?access_token={access}", [("Authorization", f"Bearer {access}")], None),
        ("GET", f"/auth/{refresh}", [], None),
        ("GET", "/api/x", [("Authorization", f"Bearer {access}x")], None),
        ("GET", "/api/x", [("Authorization", f"Bearer {access}"), ("Authorization", f"Bearer {access}")], None),
        ("GET", "/api/x", [("Authorization", f"Bearer {access}, Bearer {access}")], None),
        ("GET", f"/api/x?access_token={access}", [], None),
        ("GET", "/api/x", [("User-Agent", f"agent {access}")], None),
        ("GET", f"/api/{refresh}", [], None),
        ("GET", "/public/x", [("Cookie", f"__Host-gw_refresh={refresh}; a=b"), ("Referer", "http://a/")], None),
        ("GET", "/nowhere", [("X-Request-Id", refresh)], None),
    ]
    for method, path, headers, body in tries:
        gateway.request(method, path, headers, body.encode() if body is not None else None)
    gateway.wait_for("session.refresh_rejected", outcome="forged")
    tail = fleet.command("events", "tail", "--config", "gateway.yaml")
    listed = fleet.command("users", "list", "--config", "gateway.yaml")
    assert (tail.returncode, listed.returncode) == (0, 0), tail.stderr + listed.stderr
    assert gateway.stop() == 0
    assert len(gateway.events("login.failed")) >= 2
    assert "login.failed" in tail.stdout


def test_the_database_holds_no_token_and_no_password(fleet: Fleet) -> None:
    fleet.add_user()
    gateway = fleet.serve()
    tokens = gateway.body_login()
    again = gateway.refresh(tokens["refresh_token"]).json
    assert gateway.stop() == 0
    with sqlite3.connect(fleet.database) as connection:
        dump = "\n".join(connection.iterdump())
    connection.close()
    raw = fleet.database.read_bytes()
    key = base64.b64decode(fleet.database.with_suffix(".key").read_text().strip().removeprefix("1:"))
    for secret in (PASSWORD, *(found[name] for found in (tokens, again) for name in ("access_token", "refresh_token"))):
        assert secret not in dump
        assert secret.encode() not in raw
    assert key not in raw
    assert re.search(r"gwr_[A-Za-z0-9_-]{16}|eyJ[A-Za-z0-9_-]{16}", dump) is None
