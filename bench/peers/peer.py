"""What the bench knows about a server under test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.machine import PEER_CPU, pinned
from bench.processes import Server, server


@dataclass(frozen=True, slots=True)
class Setup:
    """What a peer is made from: a folder for its files, the ports it stands before, who issues its tokens.

    `public_key` is the issuer's RSA key as PEM, `jwks` the same as the issuer publishes it, `kid` its name.
    """

    folder: Path
    port: int
    origin: int
    live: int
    issuer: str
    kid: str
    public_key: bytes


@dataclass(frozen=True, slots=True)
class Peer:
    """A server under test; `lacks` says what it can't do, by a scenario's word for it ("auth", "websocket")."""

    name: str
    title: str
    port: int
    command: list[str]
    folder: Path
    lacks: frozenset[str] = frozenset()

    @contextlib.contextmanager
    def running(self) -> Iterator[Server]:
        """Run it on the peers' CPU."""
        log = self.folder / f"{self.name}.out"
        with server(pinned(PEER_CPU, self.command), self.port, log=log) as process:
            yield Server(process.pid, self.port)
