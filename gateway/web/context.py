"""A request as the domain sees it: its id, its arrival and the facts about the client, read from the raw headers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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


HeaderIndex = Mapping[bytes, Sequence[bytes]]

_INDEX: Final = web.RequestKey("header index", HeaderIndex)


def index_headers(headers: RawHeaders) -> HeaderIndex:
    """The raw values by lower-case name, in order."""
    index: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        index.setdefault(name.lower(), []).append(value)
    return index


def values_of(request: web.BaseRequest, name: bytes) -> Sequence[bytes]:
    """The raw values of the header `name` (lower case), in order. The headers of a request are gone through once."""
    index = request.get(_INDEX)
    if index is None:
        index = request[_INDEX] = index_headers(request.raw_headers)
    return index.get(name, ())


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

    def of(self, request: web.BaseRequest) -> RequestContext:
        """The context of a request that has just arrived."""
        peer = request.remote
        trusted = self._client.is_trusted(peer)
        address = self._client.resolve(peer, values_of(request, b"x-forwarded-for") if trusted else ())
        request_id = self._ids.of(values_of(request, b"x-request-id"), trusted=trusted)
        agents = values_of(request, b"user-agent")
        # Bytes that are no UTF-8 become U+FFFD: logs and stores take text.
        user_agent = agents[0].decode("utf-8", "replace") if agents else ""
        facts = client_facts(address, user_agent, v4=self._v4, v6=self._v6)
        return RequestContext(request_id=request_id, facts=facts, arrived=self._clock.monotonic())
