"""Routes against each other, against the gateway's own paths and against themselves."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from urllib.parse import urlsplit

from gateway.settings.check_headers import check_headers
from gateway.settings.model import AuthMode, Credential, RevocationMode, Settings
from gateway.settings.problems import Location
from gateway.settings.report import Report
from gateway.settings.route import Match, Route, UpstreamTls
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
        check_headers(settings, route, here, report)
        _tls(route, here, report)
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
    seen: set[str] = set()
    for number, upstream in enumerate(route.upstream):
        place = (*here, "upstream", number, "url")
        if upstream.url in seen:
            report.error(place, f"{upstream.url} is there twice", "give it a larger weight")
        seen.add(upstream.url)
        if upstream.url.startswith("unix:"):
            continue
        parts = urlsplit(upstream.url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        on_socket = unix_path(settings.server.listen) is not None
        listen_host, listen_port = ("", None) if on_socket else split_listen(settings.server.listen)
        loops = host == listen_host or (host in _ANY_ADDRESS and listen_host in _ANY_ADDRESS)
        if loops and port == listen_port:
            report.error(place, f"{upstream.url} is the gateway itself: requests would go in a circle")


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
    if route.timeouts.total is not None and not 0.001 <= route.timeouts.total <= 86400:
        report.error((*here, "timeouts", "total"), "must be between 1ms and 24h", "null turns it off")
    rate = route.limits.rate
    if rate is not None and not 0.1 <= rate.per <= 86400:
        report.error((*here, "limits", "rate", "per"), "must be between 100ms and 24h")
    for key in ("interval", "timeout"):
        if not 0.01 <= getattr(route.health, key) <= 86400:
            report.error((*here, "health", key), "must be between 10ms and 24h")
    breaker = route.breaker
    if breaker is None:
        return
    if not 0.01 <= breaker.open_for <= 86400:
        report.error((*here, "breaker", "open_for"), "must be between 10ms and 24h")
    elif not breaker.open_for <= breaker.longest <= 86400:
        about = ((*here, "breaker", "open_for"),)
        report.error((*here, "breaker", "longest"), "must be between open_for and 24h", about=about)


def _tls(route: Route, here: Location, report: Report) -> None:
    """The files of upstream TLS can be read, and the key belongs to the certificate."""
    tls, place = route.upstream_tls, (*here, "upstream_tls")
    if tls == UpstreamTls():
        return
    if not any(upstream.url.startswith("https:") for upstream in route.upstream):
        report.error(place, "has no effect without an https upstream", "remove it", about=((*here, "upstream"),))
        return
    if tls.key_file is not None and tls.cert_file is None:
        report.error((*place, "key_file"), "needs cert_file", about=((*place, "cert_file"),))
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if tls.ca_file is not None:
        try:
            context.load_verify_locations(tls.ca_file)
        except (OSError, ValueError) as error:
            report.error((*place, "ca_file"), f"{tls.ca_file}: {_reason(error, 'is no PEM file of certificates')}")
    if tls.cert_file is not None:
        try:
            # A password given here keeps OpenSSL from asking for one on the terminal.
            context.load_cert_chain(tls.cert_file, tls.key_file, password="")
        except (OSError, ValueError) as error:
            names = tls.cert_file if tls.key_file is None else f"{tls.cert_file} with {tls.key_file}"
            wrong = "are no PEM certificate and unencrypted key that belong together"
            report.error((*place, "cert_file"), f"{names}: {_reason(error, wrong)}", about=((*place, "key_file"),))


def _reason(error: Exception, otherwise: str) -> str:
    """What to say: OpenSSL's own words help nobody."""
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return otherwise


def _later(route: Route, here: Location, report: Report) -> None:
    if Credential.COOKIE in route.credentials:
        report.later((*here, "credentials"), "cookie", "leave it at [bearer]")
    if route.require.mfa:
        report.later((*here, "require", "mfa"), "a second factor")
