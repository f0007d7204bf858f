"""The endpoints of all routes, their health checks, and who takes which request. Routes share endpoints."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway import tasks
from gateway.proxy import health
from gateway.proxy.balancer import Balancer, Member
from gateway.proxy.breaker import Breaker, BreakerPolicy
from gateway.proxy.endpoint import Changed, Endpoint
from gateway.proxy.health import HealthPolicy
from gateway.proxy.resolver import DEFAULT_TTL, Lookup, system_lookup
from gateway.proxy.response_head import ResponseRules
from gateway.proxy.upstream_tls import TlsContexts, UpstreamTls

if TYPE_CHECKING:
    from gateway.proxy.route_table import RouteSpec

_NO_TLS: Final = UpstreamTls()

Key = tuple[str, UpstreamTls, HealthPolicy | None, BreakerPolicy | None]


@dataclass(frozen=True, slots=True)
class Plan:
    """Routes, the endpoints they go to (each with a route that does), and the TLS contexts of these."""

    routes: tuple[RouteSpec, ...]
    wanted: dict[Key, str]
    contexts: dict[UpstreamTls, TlsContexts]


class Upstreams:
    """The endpoints of all routes; names of routes are unique. Routes that name a backend with the same TLS, health and
    breaker settings share its connections and its state.

    `changed` is told of endpoints that go down or come up, `tls_failed` of TLS files that changed and cannot be used.
    """

    __slots__ = (
        "_balancers",
        "_changed",
        "_checks",
        "_choose",
        "_contexts",
        "_dns_ttl",
        "_endpoints",
        "_leaving",
        "_lookup",
        "_rules",
        "_started",
        "_tls_failed",
    )

    def __init__(
        self,
        routes: Iterable[RouteSpec],
        rules: ResponseRules,
        *,
        changed: Changed | None = None,
        tls_failed: Callable[[str], None] | None = None,
        lookup: Lookup = system_lookup,
        dns_ttl: float = DEFAULT_TTL,
        choose: Callable[[], float] = random.random,
    ) -> None:
        self._rules = rules
        self._changed = changed
        self._tls_failed = tls_failed
        self._lookup = lookup
        self._dns_ttl = dns_ttl
        self._choose = choose
        self._started = False
        self._endpoints: dict[Key, Endpoint] = {}
        self._balancers: dict[str, Balancer] = {}
        self._checks: dict[Endpoint, asyncio.Task[object]] = {}
        self._contexts: dict[UpstreamTls, TlsContexts] = {}
        self._leaving: list[Endpoint] = []
        self.replace(self.plan(routes))

    def choose(self, route: RouteSpec, now: float) -> Endpoint:
        """The endpoint for a request at monotonic `now`. Raises `TemporarilyUnavailable` when none is healthy."""
        balancer = self._balancers[route.name]
        return balancer.only or balancer.choose(now)

    def another(self, route: RouteSpec, tried: Endpoint, now: float) -> Endpoint | None:
        """An endpoint for what failed at `tried`, None when there is no other."""
        balancer = self._balancers.get(route.name)
        return balancer.another(tried, now) if balancer is not None else None

    def start(self) -> None:
        """Begin the health checks. Needs a running loop."""
        self._started = True
        for key, endpoint in self._endpoints.items():
            self._check(key, endpoint)

    def plan(self, routes: Iterable[RouteSpec]) -> Plan:
        """What `replace` takes for other routes: all that can go wrong goes wrong here. Raises `CannotStart`."""
        routes = tuple(routes)
        wanted: dict[Key, str] = {}
        for route in routes:
            for spec in route.upstreams:
                wanted.setdefault(key_of(route, spec.url), route.name)
        contexts = {key[1]: self._context(key[1]) for key in wanted if key[0].startswith("https:")}
        return Plan(routes, wanted, contexts)

    def replace(self, plan: Plan, rules: ResponseRules | None = None) -> None:
        """Serve other routes from now on, by `rules` if they are others too. Endpoints that stay keep their connections
        and their health; the others finish what is under way.
        """
        self._rules = rules or self._rules
        self._contexts = plan.contexts
        for key, name in plan.wanted.items():
            if key not in self._endpoints:
                self._endpoints[key] = self._endpoint(key)
            self._endpoints[key].route = name
            self._endpoints[key].rules = self._rules
        for balancer in self._balancers.values():
            balancer.leave()
        self._balancers = {route.name: self._balancer(route) for route in plan.routes}
        for key in [key for key in self._endpoints if key not in plan.wanted]:
            self._remove(self._endpoints.pop(key))
        self._leaving = [endpoint for endpoint in self._leaving if endpoint.open_connections]
        if self._started:
            self.start()

    def close(self) -> None:
        """Close every connection and end the health checks."""
        for task in self._checks.values():
            task.cancel()
        self._checks.clear()
        self._started = False
        for endpoint in (*self._endpoints.values(), *self._leaving):
            endpoint.close()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Those that routes go to."""
        return tuple(self._endpoints.values())

    @property
    def open_connections(self) -> int:
        """How many connections stand, those to endpoints that are gone from the routes included."""
        return sum(endpoint.open_connections for endpoint in (*self._endpoints.values(), *self._leaving))

    def _context(self, tls: UpstreamTls) -> TlsContexts:
        return self._contexts.get(tls) or TlsContexts(tls, self._tls_failed)

    def _endpoint(self, key: Key) -> Endpoint:
        url, tls, policy, _ = key
        endpoint = Endpoint(
            url,
            self._rules,
            self._contexts.get(tls),
            lookup=self._lookup,
            dns_ttl=self._dns_ttl,
            changed=self._changed,
        )
        endpoint.check_interval = policy.interval if policy is not None else 0.0
        return endpoint

    def _balancer(self, route: RouteSpec) -> Balancer:
        members = []
        policy = route.breaker
        strict = policy is not None and policy.last
        for spec in route.upstreams:
            endpoint = self._endpoints[key_of(route, spec.url)]
            if policy is not None and endpoint.breaker is None and (strict or len(route.upstreams) > 1):
                endpoint.breaker = Breaker(policy)
            members.append(Member(endpoint, spec.weight))
        return Balancer(members, strict=strict)

    def _remove(self, endpoint: Endpoint) -> None:
        check = self._checks.pop(endpoint, None)
        if check is not None:
            check.cancel()
        endpoint.retire()
        self._leaving.append(endpoint)

    def _check(self, key: Key, endpoint: Endpoint) -> None:
        policy = key[2]
        if policy is not None and endpoint not in self._checks:
            work = health.watch(endpoint, policy, endpoint.checked, self._choose)
            self._checks[endpoint] = tasks.spawn(work, name="health check")


def key_of(route: RouteSpec, url: str) -> Key:
    """What makes an endpoint the same one for several routes."""
    return url, route.tls if url.startswith("https:") else _NO_TLS, route.health, route.breaker
