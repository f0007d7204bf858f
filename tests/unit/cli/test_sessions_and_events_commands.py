"""`gateway sessions` and `gateway events` on a SQLite file."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result
from support.stores import a_session, a_user

from gateway.cli import cli
from gateway.cli import events as events_module
from gateway.clock import SystemClock
from gateway.events import Event, Level, Name
from gateway.sessions.session import RevokeReason, Session
from gateway.stores.bundle import Stores
from gateway.stores.factory import open_stores
from gateway.telemetry.activity import Activity
from gateway.telemetry.events import EventLog
from gateway.telemetry.ports import StoredEvent

CLOCK = SystemClock()


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)


def run(*args: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, args, prog_name="gateway", input=stdin)


def with_stores(work: Callable[[Stores], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        stores = await open_stores("sqlite:///gateway.db", clock=CLOCK, busy_timeout=5.0)
        try:
            return await work(stores)
        finally:
            await stores.database.close()

    return asyncio.run(main())


def log_in(*names: str) -> list[Session]:
    """One session for each name; a name twice is one user with two sessions."""

    async def work(stores: Stores) -> list[Session]:
        users = {name: a_user(name) for name in dict.fromkeys(names)}
        for user in users.values():
            await stores.users.add(user)
        made = [a_session(users[name].user_id, CLOCK.now()) for name in names]
        for session in made:
            await stores.sessions.create(session, user_epoch=0, max_per_user=50)
        return made

    found: list[Session] = with_stores(work)
    return found


def record(*events: Event) -> None:
    async def work(stores: Stores) -> None:
        activity = Activity(stores.events, CLOCK, keep=1000)
        log = EventLog(CLOCK, activity=activity)
        for event in events:
            log.emit(event)
        await activity.close()

    with_stores(work)


def stored() -> list[StoredEvent]:
    found: list[StoredEvent] = with_stores(lambda stores: stores.events.read_events())
    return found


def test_list_shows_live_sessions_of_all_of_a_user_or_one() -> None:
    ada, bob, again = log_in("ada", "bob", "ada")
    everyone = json.loads(run("sessions", "list", "--json").stdout)
    assert {row["id"] for row in everyone} == {ada.sid, bob.sid, again.sid}
    assert {row["username"] for row in everyone} == {"ada", "bob"}
    of_ada = json.loads(run("sessions", "list", "ADA", "--json").stdout)
    assert {row["id"] for row in of_ada} == {ada.sid, again.sid}
    assert [row["id"] for row in json.loads(run("sessions", "list", bob.sid.upper(), "--json").stdout)] == [bob.sid]
    assert [row["id"] for row in json.loads(run("sessions", "list", bob.user_id, "--json").stdout)] == [bob.sid]
    table = run("sessions", "list", "bob").stdout
    assert bob.sid in table
    assert "Firefox on Linux" in table


def test_list_does_not_show_a_session_past_its_limit_that_nobody_has_marked() -> None:
    async def work(stores: Stores) -> str:
        user = a_user("ada")
        await stores.users.add(user)
        session = a_session(user.user_id, CLOCK.now() - 10, idle_expires_at=CLOCK.now() - 1)
        await stores.sessions.create(session, user_epoch=0, max_per_user=50)
        return session.sid

    assert json.loads(run("sessions", "list", with_stores(work), "--json").stdout) == []


def test_revoke_ends_one_session_or_all_of_a_user_and_says_so_in_the_events() -> None:
    ada, bob, again = log_in("ada", "bob", "ada")
    assert run("sessions", "revoke", bob.sid).stdout == "ended 1 session\n"
    assert run("sessions", "revoke", bob.sid).stdout == "ended 0 sessions\n"
    assert json.loads(run("sessions", "list", bob.sid, "--json").stdout) == []
    assert run("sessions", "revoke", "ada").stdout == "ended 2 sessions\n"
    ended: tuple[Session, ...] = with_stores(
        lambda stores: asyncio.gather(*(stores.sessions.get(session.sid) for session in (ada, bob, again)))
    )
    assert [session.revoke_reason for session in ended] == [RevokeReason.ADMIN] * 3
    assert [(event.name, orjson.loads(event.document)["reason"]) for event in stored()] == [
        ("session.revoked", "admin")
    ] * 3
    feed = with_stores(lambda stores: stores.sessions.feed(0))
    assert {entry.key for entry in feed} >= {bob.sid, ada.user_id}


def test_an_unknown_name_is_one_line_and_exit_1() -> None:
    for command in (("sessions", "list"), ("sessions", "revoke"), ("events", "tail", "--user")):
        result = run(*command, "no\x1bbody")
        assert result.exit_code == 1
        assert result.stderr.count("\n") == 1
        assert "\x1b" not in result.output


def test_end_all_asks_first() -> None:
    log_in("ada", "bob", "ada")
    assert run("sessions", "end-all", stdin="n\n").exit_code == 1
    assert len(json.loads(run("sessions", "list", "--json").stdout)) == 3
    assert run("sessions", "end-all", "--yes").stdout == "ended 3 sessions\n"
    assert run("sessions", "list").stderr == "no live session\n"


def theft(user_id: str, sid: str) -> Event:
    fields = {"outcome": "theft", "previous.client.address": "203.0.113.7"}
    return Event(
        Name.SESSION_REFRESH_REUSED, Level.ERROR, user_id=user_id, session_id=sid, address="198.51.100.9", fields=fields
    )


def test_tail_shows_the_latest_as_lines_or_json() -> None:
    record(
        Event(Name.LOGIN_FAILED, Level.WARNING, address="203.0.113.7", fields={"reason": "wrong_password"}),
        Event(Name.LOGIN_SUCCEEDED, user_id="u1", session_id="s1"),
        theft("u1", "s1"),
    )
    lines = run("events", "tail", "-n", "2").stdout.splitlines()
    assert len(lines) == 2
    assert "login.succeeded" in lines[0]
    assert "session.refresh_reused" in lines[1]
    assert "\x1b" not in lines[1]
    documents = [json.loads(line) for line in run("events", "tail", "--json").stdout.splitlines()]
    assert [document["event"] for document in documents] == [
        "login.failed",
        "login.succeeded",
        "session.refresh_reused",
    ]
    only = run("events", "tail", "--json", "--event", "login.failed").stdout
    assert json.loads(only)["client.address"] == "203.0.113.7"


def test_tail_of_a_user() -> None:
    ada, bob = log_in("ada", "bob")
    record(theft(ada.user_id, ada.sid), theft(bob.user_id, bob.sid))
    documents = [json.loads(line) for line in run("events", "tail", "--json", "--user", "Bob").stdout.splitlines()]
    assert [document["user_id"] for document in documents] == [bob.user_id]


def test_follow_prints_what_comes_until_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    record(Event(Name.LOGIN_SUCCEEDED, user_id="u1"))
    polls = 0

    async def sleep(seconds: float) -> None:
        nonlocal polls
        polls += 1
        if polls == 1:
            writer = threading.Thread(target=record, args=(theft("u1", "s1"),))
            writer.start()
            writer.join(30)
        else:
            raise KeyboardInterrupt

    monkeypatch.setattr(events_module.asyncio, "sleep", sleep)
    result = run("events", "tail", "--follow", "--json", "-n", "0")
    assert [json.loads(line)["event"] for line in result.stdout.splitlines()] == ["session.refresh_reused"]
    assert result.exit_code == 0


def test_report_ranks_sessions_with_reasons() -> None:
    ada, bob = log_in("ada", "bob")
    retry = Event(
        Name.SESSION_REFRESHED,
        user_id=bob.user_id,
        session_id=bob.sid,
        address="192.0.2.1",
        fields={"outcome": "retry"},
    )
    record(
        retry,
        retry,
        Event(
            Name.SESSION_SUSPICIOUS,
            Level.WARNING,
            user_id=bob.user_id,
            session_id=bob.sid,
            address="192.0.2.1",
            fields={"risk.reasons": ["repeated_retries"], "action": "allowed"},
        ),
        Event(
            Name.SESSION_REFRESH_REJECTED,
            Level.WARNING,
            session_id="x",
            fields={"outcome": "dead", "reason": "expired"},
        ),
        Event(Name.SESSION_REFRESH_REJECTED, Level.WARNING, fields={"outcome": "forged"}),
        theft(ada.user_id, ada.sid),
    )
    report = json.loads(run("events", "report", "--json").stdout)
    assert [(row["username"], row["session_id"]) for row in report] == [("ada", ada.sid), ("bob", bob.sid)]
    assert report[0]["reasons"] == {"theft": 1}
    assert report[0]["addresses"] == {"198.51.100.9": 1, "203.0.113.7": 1}
    assert report[1]["reasons"] == {"retry": 2, "repeated_retries": 1}
    assert report[0]["score"] > report[1]["score"]
    table = run("events", "report").stdout.splitlines()
    assert table[0].split()[:3] == ["score", "user", "session"]
    assert "retry x2, repeated_retries" in table[2]
    assert len(json.loads(run("events", "report", "--top", "1", "--json").stdout)) == 1


def test_report_looks_back_as_far_as_told() -> None:
    async def work(stores: Stores) -> None:
        old = StoredEvent(0, time.time() - 7200, Name.SESSION_REFRESH_REUSED, "error", "u", "s", b"{}")
        await stores.events.append_events([old])

    with_stores(work)
    assert run("events", "report", "--since", "1h").stderr == "no suspicious refresh\n"
    assert "theft" in run("events", "report", "--since", "3h").stdout
    result = run("events", "report", "--since", "3")
    assert result.exit_code == 2
    assert "is not a duration" in result.stderr
