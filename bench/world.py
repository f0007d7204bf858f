"""What a bench runs in: origins, peers, tokens."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization

from bench.machine import LOAD_CPU, pinned
from bench.peers import apache, caddy, gateway, haproxy, naive, nginx
from bench.peers.peer import Peer, Setup
from bench.processes import Server, free_port, server

TOKENS = 10_000
_MAKERS = {
    "nginx": ("nginx", nginx.make),
    "haproxy": ("haproxy", haproxy.make),
    "caddy": ("caddy", caddy.make),
    "apache": ("apache2", apache.make),
    "bare": ("taskset", naive.make_bare),
    "naive": ("taskset", naive.make),
}
PEERS = ("gateway", *_MAKERS)


@dataclass(slots=True)
class World:
    """`tokens`: valid access tokens, each of a session of its own. `left_out`: why a peer is not there, by its name."""

    folder: Path
    origin: int
    live: int
    gateway: Peer
    peers: dict[str, Peer]
    tokens: list[str]
    left_out: dict[str, str] = field(default_factory=dict)
    running: dict[str, Server] = field(default_factory=dict)

    def start(self, peer: Peer, stack: contextlib.ExitStack) -> Server:
        """Run a peer until `stack` ends; the naive proxy asks the gateway for its keys, so that must run then."""
        if peer.name not in self.running:
            self.running[peer.name] = stack.enter_context(peer.running())
            stack.callback(self.running.pop, peer.name)
        return self.running[peer.name]


def build(folder: Path, names: Sequence[str], stack: contextlib.ExitStack) -> World:
    """Start the origins, make the tokens, write every peer's configuration; no peer runs yet."""
    folder.chmod(0o755)  # Apache's workers are another user
    files = folder / "files"
    files.mkdir()
    (files / "16k").write_bytes(b"x" * 16_384)
    (files / "10m").write_bytes(b"x" * 10_000_000)
    origin, live = free_port(), free_port()
    out = folder / "origins.out"
    stack.enter_context(server(pinned(LOAD_CPU, nginx.origin(folder, origin)), origin, log=out))
    command = pinned(LOAD_CPU, [sys.executable, "-m", "bench.live", str(live)])
    stack.enter_context(server(command, live, log=out))
    home = folder / "gateway"
    home.mkdir()
    ours = gateway.make(home, free_port(), origin, live)
    tokens = gateway.start_sessions(home, TOKENS, access=True).read_text().split()
    world = World(folder, origin, live, ours, {}, tokens)
    kid, public_key = _public_key(ours)
    for name in names:
        if name == ours.name:
            world.peers[name] = ours
            continue
        tool, make = _MAKERS[name]
        setup = Setup(folder, free_port(), origin, live, f"http://127.0.0.1:{ours.port}", kid, public_key)
        try:
            if shutil.which(tool) is None:
                raise FileNotFoundError(f"{tool} is not installed")
            world.peers[name] = make(setup)
        except FileNotFoundError as problem:
            world.left_out[name] = str(problem)
    return world


def _public_key(ours: Peer) -> tuple[str, bytes]:
    with ours.running(), urllib.request.urlopen(f"http://127.0.0.1:{ours.port}/.well-known/jwks.json") as answer:
        key = jwt.PyJWKSet.from_dict(json.load(answer)).keys[0]
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return str(key.key_id), key.key.public_bytes(serialization.Encoding.PEM, form)
