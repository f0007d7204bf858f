"""What refresh, list, revoke-all and cleanup cost with a million sessions in the store, against a thousand.

usage: python -m bench.million [--stores sqlite,postgres] [--sessions N] [--rounds N] [--json FILE]

Both databases are open in one process and measured in turn. Then refreshes arrive at a fixed rate at the larger one,
first alone, then while cleanup works off a tenth of the sessions that ran out and a tenth that ended long ago. Exit 1
when something costs more than `LIMIT` times as much, or the p99.9 of refresh grows by more than `PAUSE_MS`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import filled
from bench.filled import Filled
from bench.measured import percentile
from gateway.app import CLEANUP_BATCH, Gateway, open_gateway
from gateway.clock import SystemClock
from gateway.risk.facts import RequestContext
from gateway.sessions.policy import RotationPolicy
from gateway.sessions.ports import RotationAttempt
from gateway.sessions.session import Channel, RevokeReason, Session
from gateway.settings.loader import load

LIMIT, PAUSE_MS = 1.5, 50.0
FEW, PER_USER, AT_ONCE = 1000, 5, 16
REFRESHES, LISTS, REVOKED, BATCHES = 1200, 150, 20, 12
RATE, ALONE_SECONDS, BESIDE_SECONDS = 400.0, 10.0, 20.0
RETENTION = 7 * filled.DAY
_POLICY = RotationPolicy()
Figures = dict[str, tuple[float, float]]
"""By operation: wall clock and CPU of gateway and server, both in microseconds for one."""


@dataclass(slots=True)
class Rig:
    """A gateway on a filled database. `waiting`: sessions to refresh, the one that waited longest first."""

    gateway: Gateway
    database: Filled
    users: int
    waiting: list[tuple[str, int]]
    revoked: int = 0

    async def refreshes(self) -> int:
        """Rotations in the store, `AT_ONCE` at a time."""
        todo = [self.waiting.pop(0) for _ in range(min(REFRESHES, len(self.waiting)))]
        queue = iter(todo)

        async def client() -> None:
            for sid, generation in queue:
                attempt = RotationAttempt(sid, generation, Channel.BODY, filled.FACTS, 0.0, _POLICY)
                rotation = await self.gateway.stores.sessions.rotate(attempt)
                assert rotation.decision.successor == generation + 1, rotation.decision
                self.waiting.append((sid, generation + 1))

        await asyncio.gather(*(client() for _ in range(AT_ONCE)))
        return len(todo)

    async def lists(self) -> int:
        """The sessions of one user after the other."""
        found = 0
        for number in range(LISTS):
            # The first half of the users refreshes, the second is revoked.
            user = filled.user_id(number * 7919 % (self.users // 2))
            found += len(await self.gateway.stores.sessions.list_live(user))
        assert found > LISTS, "users without sessions"
        return LISTS

    async def revocations(self) -> int:
        """All sessions of one user after the other."""
        found = 0
        for _ in range(REVOKED):
            self.revoked += 1
            user = filled.user_id(self.users - self.revoked)
            found += len((await self.gateway.stores.sessions.end_user(user, RevokeReason.LOGOUT_ALL)).sessions)
        assert found > REVOKED, "users without sessions"
        return REVOKED

    async def cleanup(self) -> int:
        """A batch of sessions that ran out and one of sessions that ended long ago, several times."""
        store = self.gateway.stores.sessions
        for _ in range(BATCHES):
            assert len((await store.expire(limit=CLEANUP_BATCH)).sessions) == CLEANUP_BATCH
            assert await store.purge(retention=RETENTION, limit=CLEANUP_BATCH) == CLEANUP_BATCH
        return BATCHES

    async def measured(self, work: Callable[[], Awaitable[int]]) -> tuple[float, float]:
        """Microseconds for one: wall clock, and CPU of this process and the server."""
        wall, cpu = time.perf_counter(), self._cpu()
        count = await work()
        return (time.perf_counter() - wall) / count * 1e6, (self._cpu() - cpu) / count * 1e6

    def _cpu(self) -> float:
        return time.process_time() + self.database.cpu_seconds()


async def rig(kind: str, folder: Path, count: int, stack: AsyncExitStack) -> Rig:
    """A gateway whose database holds `count` sessions, seven of ten live; a tenth each is for cleanup when many."""
    folder.mkdir()
    database = await filled.make(kind, folder)
    key = folder / "master.key"
    key.write_bytes(b"1:" + b"A" * 43 + b"=\n")
    key.chmod(0o600)
    config = folder / "gateway.yaml"
    config.write_text(f'storage: {{{database.storage}, master_key_file: "{key}"}}\nserver: {{admin_listen: null}}\n')
    settings = load(config, {}, {"logging.level": "error"}).settings
    gateway = await stack.enter_async_context(open_gateway(settings, SystemClock()))
    await gateway._stop_jobs()  # cleanup is what is measured: it must not come by itself
    users = count // PER_USER
    waiting: list[tuple[str, int]] = []
    now = time.time()
    await database.load(filled.some_users(users, now), _sessions(count, users, now, waiting))
    await database.settle()
    return Rig(gateway, database, users, waiting)


def _sessions(count: int, users: int, now: float, waiting: list[tuple[str, int]]) -> Iterator[Session]:
    """Every user has `PER_USER`, in the order they began; those to be refreshed are noted in `waiting`."""
    few = count <= FEW
    for number in range(count):
        owner = number % users
        user, age = filled.user_id(owner), 1 - number / count
        state = number * 2_654_435_761 % 2**32 % 10
        if not few and age > 0.9:
            yield filled.ended(user, now, days=10.0 + 100 * (age - 0.9))
        elif state == 0:
            yield filled.ended(user, now, days=3.0)
        elif state == 1 and not few:
            yield filled.over(user, now, age=age)
        else:
            session = filled.live(user, now, age=age)
            if owner < users // 2 and len(waiting) < 50_000 and (few or number % 7 == 0):
                waiting.append((session.sid, session.generation))
            yield session


async def top_up(small: Rig) -> None:
    """What the small database needs for its next batches of cleanup; the large one has it."""
    now, count = time.time(), BATCHES * CLEANUP_BATCH
    sessions = [filled.over(filled.user_id(n % small.users), now) for n in range(count)]
    sessions += [filled.ended(filled.user_id(n % small.users), now, days=10.0) for n in range(count)]
    await small.database.load((), sessions)
    await small.database.settle()


async def compare(small: Rig, large: Rig, rounds: int) -> tuple[Figures, Figures]:
    """Medians of both, operation after operation and round after round; the first round only warms up."""
    found: dict[tuple[str, bool], list[tuple[float, float]]] = {}
    for round_number in range(rounds + 1):
        for name in ("refreshes", "lists", "revocations", "cleanup"):
            if name == "cleanup":
                await top_up(small)
            for each in (small, large):
                figures = await each.measured(getattr(each, name))
                if round_number:
                    found.setdefault((name, each is large), []).append(figures)
    medians = {key: (_median(f[0] for f in rows), _median(f[1] for f in rows)) for key, rows in found.items()}
    return {name: f for (name, is_large), f in medians.items() if not is_large}, {
        name: f for (name, is_large), f in medians.items() if is_large
    }


async def latencies(rig: Rig, until: Callable[[], bool]) -> list[float]:
    """Milliseconds from the moment each refresh was due, whole service included; arrivals at `RATE` until then."""
    found: list[float] = []
    core, sessions = rig.gateway._core, rig.gateway.sessions
    rotating = list(rig.waiting)
    rig.waiting.clear()
    running: set[asyncio.Task[None]] = set()

    async def one(sid: str, generation: int, due: float) -> None:
        context = RequestContext("bench", filled.FACTS, rig.gateway.clock.monotonic())
        await sessions.refresh(core.refresh_tokens.issue(1, sid, generation), Channel.BODY, context)
        found.append((time.perf_counter() - due) * 1e3)
        rig.waiting.append((sid, generation + 1))

    due = time.perf_counter()
    for number, (sid, generation) in enumerate(rotating):
        if until():
            rig.waiting += rotating[number:]
            break
        due += 1 / RATE
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        task = asyncio.create_task(one(sid, generation, due))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    return found


async def beside_cleanup(rig: Rig) -> dict[str, float]:
    """The p99.9 of refresh alone and beside the gateway's own cleanup, in milliseconds."""
    end = time.perf_counter() + ALONE_SECONDS
    alone = await latencies(rig, lambda: time.perf_counter() >= end)
    begin = time.perf_counter()
    cleaning = asyncio.create_task(rig.gateway._clean_up())
    beside = await latencies(rig, lambda: cleaning.done() or time.perf_counter() > begin + BESIDE_SECONDS)
    took = time.perf_counter() - begin
    cleaning.cancel()
    await asyncio.gather(cleaning, return_exceptions=True)
    return {
        "alone_p50_ms": percentile(alone, 0.5),
        "alone_p999_ms": percentile(alone, 0.999),
        "beside_p50_ms": percentile(beside, 0.5),
        "beside_p999_ms": percentile(beside, 0.999),
        "cleanup_seconds": took,
        "refreshes_beside": float(len(beside)),
    }


