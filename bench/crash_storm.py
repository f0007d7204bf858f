"""kill -9 at random and at chosen points of refreshes, again and again: nothing acknowledged may be missing.

usage: python -m bench.crash_storm [--kills N] [--sessions N] [--seed S]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.crash_worker import POLICY, ROOMY, USER, attempt, new_session
from gateway.clock import Clock, SystemClock
from gateway.credentials.user import User
from gateway.sessions.decision import Outcome
from gateway.stores.bundle import Stores
from gateway.stores.sqlite import Point, open_sqlite

# Two kills out of three come at a random moment, the others at a chosen point.
POINTS: tuple[Point | None, ...] = (*([None] * 2 * len(Point)), *Point)
LONGEST_RUN_S = 0.06
PATIENCE_S = 60.0


class _Shifted(SystemClock):
    """The machine's clock, a little later."""

    def now(self) -> float:
        return super().now() + POLICY.in_flight_window + 1.0


NOW: Clock = SystemClock()
# Within the window, clients that lose answers often are told to wait for its end.
LATER: Clock = _Shifted()


@dataclass
class Tally:
    """What a storm did. `unheard`: rotations that were committed, but whose answer died with the process."""

    kills: int = 0
    acknowledged: int = 0
    unheard: int = 0
    came_and_went: int = 0


@dataclass
class Storm:
    """One database, the clients' view of it, and what was found wrong: nothing, if the store keeps its word."""

    path: Path
    random: random.Random
    held: dict[str, int] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    tally: Tally = field(default_factory=Tally)

    async def begin(self, sessions: int) -> None:
        """One user, some sessions."""
        stores = await self._open()
        now = await stores.sessions.now()
        await stores.users.add(User(USER, USER, USER, None, (), None, True, 0, now, now))
        for _ in range(sessions):
            created = await stores.sessions.create(new_session(now), user_epoch=0, max_per_user=ROOMY)
            self.held[created.session.sid] = 1
        await stores.database.close()

    async def strike(self, point: Point | None = None, nth: int = 1) -> list[str]:
        """Let a process work and die, at `point` or at a random moment; returns every broken promise."""
        command = [sys.executable, "-m", "bench.crash_worker", str(self.path)]
        if point is not None:
            command += [point.value, str(nth)]
        acknowledged = await asyncio.to_thread(self._run_until_dead, command, point is None)
        self.tally.kills += 1
        self._hear(acknowledged)
        return await self._broken_promises()

    def _run_until_dead(self, command: list[str], kill: bool) -> list[str]:
        with tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
            timer = threading.Timer(PATIENCE_S, process.terminate)
            timer.start()
            with process:
                heard = process.stdout.readline() if process.stdout is not None else ""
                if kill:
                    time.sleep(self.random.uniform(0.0, LONGEST_RUN_S))
                    process.kill()
                heard += process.stdout.read() if process.stdout is not None else ""
            timer.cancel()
            if process.returncode != -signal.SIGKILL:
                errors.seek(0)
                raise RuntimeError(f"the worker ended by itself ({process.returncode}): {errors.read()}")
        # A line cut short was not heard.
        return [line for line in heard.splitlines(keepends=True) if line.endswith("\n")]

    def _hear(self, lines: list[str]) -> None:
        for line in lines:
            what, sid, generation = line.split()
            if what == "rotated":
                self.held[sid] = int(generation)
                self.tally.acknowledged += 1
            elif what == "created":
                self.held[sid] = 1
            else:
                self.held.pop(sid)
                self.ended.add(sid)
                self.tally.came_and_went += 1

    async def _broken_promises(self) -> list[str]:
        connection = sqlite3.connect(self.path)
        check = connection.execute("PRAGMA integrity_check").fetchone()[0]
        connection.close()
        broken = [] if check == "ok" else [f"integrity: {check}"]
        stores = await self._open(LATER)
        for sid in self.ended:
            session = await stores.sessions.get(sid)
            if session is None or session.revoked_at is None:
                broken.append(f"{sid}: ended, yet it lives")
        for sid, generation in list(self.held.items()):
            if problem := await self._retry(stores, sid, generation):
                broken.append(f"{sid}: {problem}")
        await stores.database.close()
        self.ended.clear()
        return broken

    async def _retry(self, stores: Stores, sid: str, held: int) -> str | None:
        """The client presents what it holds, as it would some time after a lost answer."""
        session = await stores.sessions.get(sid)
        if session is None:
            return "lost"
        if session.revoked_at is not None:
            # Its log-out was committed, but not heard.
            del self.held[sid]
            return None
        if session.generation not in (held, held + 1):
            return f"generation {session.generation}, but the client was given {held}"
        self.tally.unheard += session.generation - held
        decision = (await stores.sessions.rotate(attempt(sid, held))).decision
        expected = Outcome.ROTATED if session.generation == held else Outcome.RETRY
        if decision.outcome is not expected or decision.successor != held + 1:
            age = await stores.sessions.now() - session.rotated_at
            facts = f"age {age:.3f} s, delivery {session.delivery}, {len(session.retries)} retries"
            return f"a retry of {held} at {session.generation} got {decision.outcome} {decision.successor} ({facts})"
        self.held[sid] = held + 1
        return None

    async def _open(self, clock: Clock = NOW) -> Stores:
        return await open_sqlite(self.path, clock=clock, busy_timeout=5.0)


async def storm(path: Path, *, kills: int, sessions: int, seed: int) -> tuple[Tally, list[str]]:
    """Strike `kills` times; the tally, and every broken promise."""
    raging = Storm(path, random.Random(seed))
    await raging.begin(sessions)
    broken: list[str] = []
    for number in range(kills):
        point = POINTS[number % len(POINTS)]
        broken += await raging.strike(point, nth=raging.random.randint(1, 40))
    return raging.tally, broken


def main() -> int:
    """Rage, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="crash-storm-") as folder:
        tally, broken = asyncio.run(
            storm(Path(folder) / "gateway.db", kills=options.kills, sessions=options.sessions, seed=options.seed)
        )
    print(f"seed {options.seed}: {tally}")
    for promise in broken:
        print(promise, file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
