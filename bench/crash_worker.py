"""The process that dies: refreshes, log-ins and log-outs on one SQLite file, each told on stdout once acknowledged.

usage: python -m bench.crash_worker DATABASE [POINT NTH]
With POINT it kills itself the NTH time the writer passes there; without, it goes on until somebody kills it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

from gateway.clock import SystemClock
from gateway.risk.facts import ClientFacts
from gateway.sessions.policy import RotationPolicy
from gateway.sessions.ports import RotationAttempt
from gateway.sessions.session import Channel, RevokeReason, Session, begin_session
from gateway.stores.bundle import Stores
from gateway.stores.sqlite import Point, open_sqlite

FACTS = ClientFacts("203.0.113.7", "203.0.113.0/24", "crash/1.0", "crash")
POLICY = RotationPolicy()
USER = "user"
ROOMY = 10_000


def new_session(now: float) -> Session:
    """A log-in of the storm's one user."""
    return begin_session(str(uuid.uuid4()), USER, Channel.BODY, FACTS, now, POLICY)


def attempt(sid: str, generation: int) -> RotationAttempt:
    """The refresh token of `generation`, presented by the client that holds it."""
    return RotationAttempt(sid, generation, Channel.BODY, FACTS, 0.0, POLICY)


def die_at(point: Point, nth: int) -> Callable[[Point], None]:
    """An observer of the writer that ends the process without a word."""
    passed = 0

    def observe(reached: Point) -> None:
        nonlocal passed
        if reached is point:
            passed += 1
            if passed == nth:
                os.kill(os.getpid(), signal.SIGKILL)

    return observe


async def _refresh(stores: Stores, sid: str, generation: int) -> None:
    while True:
        decision = (await stores.sessions.rotate(attempt(sid, generation))).decision
        if decision.successor is None:
            raise RuntimeError(f"refused: {decision}")
        generation = decision.successor
        _acknowledge("rotated", sid, generation)


async def _come_and_go(stores: Stores) -> None:
    while True:
        session = new_session(await stores.sessions.now())
        await stores.sessions.create(session, user_epoch=0, max_per_user=ROOMY)
        _acknowledge("created", session.sid, 1)
        await stores.sessions.end(session.sid, RevokeReason.LOGOUT)
        _acknowledge("ended", session.sid, 1)


def _acknowledge(what: str, sid: str, generation: int) -> None:
    os.write(sys.stdout.fileno(), f"{what} {sid} {generation}\n".encode())


async def _main() -> None:
    observer = die_at(Point(sys.argv[2]), int(sys.argv[3])) if len(sys.argv) > 2 else None
    stores = await open_sqlite(Path(sys.argv[1]), clock=SystemClock(), busy_timeout=5.0, observer=observer)
    sessions = await stores.sessions.list_live(limit=ROOMY)
    loops = [_refresh(stores, session.sid, session.generation) for session in sessions]
    await asyncio.gather(*loops, _come_and_go(stores))


if __name__ == "__main__":
    asyncio.run(_main())
