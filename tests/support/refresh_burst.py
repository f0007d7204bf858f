"""One process of several that present the same refresh tokens at once.

usage: python -m support.refresh_burst URL TIMES. For each session id read from stdin, its first refresh token is
presented TIMES at once; the outcomes and successors are written as one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import sys

from gateway.clock import SystemClock
from gateway.errors import StoreBusy
from gateway.sessions.session import Channel
from gateway.stores.bundle import Stores
from gateway.stores.factory import open_stores
from support.stores import Client


async def present(stores: Stores, sid: str) -> tuple[str, int | None]:
    try:
        decision = (await Client(stores, sid, channel=Channel.BODY).present(1)).decision
    except StoreBusy:
        return "busy", None
    return decision.outcome.value, decision.successor


async def main() -> None:
    stores = await open_stores(sys.argv[1], clock=SystemClock(), busy_timeout=5.0)
    print("ready", flush=True)
    while sid := (await asyncio.to_thread(sys.stdin.readline)).strip():
        answers = await asyncio.gather(*(present(stores, sid) for _ in range(int(sys.argv[2]))))
        print(json.dumps(answers), flush=True)
    await stores.database.close()


if __name__ == "__main__":
    asyncio.run(main())
