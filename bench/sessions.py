"""Sessions for a benchmark, without a password hash for each.

usage: python -m bench.sessions CONFIG COUNT [--access] [--passwords]

Prints refresh tokens, a line each, or access tokens. With --passwords the users are called user-0, user-1 … and all
have the password `PASSWORD`, hashed once.
"""

from __future__ import annotations

import argparse
import asyncio
import uuid
from pathlib import Path

from gateway.app import open_gateway
from gateway.clock import SystemClock
from gateway.credentials.hasher import PasswordHasher
from gateway.risk.client import client_facts
from gateway.risk.facts import RequestContext
from gateway.sessions.session import Channel
from gateway.settings.loader import load

PASSWORD = "correct horse battery staple"
AT_ONCE = 64


async def make(config: Path, count: int, *, access: bool, passwords: bool) -> list[str | None]:
    """Tokens of `count` new sessions, each of a new user."""
    clock = SystemClock()
    settings = load(config, {}, {"logging.level": "error", "server.admin_listen": None}).settings
    async with open_gateway(settings, clock) as gateway:
        facts = client_facts("127.0.0.1", "bench/1.0", v4=24, v6=56)
        context = RequestContext("bench", facts, clock.monotonic())
        hashed = await PasswordHasher().hash(PASSWORD) if passwords else None

        at_once = asyncio.Semaphore(AT_ONCE)

        async def start(number: int) -> str | None:
            name = f"user-{number}" if passwords else f"bench-{uuid.uuid4()}"
            async with at_once:
                user = await gateway.users.add_hashed(gateway.users.new_user(name), hashed)
                issued = await gateway.sessions.start(user, Channel.BODY, context, ("pwd",))
            return issued.access_token if access else issued.refresh_token

        return await asyncio.gather(*(start(number) for number in range(count)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.sessions", description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("--access", action="store_true")
    parser.add_argument("--passwords", action="store_true")
    options = parser.parse_args()
    made = make(options.config, options.count, access=options.access, passwords=options.passwords)
    print("\n".join(map(str, asyncio.run(made))))


if __name__ == "__main__":
    main()
