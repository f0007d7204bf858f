"""How many connections there may be, in all and from one client. Counted per connection, never per request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.events import Event, EventSink, Level, Name
from gateway.risk.network import network_prefix

_EVERY: Final = 60.0


class Admission:
    """Counts the connections of a worker. A client is an IPv4 address or an IPv6 /64.

    `total` and `per_client` are the most there may be; 0: no limit. `monotonic` gives seconds.
    """

    __slots__ = ("_clients", "_events", "_monotonic", "_next", "_per_client", "_refused", "_total", "count")

    def __init__(self, total: int, per_client: int, events: EventSink, monotonic: Callable[[], float]) -> None:
        self._total = total
        self._per_client = per_client
        self._events = events
        self._monotonic = monotonic
        self._clients: dict[str, int] = {}
        self._refused = 0
        self._next = float("-inf")
        self.count = 0

    def enter(self, address: str, *, shared: bool) -> str | None:
        """Count a connection from `address`: the slot that `leave` gives back, or None where it must be closed.

        `shared`: a proxy that brings many clients; only the limit for all applies to it.
        """
        if self._total and self.count >= self._total:
            self.refused(address, "all")
            return None
        if shared or not self._per_client:
            self.count += 1
            return ""
        client = network_prefix(address, 32, 64)
        here = self._clients.get(client, 0)
        if here >= self._per_client:
            self.refused(address, "client")
            return None
        self._clients[client] = here + 1
        self.count += 1
        return client

    def leave(self, slot: str) -> None:
        """A connection ended."""
        self.count -= 1
        if slot:
            left = self._clients[slot] - 1
            if left:
                self._clients[slot] = left
            else:
                del self._clients[slot]

    def full(self, waiting: int) -> bool:
        """Whether `waiting` connections that are not counted yet fill it up."""
        return bool(self._total) and self.count + waiting >= self._total

    def refused(self, address: str, limit: str) -> None:
        """A connection is closed for the limit of `all` or of its `client`: told once a minute."""
        self._refused += 1
        now = self._monotonic()
        if now < self._next:
            return
        self._next = now + _EVERY
        fields: dict[str, object] = {"limit": limit, "count": self._refused, "open": self.count}
        self._refused = 0
        self._events.emit(Event(Name.CONNECTIONS_LIMITED, Level.WARNING, address=address or None, fields=fields))
