"""A request as the domain sees it: its id, its arrival and the facts about the client, read from the raw headers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from aiohttp import web

from gateway.clock import Clock
from gateway.risk.client import client_facts
from gateway.risk.facts import RequestContext
from gateway.web.client_ip import ClientAddress
from gateway.web.request_id import RequestIds

RawHeaders = Iterable[tuple[bytes, bytes]]

# Set by whoever saw the request first; the middleware makes it where nobody did.
CONTEXT: Final = web.RequestKey("context", RequestContext)


def values_of(headers: RawHeaders, name: bytes) -> list[bytes]:
    """The raw values of the header `name` (lower case), in order."""
    size = len(name)  # compared first: most names differ by that, and folding each one is what would cost
    return [value for key, value in headers if len(key) == size and key.lower() == name]


class RequestContexts:
    """Makes the context of each request."""

    __slots__ = ("_client", "_clock", "_ids", "_v4", "_v6")

    def __init__(self, client: ClientAddress, ids: RequestIds, clock: Clock, *, v4: int = 24, v6: int = 56) -> None:
        """`v4` and `v6` are the bits of an address that count as one network."""
        self._client = client
        self._ids = ids
        self._clock = clock
        self._v4 = v4
        self._v6 = v6

    def of(self, peer: str | None, headers: RawHeaders) -> RequestContext:
        """The context of a request that has just arrived from `peer` with these raw headers."""
        headers = tuple(headers)
        trusted = self._client.is_trusted(peer)
        address = self._client.resolve(peer, values_of(headers, b"x-forwarded-for") if trusted else ())
        request_id = self._ids.of(values_of(headers, b"x-request-id"), trusted=trusted)
        agents = values_of(headers, b"user-agent")
        # Bytes that are no UTF-8 become U+FFFD: logs and stores take text.
        user_agent = agents[0].decode("utf-8", "replace") if agents else ""
        facts = client_facts(address, user_agent, v4=self._v4, v6=self._v6)
        return RequestContext(request_id=request_id, facts=facts, arrived=self._clock.monotonic())
