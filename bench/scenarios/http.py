"""Requests and answers: first as many as one core of the peer can, then half as many at a fixed rate."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import wrk
from bench.client import Client, Outcome
from bench.exchanges import HttpExchange, RefusedExchange
from bench.measured import Row, add, percentile
from bench.peers.peer import Peer
from bench.processes import Server
from bench.requests import forged, get, post, zipf
from bench.world import World

CONNECTIONS = 64
_DRAWS = 200_000
_SMALL, _UPLOAD = "/api/small", "/api/upload"


@dataclass(frozen=True, slots=True)
class HttpScenario:
    """`payloads`: the requests, `ranked` when they are sent by Zipf's law and not in turn.

    `body`: bytes of an answer's body when CPU per GB is wanted. Such big ones are read by our own client at full load
    too: wrk reads 8 KB at a time and would be what is measured.
    """

    name: str
    title: str
    payloads: Callable[[World], list[bytes]]
    ranked: bool = False
    refused: bool = False
    body: int = 0
    connections: int = CONNECTIONS
    needs: frozenset[str] = frozenset()
    only: frozenset[str] = frozenset()
    fresh: bool = False

    def measure(self, peer: Peer, world: World, seconds: float, *, warm_up: bool) -> Row:
        """Full load, then half of it."""
        running = world.running[peer.name]
        payloads = self.payloads(world)
        row = self.full(running, payloads, world.folder, seconds)
        if not warm_up:
            row = add(row, self.at_rate(running, payloads, row["per_second"] / 2, seconds))
        if self.body:
            row["cpu_s_per_gb"] = row["cpu_us"] / self.body * 1e3
        return row

    def at_rate(self, running: Server, payloads: list[bytes], rate: float, seconds: float) -> Row:
        """Open loop at `rate` a second."""
        sent = [payloads[index] for index in zipf(len(payloads), _DRAWS)] if self.ranked else payloads
        exchange = RefusedExchange if self.refused else HttpExchange
        client = Client(running.port, sent, exchange, self.connections)
        with contextlib.closing(client):
            before = running.cpu_seconds()
            outcome = client.open_loop(rate, seconds)
            spent = running.cpu_seconds() - before
        return {
            "rate": rate,
            "half_cpu_us": spent / max(len(outcome.latencies), 1) * 1e6,
            "p50_ms": percentile(outcome.latencies, 0.5) * 1e3,
            "p99_ms": percentile(outcome.latencies, 0.99) * 1e3,
            "late_p99_ms": percentile(outcome.late, 0.99) * 1e3,
            "errors": float(outcome.errors),
            **outcome.kinds(),
        }

    def full(self, running: Server, payloads: list[bytes], folder: Path, seconds: float) -> Row:
        """As much as one core can."""
        if self.body:
            return self._by_hand(running, payloads, seconds)
        requests, order = folder / f"{self.name}.requests", folder / f"{self.name}.order"
        requests.write_bytes(b"".join(b"%d\n%b" % (len(payload), payload) for payload in payloads))
        if self.ranked and not order.exists():
            order.write_text("\n".join(str(index + 1) for index in zipf(len(payloads), _DRAWS)) + "\n")
        run = wrk.drive(
            running,
            seconds=seconds,
            script=wrk.HERE / "raw.lua",
            env={"WRK_REQUESTS": str(requests), "WRK_ORDER": str(order) if self.ranked else ""},
            refused=self.refused,
        )
        full = {"full_p50_ms": run.p50_ms, "full_p99_ms": run.p99_ms, "errors": float(run.errors)}
        return {"cpu_us": run.cpu_us, "per_second": run.per_second, **full}

    def _by_hand(self, running: Server, payloads: list[bytes], seconds: float) -> Row:
        client = Client(running.port, payloads, HttpExchange, self.connections)
        with contextlib.closing(client):
            before = running.cpu_seconds()
            outcome: Outcome = client.closed_loop(seconds)
            spent = running.cpu_seconds() - before
        count = max(len(outcome.latencies), 1)
        return {
            "cpu_us": spent / count * 1e6,
            "per_second": count / outcome.seconds,
            "full_p50_ms": percentile(outcome.latencies, 0.5) * 1e3,
            "full_p99_ms": percentile(outcome.latencies, 0.99) * 1e3,
            "errors": float(outcome.errors),
            **outcome.kinds(),
        }


def _refused(world: World) -> list[bytes]:
    return [get(_SMALL), get(_SMALL, forged(world.tokens[0]))]


def _upload(world: World) -> list[bytes]:
    return [post(_UPLOAD, world.tokens[0], b"x" * 100_000)]


AUTH = frozenset({"auth"})
CACHED = HttpScenario("cached", "GET, 48 bytes, one token", lambda world: [get(_SMALL, world.tokens[0])])
SCENARIOS = (
    CACHED,
    HttpScenario(
        "zipf",
        "GET, 48 bytes, 10,000 tokens by Zipf's law",
        lambda world: [get(_SMALL, token) for token in world.tokens],
        ranked=True,
        needs=AUTH,
    ),
    HttpScenario("refused", "401: no token and a forged one in turn", _refused, refused=True, needs=AUTH),
    HttpScenario("16k", "GET, 16 KB", lambda world: [get("/api/files/16k", world.tokens[0])]),
    HttpScenario(
        "10m",
        "GET, 10 MB",
        lambda world: [get("/api/files/10m", world.tokens[0])],
        body=10_000_000,
        connections=8,
    ),
    HttpScenario("upload", "POST, 100 KB", _upload),
)
