"""What every scenario has."""

from __future__ import annotations

from typing import Protocol

from bench.measured import Row
from bench.peers.peer import Peer
from bench.world import World


class LeftOut(Exception):
    """A peer can't do this; the text says why."""


class Scenario(Protocol):
    """One thing to measure. `needs`: what a peer must not lack. `only`: the peers it is for, all when empty.

    `fresh`: measured on processes that have done nothing else, before the others run.
    """

    name: str
    title: str
    needs: frozenset[str]
    only: frozenset[str]
    fresh: bool

    def measure(self, peer: Peer, world: World, seconds: float, *, warm_up: bool) -> Row:
        """One run of about `seconds`, twice that where there is one at full and one at half load. Raises `LeftOut`."""
        ...
