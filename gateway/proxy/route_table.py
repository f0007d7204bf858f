"""Routes, compiled at load: a host before any path length, then the longest path, then the method."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gateway.errors import MethodNotAllowed
from gateway.proxy.breaker import BreakerPolicy
from gateway.proxy.header_rules import HeaderRules
from gateway.proxy.health import HealthPolicy
from gateway.proxy.request_limits import RequestLimits
from gateway.proxy.upstream_tls import UpstreamTls

JWKS_PATH: Final = "/.well-known/jwks.json"
_DEFAULT_TLS: Final = UpstreamTls()
_DEFAULT_BREAKER: Final = BreakerPolicy()


class AuthMode(StrEnum):
    """Whether a route asks for an access token."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class UpstreamSpec:
    """A backend: `http(s)://host[:port][/path]` or `unix:///socket[:/path]`, and its share of the requests."""

    url: str
    weight: int = 1


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """One route as configured. Durations in seconds, `body_limit` in bytes.

    `host` is None (any), a name, or `*.example.com` (any name below it); a `path` that ends in `/` is a prefix,
    otherwise it is exact; `methods` is None for all. `roles`: any of them. None for `total_timeout`, `response_limit`
    and the header rules: there is none.
    """

    name: str
    path: str
    upstreams: tuple[UpstreamSpec, ...]
    host: str | None = None
    methods: tuple[str, ...] | None = None
    strip_prefix: bool = False
    preserve_host: bool = True
    auth: AuthMode = AuthMode.REQUIRED
    roles: frozenset[str] = frozenset()
    mfa: bool = False
    strict_revocation: bool = False
    passive: bool = False
    allow_encoded_slash: bool = False
    connect_timeout: float = 5.0
    response_timeout: float = 30.0
    idle_timeout: float = 60.0
    body_limit: int = 100 * 1024 * 1024
    retries: int = 1
    total_timeout: float | None = None
    response_limit: int | None = None
    request_headers: HeaderRules | None = None
    response_headers: HeaderRules | None = None
    tls: UpstreamTls = _DEFAULT_TLS
    health: HealthPolicy | None = None
    breaker: BreakerPolicy | None = _DEFAULT_BREAKER
    limits: RequestLimits | None = None

    @property
    def is_prefix(self) -> bool:
        """Whether `path` stands for everything below it."""
        return self.path.endswith("/")

    def sent_path(self, path: str) -> str:
        """What of a matched path goes to the upstream."""
        if self.strip_prefix and self.is_prefix:
            return path[len(self.path) - 1 :]
        return path


class RouteGroup:
    """The routes of one host and path; they differ by method."""

    __slots__ = ("_any", "_by_method")

    def __init__(self) -> None:
        self._by_method: dict[str, RouteSpec] = {}
        self._any: RouteSpec | None = None

    def add(self, route: RouteSpec) -> None:
        """Let `route` take its methods; of two that claim one method the first stays."""
        if route.methods is None:
            self._any = self._any or route
        for method in route.methods or ():
            self._by_method.setdefault(method, route)

    def select(self, method: str) -> RouteSpec:
        """The route for `method`; raises `MethodNotAllowed` with those that would do."""
        route = self._by_method.get(method) or self._any
        if route is None:
            raise MethodNotAllowed(tuple(self._by_method))
        return route


class _Paths:
    """The paths of one host rule."""

    __slots__ = ("_exact", "_prefixes")

    def __init__(self) -> None:
        self._exact: dict[str, RouteGroup] = {}
        self._prefixes: dict[str, RouteGroup] = {}

    def add(self, route: RouteSpec) -> None:
        (self._prefixes if route.is_prefix else self._exact).setdefault(route.path, RouteGroup()).add(route)

    def find(self, path: str) -> RouteGroup | None:
        if (group := self._exact.get(path)) is not None:
            return group
        if self._prefixes:
            at = len(path)
            while (at := path.rfind("/", 0, at)) >= 0:
                if (group := self._prefixes.get(path[: at + 1])) is not None:
                    return group
        return None


class RouteTable:
    """Finds the routes of a request by host name and normalised path."""

    __slots__ = ("_any", "_hosts", "_suffixes", "routes")

    def __init__(self, routes: Sequence[RouteSpec]) -> None:
        self.routes = tuple(routes)
        self._any = _Paths()
        self._hosts: dict[str, _Paths] = {}
        suffixes: dict[str, _Paths] = {}
        for route in routes:
            self._paths_for(route.host, suffixes).add(route)
        self._suffixes = sorted(suffixes.items(), key=lambda entry: -len(entry[0]))

    def _paths_for(self, host: str | None, suffixes: dict[str, _Paths]) -> _Paths:
        if host is None:
            return self._any
        name = host.lower()
        if name.startswith("*."):
            return suffixes.setdefault(name[1:], _Paths())
        return self._hosts.setdefault(name, _Paths())

    def find(self, host: str | None, path: str) -> RouteGroup | None:
        """The group that matches best, or None. `host` is lower case without port, None when the request has none."""
        for paths in self._candidates(host):
            if (group := paths.find(path)) is not None:
                return group
        return None

    def _candidates(self, host: str | None) -> Iterator[_Paths]:
        if host is not None:
            if (paths := self._hosts.get(host)) is not None:
                yield paths
            for suffix, paths in self._suffixes:
                if host.endswith(suffix) and len(host) > len(suffix):
                    yield paths
        yield self._any


@dataclass(frozen=True, slots=True)
class RouteProblem:
    """What is wrong with the route at `index` of the configuration."""

    index: int
    text: str


def find_problems(routes: Sequence[RouteSpec], reserved_prefix: str) -> list[RouteProblem]:
    """Everything that makes a table ambiguous: equal matches, and paths the gateway answers itself."""
    problems = []
    taken: dict[tuple[str | None, str, str | None], int] = {}
    for index, route in enumerate(routes):
        if is_reserved(route.path, reserved_prefix) or is_reserved(route.path.rstrip("/"), reserved_prefix):
            problems.append(RouteProblem(index, f"path {route.path} belongs to the gateway itself"))
        others = {taken.setdefault(key, index) for key in _keys(route)} - {index}
        if others:
            text = f"matches the same requests as route {routes[min(others)].name!r}"
            problems.append(RouteProblem(index, text))
    return problems


def _keys(route: RouteSpec) -> Iterable[tuple[str | None, str, str | None]]:
    host = route.host.lower() if route.host is not None else None
    return [(host, route.path, method) for method in route.methods or (None,)]


def is_reserved(path: str, prefix: str) -> bool:
    """Whether the gateway answers a normalised path itself, `prefix` being where its API lives."""
    return (path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in {"", "/"}) or path == JWKS_PATH
