"""A database that is slow, has no connection left or no room: requests with valid tokens do not notice, nobody is
logged out, and whoever has to wait is told for how long.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

from support import postgres
from support.inside import Inside, SteppedClock, inside
from support.ledger import HONEST, Ledger, visitors
from support.process import PASSWORD, Fleet, GatewayProcess
from support.relay import Relay, relay_to
from support.served import on_postgres, turned_away

from gateway.sessions.session import RevokeReason

SLOW = 2.0


async def test_a_database_that_answers_two_seconds_late(fleet: Fleet) -> None:
    url = await postgres.server().make("slow")
    async with relay_to(postgres.server().port) as relay:
        far = postgres.server().url("slow", port=relay.port)
        gateway = await asyncio.to_thread(on_postgres, fleet, far, workers=1)
        ledger = await asyncio.to_thread(_while_slow, gateway, relay)
        await ledger.stands(url)
        await asyncio.to_thread(ledger.settle, gateway)
        assert await asyncio.to_thread(gateway.stop) == 0


def _while_slow(gateway: GatewayProcess, relay: Relay) -> Ledger:
    access = gateway.body_login()["access_token"]
    with visitors(gateway, 3) as ledger:
        ledger.grows("log-in", "refresh", "call")
        relay.delay = SLOW
        for path in ("/api/x", "/strict/x") * 10:
            begun = time.monotonic()
            answer = gateway.call(access, path=path)
            assert answer.status == 200 or (path == "/strict/x" and turned_away(answer))
            assert time.monotonic() - begun < SLOW / 2
        relay.delay = 0.0
        ledger.grows("log-in", "refresh", "log-out", "call")
    assert ledger.torn == []
    return ledger


async def test_a_pool_without_a_free_connection(fleet: Fleet) -> None:
    url = await postgres.server().make("full_pool")
    gateway = await asyncio.to_thread(on_postgres, fleet, url, workers=1, storage={"pool": 1})
    access = (await asyncio.to_thread(gateway.body_login))["access_token"]
    admin = await postgres.server().connect("full_pool")
    with contextlib.ExitStack() as ends:
        ends.callback(admin.terminate)
        ledger = ends.enter_context(visitors(gateway))
        await asyncio.to_thread(ledger.grows, "log-in", "refresh", "log-out", "call")
        async with admin.transaction():
            await admin.execute("SELECT 1 FROM users FOR UPDATE")
            await asyncio.to_thread(ledger.grows, "refused", by=2)
            answers = [(await asyncio.to_thread(gateway.call, access)).status for _ in range(10)]
            assert answers == [200] * 10
        await asyncio.to_thread(ledger.grows, "log-in", "refresh", "log-out", "call")
    assert ledger.torn == []
    await ledger.stands(url)
    await asyncio.to_thread(ledger.settle, gateway)
    assert await asyncio.to_thread(gateway.stop) == 0


async def test_a_disk_without_room(fleet: Fleet) -> None:
    routes = [{"name": "api", "match": {"path": "/api/"}, "upstream": fleet.upstream.url}]
    path = fleet.configure(sessions=HONEST, routes=routes)
    async with inside(path, SteppedClock()) as made:
        await made.gateway.users.add("ada", PASSWORD, roles=("user",))
        living = [await made.login() for _ in range(3)]
        dead = await made.login()
        assert await made.logout(dead["refresh_token"]) == 204
        await _allow_pages(made, None)
        for _ in range(100):
            answer = await made.post("/auth/login", {"username": "ada", "password": PASSWORD, "token_delivery": "body"})
            if answer.status != 200:
                break
            living.append(answer.json)
        assert turned_away(answer)
        await _no_harm(made, living, dead, full=True)
        ending = living.pop()
        refused = await made.logout(ending["refresh_token"])
        assert refused in {204, 503}
        await _allow_pages(made, 2**30)
        await _no_harm(made, living, dead)
        living.append(await made.login())
        # A log-out that was refused was not: now it is.
        assert await made.logout(ending["refresh_token"]) == 204
        assert await made.call(ending["access_token"]) == 401
        await _no_harm(made, living, dead)
        ended = {sid: (await made.gateway.stores.sessions.get(sid)) for sid in (t["session_id"] for t in living)}
        assert [row.revoke_reason for row in ended.values() if row is not None and row.revoked_at is not None] == []
        row = await made.gateway.stores.sessions.get(ending["session_id"])
        assert row is not None and row.revoke_reason is RevokeReason.LOGOUT


async def _no_harm(made: Inside, living: list[dict[str, Any]], dead: dict[str, Any], *, full: bool = False) -> None:
    """The newest sessions go on, and one that ended stays so. On a full disk a refresh may have to come again."""
    for number, tokens in enumerate(living[-3:], len(living[-3:]) * -1):
        assert await made.call(tokens["access_token"]) == 200
        answer = await made.refresh(tokens["refresh_token"])
        if full and turned_away(answer):
            continue
        assert answer.status == 200, answer.body
        living[number] = tokens | answer.json
        assert await made.call(answer.json["access_token"]) == 200
    assert await made.call(dead["access_token"]) == 401
    assert (await made.refresh(dead["refresh_token"])).error == "invalid_grant"


async def _allow_pages(made: Inside, count: int | None) -> None:
    """Let the file grow to `count` pages; None: not at all from here."""
    writer: Any = made.gateway.stores.sessions._writer  # type: ignore[attr-defined]
    if count is None:
        count = await writer.run(lambda t: t.execute("PRAGMA page_count").fetchone()[0])
    await writer.run(lambda t: t.execute(f"PRAGMA max_page_count = {count}").fetchone())