async def measure(kind: str, folder: Path, sessions: int, rounds: int) -> dict[str, object]:
    """One store's figures."""
    async with AsyncExitStack() as stack:
        begin = time.perf_counter()
        small = await rig(kind, folder / f"{kind}-few", FEW, stack)
        large = await rig(kind, folder / f"{kind}-many", sessions, stack)
        print(f"{kind}: {sessions:,} sessions in place after {time.perf_counter() - begin:.0f} s", file=sys.stderr)
        few, many = await compare(small, large, rounds)
        return {"few": few, "many": many, "cleanup": await beside_cleanup(large)}


def show(kind: str, row: dict[str, Any]) -> bool:
    """Print one store's table; whether it is within the limits."""
    few, many, cleanup = row["few"], row["many"], row["cleanup"]
    good = True
    print(f"\n{kind:20} {'thousand: µs, CPU':>20} {'million: µs, CPU':>20}  ratio   CPU")
    for name in few:
        (wall, cpu), (wall_many, cpu_many) = few[name], many[name]
        within = max(wall_many / wall, cpu_many / cpu) <= LIMIT
        good = good and within
        print(
            f"  {name:18} {wall:11,.0f} {cpu:8,.0f} {wall_many:11,.0f} {cpu_many:8,.0f}"
            f"  {wall_many / wall:5.2f} {cpu_many / cpu:5.2f}{'' if within else '  MISSED'}"
        )
    grown = cleanup["beside_p999_ms"] - cleanup["alone_p999_ms"]
    print(
        f"  refresh p99.9 {cleanup['alone_p999_ms']:.1f} ms alone, {cleanup['beside_p999_ms']:.1f} ms beside cleanup"
        f" ({cleanup['refreshes_beside']:.0f} refreshes in {cleanup['cleanup_seconds']:.1f} s)"
        f"{'' if grown <= PAUSE_MS else '  MISSED'}"
    )
    return good and grown <= PAUSE_MS


def _median(values: Iterator[float]) -> float:
    return statistics.median(values)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.million", description=__doc__)
    parser.add_argument("--stores", default=",".join(filled.STORES), help="which, in this order (default: all)")
    parser.add_argument("--sessions", type=int, default=1_000_000, help="in the larger database (default: a million)")
    parser.add_argument("--rounds", type=int, default=4, help="measured rounds (default: 4)")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="gateway-million-") as name:
        for kind in options.stores.split(","):
            rows[kind] = asyncio.run(measure(kind, Path(name), options.sessions, options.rounds))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    shown = [show(kind, row) for kind, row in rows.items()]
    return 0 if all(shown) else 1


if __name__ == "__main__":
    import uvloop

    uvloop.install()
    sys.exit(main())
