"""What only the gateway does: refreshing sessions, and proxying while many log in."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from dataclasses import dataclass, field

from bench import wrk
from bench.measured import Row, add
from bench.peers import gateway
from bench.peers.peer import Peer
from bench.processes import free_port
from bench.requests import get
from bench.scenarios.http import CACHED
from bench.world import World

_ONLY = frozenset({"gateway"})
_CLIENTS, _SESSIONS, _USERS = 16, 4000, 200


@dataclass(frozen=True, slots=True)
class Refresh:
    """Sessions refreshed in turn by a gateway of its own that signs with EdDSA, the default; durable SQLite."""

    name: str = "refresh"
    title: str = f"refresh: SQLite, EdDSA, durable, {_CLIENTS} clients"
    needs: frozenset[str] = frozenset()
    only: frozenset[str] = _ONLY
    fresh: bool = False

    def measure(self, peer: Peer, world: World, seconds: float, *, warm_up: bool) -> Row:
        """Latencies are those at full load."""
        folder = world.folder / "refresh"
        folder.mkdir(exist_ok=True)
        own = gateway.make(folder, free_port(), world.origin, world.live, algorithm="EdDSA")
        tokens = gateway.start_sessions(folder, _SESSIONS)
        with own.running() as running:
            run = wrk.drive(
                running,
                seconds=seconds,
                connections=_CLIENTS,
                script=wrk.HERE / "refresh.lua",
                path="/auth/refresh",
                env={"REFRESH_TOKENS": str(tokens)},
            )
        latencies = {"p50_ms": run.p50_ms, "p99_ms": run.p99_ms}
        return {"cpu_us": run.cpu_us, "per_second": run.per_second, **latencies, "errors": float(run.errors)}


@dataclass(slots=True)
class Storm:
    """Small requests at half load, first alone, then while users who exist log in; right passwords, so no throttle."""

    name: str = "storm"
    title: str = "GET, 48 bytes, at half load, without and with a log-in storm"
    needs: frozenset[str] = frozenset()
    only: frozenset[str] = _ONLY
    fresh: bool = False
    _ready: set[str] = field(default_factory=set)

    def measure(self, peer: Peer, world: World, seconds: float, *, warm_up: bool) -> Row:
        """`calm_p99_ms` and `p99_ms`; the log-ins' answers as `login_200_count` and so on."""
        running, payloads = world.running[peer.name], [get("/api/small", world.tokens[0])]
        if str(world.folder) not in self._ready:
            gateway.start_sessions(world.gateway.folder, _USERS, passwords=True)
            self._ready.add(str(world.folder))
        rate = CACHED.full(running, payloads, world.folder, min(seconds, 0.5))["per_second"] / 2
        calm = CACHED.at_rate(running, payloads, rate, seconds)
        command = [sys.executable, "-m", "bench.logins", str(running.port), f"{seconds + 1.0:g}", str(_USERS)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as storm, contextlib.ExitStack() as stack:
            stack.callback(storm.kill)
            with contextlib.suppress(subprocess.TimeoutExpired):  # until its clients are under way
                storm.wait(0.7)
            stormy = CACHED.at_rate(running, payloads, rate, seconds)
            answers = json.loads(storm.communicate(timeout=60)[0])
        hasty = answers.pop("no_retry_after", 0)
        right = answers.get("200", 0) + answers.get("503", 0) - hasty
        otherwise = sum(answers.values()) - right
        counts = {f"login_{status}_count": float(count) for status, count in answers.items()}
        before = {"errors": calm["errors"], "calm_p50_ms": calm["p50_ms"], "calm_p99_ms": calm["p99_ms"]}
        return {**add(before, stormy), **counts, "refused_otherwise_count": float(otherwise)}


SCENARIOS = (Storm(), Refresh())
