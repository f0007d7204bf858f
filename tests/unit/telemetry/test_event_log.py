"""Events become lines and rows."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from support.clock import FrozenClock

from gateway.events import Event, Level, Name
from gateway.stores.memory import open_memory
from gateway.telemetry.activity import Activity
from gateway.telemetry.events import EventLog, is_stored
from gateway.telemetry.lines import console_renderer

THEFT = Event(
    Name.SESSION_REFRESH_REUSED,
    Level.ERROR,
    request_id="r1",
    user_id="u1",
    session_id="s1",
    address="203.0.113.7",
    user_agent="curl/8",
    fields={"outcome": "theft", "distance": 3, "age_s": None, "risk.reasons": ["a"]},
)


def lines_of(*events: Event, **options: Any) -> list[dict[str, Any]]:
    written: list[bytes] = []
    log = EventLog(FrozenClock(), write=written.append, **options)
    for event in events:
        log.emit(event)
    return [json.loads(line) for line in written]


def test_a_line_has_the_fields_of_the_contract() -> None:
    assert lines_of(THEFT) == [
        {
            "timestamp": "2026-09-21T14:13:20.000Z",
            "level": "error",
            "event": "session.refresh_reused",
            "request_id": "r1",
            "user_id": "u1",
            "session_id": "s1",
            "client.address": "203.0.113.7",
            "user_agent.original": "curl/8",
            "outcome": "theft",
            "distance": 3,
            "age_s": None,
            "risk.reasons": ["a"],
        }
    ]


def test_what_is_not_known_is_left_out_and_fields_cannot_pose_as_others() -> None:
    (line,) = lines_of(Event(Name.GATEWAY_STARTED, fields={"event": "fake", "level": "fake", "listen": "x"}))
    assert set(line) == {"timestamp", "level", "event", "listen"}
    assert (line["event"], line["level"]) == ("gateway.started", "info")


def test_the_level_decides_what_is_written() -> None:
    events = [Event(Name.GATEWAY_STARTED), Event(Name.LOGIN_FAILED, Level.WARNING), THEFT]
    assert [line["level"] for line in lines_of(*events, least=30)] == ["warning", "error"]
    assert [line["level"] for line in lines_of(*events, least=40)] == ["error"]


@pytest.mark.parametrize(
    "value", ["\udcff", object(), 2**70, {"\udcff": 2**64, 1: (b"x",)}, float("nan"), {1, 2}, b"bytes", "a\nb\x00"]
)
def test_any_value_is_one_line(value: object) -> None:
    written: list[bytes] = []
    EventLog(FrozenClock(), write=written.append).emit(Event(Name.STORE_FAILED, fields={"message": value}))
    assert written[0].count(b"\n") == 1
    assert "message" in json.loads(written[0])


def test_secrets_in_what_others_wrote_are_cut_out() -> None:
    token = "gwr_" + "A" * 70
    (line,) = lines_of(
        Event(
            Name.LOGIN_FAILED,
            user_agent=f"x {token} " + "y" * 1000,
            fields={"error": f"Cookie: gw_refresh={token}; a=b"},
        )
    )
    assert token not in json.dumps(line)
    assert len(line["user_agent.original"]) <= 512


async def test_security_events_are_stored_whatever_the_level() -> None:
    clock = FrozenClock()
    store = open_memory(clock).events
    activity = Activity(store, clock, keep=100)
    log = EventLog(clock, activity=activity)
    routine = Event(Name.SESSION_REFRESHED, user_id="u1", fields={"outcome": "rotated"})
    for event in (THEFT, Event(Name.GATEWAY_STARTED), routine, Event(Name.PROXY_REQUEST)):
        log.emit(event)
    await activity.close()
    (row,) = await store.read_events()
    assert (row.at, row.name, row.level, row.user_id, row.session_id) == (clock.now(), THEFT.name, "error", "u1", "s1")
    assert orjson.loads(row.document) == lines_of(THEFT)[0]


@pytest.mark.parametrize(("outcome", "stored"), [("rotated", False), ("race", False), ("retry", True), ("ahead", True)])
def test_routine_refreshes_are_not_stored(outcome: str, stored: bool) -> None:
    assert is_stored(Event(Name.SESSION_REFRESHED, fields={"outcome": outcome})) is stored


async def test_what_goes_wrong_with_storing_is_written() -> None:
    written: list[bytes] = []
    clock = FrozenClock()
    activity = Activity(open_memory(clock).events, clock, keep=10, capacity=1)
    log = EventLog(clock, write=written.append, activity=activity)
    log.emit(THEFT)
    log.emit(THEFT)
    await activity.close()
    assert json.loads(written[-1]) == {
        "timestamp": "2026-09-21T14:13:20.000Z",
        "level": "warning",
        "event": "events.dropped",
        "count": 1,
    }


def test_on_a_terminal_the_same_line_is_readable() -> None:
    written: list[bytes] = []
    EventLog(FrozenClock(), write=written.append, render=console_renderer(colors=True)).emit(THEFT)
    assert b"session.refresh_reused" in written[0]
    assert b"\x1b[" in written[0]
