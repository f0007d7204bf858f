"""The proxy everyone writes with aiohttp, with and without `jwt.decode` on each request."""

from __future__ import annotations

import sys

from bench.peers.peer import Peer, Setup


def make(setup: Setup) -> Peer:
    """With authentication; it has the same two origins as everybody."""
    command = [*_command(setup), f"{setup.issuer}/.well-known/jwks.json", setup.issuer]
    title = "aiohttp Application + ClientSession, jwt.decode"
    return Peer("naive", title, setup.port, command, setup.folder, frozenset({"websocket"}))


def make_bare(setup: Setup) -> Peer:
    """Without authentication."""
    title, lacks = "aiohttp Application + ClientSession, no auth", frozenset({"auth", "websocket"})
    return Peer("bare", title, setup.port, _command(setup), setup.folder, lacks)


def _command(setup: Setup) -> list[str]:
    upstreams = [f"http://127.0.0.1:{setup.origin}", f"http://127.0.0.1:{setup.live}"]
    return [sys.executable, "-m", "bench.peers.naive_proxy", str(setup.port), *upstreams]
