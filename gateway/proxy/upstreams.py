"""Which backend a request goes to: each route's endpoints in turn, by weight. Routes share endpoints by URL."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import cycle
from typing import TYPE_CHECKING

from gateway.proxy.endpoint import Endpoint
from gateway.proxy.response_head import ResponseRules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.proxy.route_table import RouteSpec, UpstreamSpec


class Upstreams:
    """The endpoints of all routes. Names of routes are unique."""

    __slots__ = ("_endpoints", "_turns")

    def __init__(self, routes: Iterable[RouteSpec], rules: ResponseRules) -> None:
        self._endpoints: dict[str, Endpoint] = {}
        self._turns: dict[str, Iterator[Endpoint]] = {}
        for route in routes:
            for spec in route.upstreams:
                if spec.url not in self._endpoints:
                    self._endpoints[spec.url] = Endpoint(spec.url, rules)
            self._turns[route.name] = cycle([self._endpoints[url] for url in spread(route.upstreams)])

    def choose(self, route: RouteSpec) -> Endpoint:
        """The endpoint whose turn it is."""
        return next(self._turns[route.name])

    def retire(self) -> None:
        """Close what is idle now, and everything else when its request has ended."""
        for endpoint in self._endpoints.values():
            endpoint.retire()

    def close(self) -> None:
        """Close every connection."""
        for endpoint in self._endpoints.values():
            endpoint.close()

    @property
    def open_connections(self) -> int:
        """How many connections stand."""
        return sum(endpoint.open_connections for endpoint in self._endpoints.values())


def spread(specs: Iterable[UpstreamSpec]) -> list[str]:
    """One round of turns by weight, as evenly mixed as nginx's smooth round-robin does it."""
    specs = tuple(specs)
    common = math.gcd(*(spec.weight for spec in specs))
    weights = {spec.url: spec.weight // common for spec in specs}
    total = sum(weights.values())
    credit = dict.fromkeys(weights, 0)
    turns = []
    for _ in range(total):
        for url, weight in weights.items():
            credit[url] += weight
        best = max(credit, key=credit.__getitem__)
        credit[best] -= total
        turns.append(best)
    return turns
