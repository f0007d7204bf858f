"""Routes against each other, against the gateway's own paths and against themselves."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from gateway.settings.model import AuthMode, Credential, RevocationMode, Settings
from gateway.settings.problems import Location
from gateway.settings.report import Report
from gateway.settings.route import Health, Match, Route
from gateway.settings.types import split_listen, unix_path

JWKS_PATH = "/.well-known/jwks.json"
_ANY_ADDRESS = {"", "0.0.0.0", "::", "127.0.0.1", "::1", "localhost"}


def check_routes(settings: Settings, index: Sequence[int], report: Report) -> None:
    """Every check of `routes`. `index` holds the place in the file of each route."""
    names: dict[str, int] = {}
    matches: list[tuple[int, Match]] = []
    for place, route in zip(index, settings.routes, strict=True):
        here: Location = ("routes", place)
        if route.name in names:
            report.error((*here, "name"), f"{route.name!r} is the name of routes[{names[route.name]}] too")
        names.setdefault(route.name, place)
        for other, match in matches:
            if _same(match, route.match):
                report.error(
                    (*here, "match"), f"routes[{other}] matches the same requests", "this one is never reached"
                )
                break
        matches.append((place, route.match))
        _reserved(settings, route, here, report)
        _upstream(settings, route, here, report)
        _access(route, here, report)
        _limits(route, here, report)
        _later(route, here, report)


def _same(one: Match, other: Match) -> bool:
    if (one.host, one.path) != (other.host, other.path):
        return False
    return not set(one.methods or {None}).isdisjoint(other.methods or {None})


def _reserved(settings: Settings, route: Route, here: Location, report: Report) -> None:
    prefix, path = settings.auth.prefix, route.match.path
    if path == prefix or path.startswith(prefix + "/"):
        message = f"{path} belongs to the gateway's own API (auth.prefix: {prefix})"
        report.error(
            (*here, "match", "path"),
            message,
            "choose another path, or another auth.prefix",
            about=(("auth", "prefix"),),
        )
    elif path == JWKS_PATH:
        report.error((*here, "match", "path"), f"{path} is answered by the gateway itself")


def _upstream(settings: Settings, route: Route, here: Location, report: Report) -> None:
    for number, upstream in enumerate(route.upstream):
        place = (*here, "upstream", number, "url")
        parts = urlsplit(upstream.url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        on_socket = unix_path(settings.server.listen) is not None
        listen_host, listen_port = ("", None) if on_socket else split_listen(settings.server.listen)
        loops = host == listen_host or (host in _ANY_ADDRESS and listen_host in _ANY_ADDRESS)
        if loops and port == listen_port:
            report.error(place, f"{upstream.url} is the gateway itself: requests would go in a circle")
    if len(route.upstream) > 1:
        report.later((*here, "upstream", 1), "more than one upstream per route", "name one")
    elif route.upstream[0].weight != 1:
        report.later((*here, "upstream", 0, "weight"), "a weight")


def _access(route: Route, here: Location, report: Report) -> None:
    about = ((*here, "auth"),)
    if route.require.roles and route.auth is not AuthMode.REQUIRED:
        message = f"roles are only asked for with auth: required, not {route.auth.value}"
        report.error((*here, "require", "roles"), message, about=about)
    if route.auth is AuthMode.NONE:
        if route.revocation is RevocationMode.STRICT:
            report.error((*here, "revocation"), "has no effect with auth: none", "remove it", about=about)
        if route.passive:
            report.error((*here, "passive"), "has no effect with auth: none", "remove it", about=about)
    if route.strip_prefix and not route.match.path.endswith("/"):
        report.error(
            (*here, "strip_prefix"), "needs a prefix: a path that ends in /", about=((*here, "match", "path"),)
        )


def _limits(route: Route, here: Location, report: Report) -> None:
    for key in ("connect", "response", "idle"):
        if not 0.001 <= getattr(route.timeouts, key) <= 86400:
            report.error((*here, "timeouts", key), "must be between 1ms and 24h")
    rate = route.limits.rate
    if rate is not None and not 0.1 <= rate.per <= 86400:
        report.error((*here, "limits", "rate", "per"), "must be between 100ms and 24h")


def _later(route: Route, here: Location, report: Report) -> None:
    if Credential.COOKIE in route.credentials:
        report.later((*here, "credentials"), "cookie", "leave it at [bearer]")
    if route.require.mfa:
        report.later((*here, "require", "mfa"), "a second factor")
    if route.health.path is not None:
        report.later((*here, "health", "path"), "an active health check", "leave it null")
    elif route.health != Health():
        report.later((*here, "health", "interval"), "an active health check", "remove it")
