"""Sessions for a benchmark, without a password hash for each.

usage: python -m bench.sessions CONFIG COUNT     prints refresh tokens, a line each
"""

from __future__ import annotations

import asyncio
import sys
import uuid
from pathlib import Path

from gateway.app import open_gateway
from gateway.clock import SystemClock
from gateway.risk.client import client_facts
from gateway.risk.facts import RequestContext
from gateway.sessions.session import Channel
from gateway.settings.loader import load

AT_ONCE = 64


async def make(config: Path, count: int) -> list[str | None]:
    """Refresh tokens of `count` new sessions, each of a new user."""
    clock = SystemClock()
    settings = load(config, {}, {"logging.level": "error", "server.admin_listen": None}).settings
    async with open_gateway(settings, clock) as gateway:
        facts = client_facts("127.0.0.1", "bench/1.0", v4=24, v6=56)
        context = RequestContext("bench", facts, clock.monotonic())

        at_once = asyncio.Semaphore(AT_ONCE)

        async def start() -> str | None:
            async with at_once:
                user = await gateway.users.add(f"bench-{uuid.uuid4()}", None)
                return (await gateway.sessions.start(user, Channel.BODY, context, ("pwd",))).refresh_token

        return await asyncio.gather(*(start() for _ in range(count)))


if __name__ == "__main__":
    print("\n".join(map(str, asyncio.run(make(Path(sys.argv[1]), int(sys.argv[2]))))))
