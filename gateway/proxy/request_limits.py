"""Limits of a route on its requests: how often a client may ask, and how many may be under way at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.errors import TemporarilyUnavailable
from gateway.proxy.refusals import TooManyRequests
from gateway.risk.network import network_prefix
from gateway.throttle.gcra import Limit, charge, wait
from gateway.throttle.memory import DebtTable

if TYPE_CHECKING:
    from gateway.proxy.exchange import Exchange

_ROUNDING: Final = 1e-6
MEMORY: Final = 50_000
"""Clients of one route whose rate is remembered, about 200 bytes each; the longest silent is forgotten first."""


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """`rate`: of one client. `concurrency`: requests under way, of the route and of one client; 0: no limit."""

    rate: Limit | None = None
    concurrency: int = 0
    per_client: int = 0


class RouteLimiter:
    """The limits of one route in one worker. A client is the user, where one is known, else the address (IPv6: /64)."""

    __slots__ = ("_clients", "_debts", "_held", "_monotonic", "limits")

    def __init__(self, limits: RequestLimits, monotonic: Callable[[], float]) -> None:
        self.limits = limits
        self._monotonic = monotonic
        self._debts = DebtTable(MEMORY)
        self._held: dict[Exchange, str] = {}
        self._clients: dict[str, int] = {}

    @property
    def under_way(self) -> int:
        """Requests that hold a place."""
        return len(self._held)

    def admit(self, exchange: Exchange) -> None:
        """Count a request, or raise what it is answered. What is refused costs the client nothing."""
        limits = self.limits
        claims = exchange.claims
        client = claims.subject if claims is not None else network_prefix(exchange.address, 32, 64)
        if limits.per_client and self._clients.get(client, 0) >= limits.per_client:
            raise TooManyRequests("Too many requests of yours are under way.", retry_after=1)
        if limits.concurrency and len(self._held) >= limits.concurrency:
            raise TemporarilyUnavailable("Too many requests are under way.", retry_after=1)
        if limits.rate is not None:
            self._charge(client.encode("utf-8"), limits.rate)
        if limits.concurrency or limits.per_client:
            self._held[exchange] = client
            self._clients[client] = self._clients.get(client, 0) + 1

    def leave(self, exchange: Exchange) -> None:
        """A request ended, however it did; also one that was never admitted."""
        client = self._held.pop(exchange, None)
        if client is None:
            return
        left = self._clients[client] - 1
        if left:
            self._clients[client] = left
        else:
            del self._clients[client]

    def _charge(self, key: bytes, rate: Limit) -> None:
        now = self._monotonic()
        debt = self._debts.touch(key)
        seconds = wait(debt.paid_at, now, rate)
        if seconds > _ROUNDING:
            raise TooManyRequests(
                "Too many requests. Retry-After says when to try again.", retry_after=max(1, math.ceil(seconds))
            )
        debt.paid_at = charge(debt.paid_at, now, rate.interval)
