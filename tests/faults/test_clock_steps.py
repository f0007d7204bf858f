"""The gateway's clock is stepped by an hour and back: nobody is logged out by it, and nobody comes back to life."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest
from support import postgres
from support.inside import Inside, SteppedClock, inside
from support.ledger import HONEST, generation
from support.process import Fleet

HOUR = 3600.0
Tokens = dict[str, Any]


async def config(fleet: Fleet, kind: str) -> Path:
    """A configuration on a database of its own. PostgreSQL keeps its own time, which is not stepped."""
    storage: dict[str, Any] = {}
    if kind == "postgres":
        key = fleet.database.with_suffix(".key")
        key.write_text("1:" + base64.b64encode(os.urandom(32)).decode() + "\n")
        key.chmod(0o600)
        storage = {"database": await postgres.server().make("stepped"), "master_key_file": str(key)}
    routes = [
        {"name": "api", "match": {"path": "/api/"}, "upstream": fleet.upstream.url},
        {"name": "strict", "match": {"path": "/strict/"}, "upstream": fleet.upstream.url, "revocation": "strict"},
    ]
    return fleet.configure(storage=storage, sessions=HONEST | {"receipt_after": "60s"}, routes=routes)


async def add_ada(made: Inside) -> None:
    await made.gateway.users.add("ada", "correct-horse-battery", roles=("user",))


async def renewed(made: Inside, tokens: Tokens) -> Tokens:
    """Refreshed, to the next generation."""
    answer = await made.refresh(tokens["refresh_token"])
    assert answer.status == 200, answer.body
    assert generation(answer.json["refresh_token"]) == generation(tokens["refresh_token"]) + 1
    return answer.json


async def background(made: Inside, clock: SteppedClock) -> None:
    """What runs behind the requests, with the time it is now."""
    await made.gateway.sessions.cleanup(200)
    await made.gateway.follower.poll()
    made.gateway.index.prune(clock.now())
    await made.gateway.keys.refresh_if_due()


@pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["forward", "back"])
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_nobody_is_logged_out_and_nobody_comes_back(fleet: Fleet, kind: str, step: float) -> None:
    clock = SteppedClock()
    path = await config(fleet, kind)
    async with inside(path, clock) as made:
        await add_ada(made)
        kept, idle, lost, dead, unused = [await made.login() for _ in range(5)]
        for tokens in (kept, idle, dead):
            assert await made.call(tokens["access_token"]) == 200
        assert await made.logout(dead["refresh_token"]) == 204
        assert await made.call(dead["access_token"]) == 401

        clock.offset = step
        await background(made, clock)
        checks = await made.gateway.checks()
        told = checks["clock"]
        # On SQLite it is the one clock there is.
        assert (told is None) is (kind == "sqlite")
        assert told is None or told.startswith(("3600.0 s from the database", "3599."))
        assert checks["revocation feed"] is None
        kept = await renewed(made, kept)
        successor = (await renewed(made, lost))["refresh_token"]  # an answer that the client never got
        # Where the clocks agree the session goes on at once, on strict routes too: how old the feed is, no clock says.
        served = {await made.call(kept["access_token"], way) for way in ("/api/x", "/strict/x")}
        assert served == ({200} if kind == "sqlite" else {401})
        assert await made.call(unused["access_token"]) == 401
        assert await made.call(dead["access_token"]) == 401
        assert (await made.refresh(dead["refresh_token"])).error == "invalid_grant"
        dies = await made.login()
        assert await made.logout(dies["refresh_token"]) == 204

        clock.offset = 0.0
        await background(made, clock)
        assert await made.gateway.checks() == dict.fromkeys(checks)
        again = await made.refresh(lost["refresh_token"])
        assert again.status == 200 or again.error == "refresh_superseded"
        assert again.status != 200 or again.json["refresh_token"] == successor
        for tokens in (kept, idle, unused, {"refresh_token": successor}):
            fresh = await renewed(made, tokens)
            assert await made.call(fresh["access_token"]) == 200
            assert await made.call(fresh["access_token"], "/strict/x") == 200
        await gone(made, dead, dies)
    async with inside(path, clock) as restarted:
        await gone(restarted, dead, dies)


async def gone(made: Inside, *ended: Tokens) -> None:
    for tokens in ended:
        assert await made.call(tokens["access_token"]) == 401
        assert (await made.refresh(tokens["refresh_token"])).error == "invalid_grant"


async def test_a_gateway_that_started_with_a_wrong_clock_knows_who_is_dead(fleet: Fleet) -> None:
    """Its clock is an hour behind the database's: tokens live longer here, and so must what denies them."""
    path = await config(fleet, "postgres")
    async with inside(path, SteppedClock()) as right:
        await add_ada(right)
        dead = await right.login()
        assert await right.call(dead["access_token"]) == 200
        assert await right.logout(dead["refresh_token"]) == 204
        assert await right.call(dead["access_token"]) == 401
    admin = await postgres.server().connect("stepped")
    # As if that had been an hour ago, for the database.
    await admin.execute("UPDATE revocations SET expires_at = expires_at - 3600")
    await admin.close()
    async with inside(path, SteppedClock()) as late:
        await late.gateway.sessions.cleanup(200)
    async with inside(path, SteppedClock()) as late:
        assert await late.call(dead["access_token"]) == 401
