"""What readiness asks, and how it is told: lines for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from support.clock import FrozenClock

from gateway.app import Gateway, open_gateway
from gateway.errors import StoreUnavailable
from gateway.settings.loader import load
from gateway.stores.memory.sessions import MemorySessions

QUIET = {"sessions.in_flight_window": "20s", "sessions.canary_interval": "0s"}
SETTINGS = load(None, {}, {"storage.database": "memory:", **QUIET}).settings


@pytest.mark.parametrize(("apart", "ready"), [(0.0, True), (2.5, True), (-2.5, True), (2.6, False), (-3600.0, False)])
async def test_clocks_that_differ_by_an_eighth_of_the_window_are_not_ready(
    monkeypatch: pytest.MonkeyPatch, apart: float, ready: bool
) -> None:
    clock = FrozenClock()

    async def now(_: MemorySessions) -> float:
        return clock.now() + apart

    monkeypatch.setattr(MemorySessions, "now", now)
    async with open_gateway(SETTINGS, clock) as gateway:
        found = await gateway.checks()
    assert found["database"] is None
    assert (found["clock"] is None) is ready


async def test_a_store_that_does_not_answer_has_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_gateway(SETTINGS, FrozenClock()) as gateway:

        async def now(_: MemorySessions) -> float:
            raise StoreUnavailable(debug="gone")

        monkeypatch.setattr(MemorySessions, "now", now)
        found = await gateway.checks()
    assert (found["clock"], found["database"]) == ("gone", None)


ROUTES = [
    {"name": "api", "match": {"path": "/api/"}, "upstream": "http://127.0.0.1:9"},
    {"name": "two", "match": {"path": "/two/"}, "upstream": "http://127.0.0.1:9"},
]
WITH_ROUTES = load(None, {"GATEWAY__ROUTES": json.dumps(ROUTES)}, {"storage.database": "memory:"}).settings


async def ask(
    gateway: Gateway, path: str, accept: str | None = None, others: Mapping[str, str | None] | None = None
) -> tuple[int, str, str]:
    """Status, media type and body."""
    async with TestClient(TestServer(gateway.admin(lambda: others or {}))) as client:
        answer = await client.get(path, headers={"Accept": accept} if accept is not None else {})
        assert answer.headers["Cache-Control"] == "no-store"
        return answer.status, answer.content_type, await answer.text()


async def test_every_check_has_a_name_and_says_what_it_found() -> None:
    clock = FrozenClock()
    async with open_gateway(WITH_ROUTES, clock) as gateway:
        await gateway.follower.stop()
        clock.advance(0.25)
        status, kind, text = await ask(gateway, "/readyz?verbose", others={"workers (2 of 2)": None})
        short = await ask(gateway, "/readyz")
        pair = gateway.keys.ring.due(clock.now())
    assert pair is not None
    assert (status, kind) == (200, "text/plain")
    assert text.splitlines() == [
        "serving: ok",
        "revocation feed: ok (read 0.2 s ago, 5 s are allowed)",
        f"signing key: ok (EdDSA key {pair.kid})",
        "database: ok",
        "clock: ok (0.0 s from the database's, 2.5 s are allowed)",
        "workers (2 of 2): ok",
        "canary: 0 s since the last",
        "upstream http://127.0.0.1:9: up",
        "ready",
    ]
    assert short == (200, "text/plain", "ready\n")


async def test_what_is_wrong_is_named_and_an_upstream_that_is_down_is_not_wrong() -> None:
    clock = FrozenClock()
    async with open_gateway(WITH_ROUTES, clock) as gateway:
        await gateway.follower.stop()
        clock.advance(6)
        (endpoint,) = gateway.proxy.endpoints
        endpoint.unreachable(0.0, "gone")
        await gateway.leave()
        status, _, text = await ask(gateway, "/readyz?verbose", others={"worker 2": "hung"})
        short = await ask(gateway, "/readyz")
    lines = text.splitlines()
    assert status == 503
    assert lines[:2] == [
        "serving: not serving (draining)",
        "revocation feed: not read for 6 s, 5 s are allowed",
    ]
    assert lines[-2:] == ["upstream http://127.0.0.1:9: down", "not ready: serving, revocation feed, worker 2"]
    assert short == (503, "text/plain", "not ready: serving, revocation feed\n")


async def test_without_a_key_that_signs_it_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_gateway(SETTINGS, FrozenClock()) as gateway:
        monkeypatch.setattr(type(gateway.keys.ring), "due", lambda _self, _at: None)
        found = await gateway.checks()
    assert found["signing key"] == "there is none that signs"


async def test_a_canary_that_is_off_is_told() -> None:
    off = load(None, {}, {"storage.database": "memory:", "sessions.canary_interval": "0s"}).settings
    async with open_gateway(off, FrozenClock()) as gateway:
        _, _, text = await ask(gateway, "/readyz?verbose")
        assert await gateway.stores.sessions.feed(0) == ()
        counted = {family.name: family.samples for family in gateway.counted()}
    assert "canary: off" in text.splitlines()
    assert counted["gateway_revocation_canary_age_seconds"] == {}


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "text/plain"),
        ("*/*", "text/plain"),
        ("application/json", "application/json"),
        ("text/html, Application/JSON;q=0.9, */*;q=0.1", "application/json"),
        ("text/plain, application/json", "text/plain"),
        ("application/json;q=0", "text/plain"),
        ("application/json;q=x", "text/plain"),
        (";;,q=1", "text/plain"),
    ],
)
async def test_json_for_who_asks_for_it(accept: str | None, kind: str) -> None:
    async with open_gateway(WITH_ROUTES, FrozenClock()) as gateway:
        found = await ask(gateway, "/readyz?verbose", accept)
    assert found[:2] == (200, kind)


async def test_the_json_holds_what_the_lines_say() -> None:
    clock = FrozenClock()
    async with open_gateway(WITH_ROUTES, clock) as gateway:
        await gateway.follower.stop()
        clock.advance(6)
        status, _, text = await ask(gateway, "/readyz?verbose", "application/json")
        short = await ask(gateway, "/readyz", "application/json")
    document: dict[str, Any] = json.loads(text)
    assert (status, document["ready"], document["failed"]) == (503, False, ["revocation feed"])
    feed = {"ok": False, "detail": "not read for 6 s, 5 s are allowed"}
    assert document["checks"]["revocation feed"] == feed
    assert document["checks"]["clock"]["ok"] is True
    assert document["information"]["upstream http://127.0.0.1:9"] == "up"
    assert json.loads(short[2]) == {"ready": False, "failed": ["revocation feed"]}
