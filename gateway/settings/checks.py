"""What sections promise each other: contradictions, collisions, and values without effect in this version."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from gateway.settings.check_database import check_database
from gateway.settings.check_headers import fold
from gateway.settings.check_redis import check_redis
from gateway.settings.check_routes import check_routes
from gateway.settings.check_server import check_server, is_loopback
from gateway.settings.model import SameSite, SessionsIn, Settings
from gateway.settings.report import Report

# What the gateway or HTTP itself puts there; compared in folded form.
_RESERVED_HEADERS = frozenset(
    {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host", "content-length", "expect"}
    | {"content-type", "content-encoding", "date", "authorization", "cookie", "set-cookie", "forwarded", "origin"}
    | {"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id", "traceparent", "tracestate"}
    | {"referer", "user-agent", "accept", "accept-encoding", "range"}
)


def run(settings: Settings, route_index: Sequence[int], *, listener_files: bool = True) -> Report:
    """Every check, those of the listener's files on demand.

    `route_index` holds the place in the file of each of `settings.routes`."""
    report = Report()
    check_server(settings, report, files=listener_files)
    _storage(settings, report)
    _lifetimes(settings, report)
    _windows(settings, report)
    _cookie(settings, report)
    _identity(settings, report)
    _throttle(settings, report)
    _tracing(settings, report)
    check_routes(settings, route_index, report)
    return report


def _storage(settings: Settings, report: Report) -> None:
    storage = settings.storage
    check_database(storage, report)
    check_redis(storage, report)
    if storage.sessions is not SessionsIn.DATABASE:
        report.later(("storage", "sessions"), "keeping sessions in Redis", "leave it at database")


def _lifetimes(settings: Settings, report: Report) -> None:
    tokens, sessions = settings.tokens, settings.sessions
    access, idle, absolute = ("tokens", "access_ttl"), ("sessions", "idle_ttl"), ("sessions", "absolute_ttl")
    if tokens.access_ttl < 1:
        report.error(access, "must be at least 1s")
    if tokens.access_ttl > 86400:
        report.error(
            access, "must be at most 24h", "access tokens are short-lived; sessions.idle_ttl is what users feel"
        )
    if tokens.access_ttl >= sessions.idle_ttl:
        report.error(
            access, "must be shorter than sessions.idle_ttl", "else a session dies before its token", about=(idle,)
        )
    if sessions.idle_ttl > sessions.absolute_ttl:
        report.error(idle, "must not be longer than sessions.absolute_ttl", about=(absolute,))
    if tokens.key_rotation < tokens.access_ttl:
        report.error(("tokens", "key_rotation"), "must not be shorter than tokens.access_ttl", about=(access,))
    reauth = sessions.reauth_after
    if reauth is not None and reauth <= 0:
        report.error(("sessions", "reauth_after"), "must be longer than 0", "null turns it off")


def _windows(settings: Settings, report: Report) -> None:
    sessions = settings.sessions
    if sessions.canary_interval and not 1 <= sessions.canary_interval <= 3600:
        report.error(("sessions", "canary_interval"), "must be between 1s and 1h", "0s turns it off")
    window, late = ("sessions", "in_flight_window"), ("sessions", "late_window")
    receipt = ("sessions", "receipt_after")
    if sessions.in_flight_window > 60:
        report.error(window, "must be between 0s and 60s")
    if sessions.late_window < sessions.in_flight_window:
        report.error(late, "must not be shorter than sessions.in_flight_window", about=(window,))
    if sessions.late_window >= sessions.idle_ttl:
        report.error(late, "must be shorter than sessions.idle_ttl", about=(("sessions", "idle_ttl"),))
    if sessions.receipt_after >= settings.tokens.access_ttl:
        report.error(
            receipt,
            "must be shorter than tokens.access_ttl",
            "else no access token lives long enough to prove that it arrived",
            about=(("tokens", "access_ttl"),),
        )


def _cookie(settings: Settings, report: Report) -> None:
    cookie, public = settings.auth.cookie, urlsplit(settings.server.public_url)
    section, url = ("auth", "cookie"), ("server", "public_url")
    host = public.hostname or ""
    if cookie.same_site is SameSite.NONE and not cookie.secure:
        report.error(
            (*section, "same_site"),
            "same_site: none needs secure: true",
            "browsers refuse it",
            about=((*section, "secure"),),
        )
    if not cookie.secure and public.scheme == "https":
        report.warn((*section, "secure"), "secure: false sends the refresh cookie over plain http too", "remove it")
    if cookie.secure and public.scheme == "http" and not is_loopback(host) and not host.endswith(".localhost"):
        report.warn(
            url, "browsers do not keep a Secure cookie from plain http", "use https, or auth.cookie.secure: false"
        )
    if cookie.domain is not None and host != cookie.domain and not host.endswith("." + cookie.domain):
        report.error(
            (*section, "domain"),
            f"{cookie.domain} is neither the host of server.public_url ({host}) nor a parent domain of it",
            about=(url,),
        )
    elif cookie.domain is not None and "." not in cookie.domain:
        report.error((*section, "domain"), "browsers refuse cookies for a single-label domain")


def _identity(settings: Settings, report: Report) -> None:
    seen: dict[str, str] = {}
    for name in settings.identity.headers:
        place, folded = ("identity", "headers", name), fold(name)
        if folded in _RESERVED_HEADERS or folded.startswith(("proxy-", "sec-")):
            report.error(place, f"{name} has a meaning of its own in HTTP and cannot carry identity")
        elif folded in seen:
            report.error(place, f"{name} and {seen[folded]} are the same header to many backends", "keep one of them")
        seen.setdefault(folded, name)
    assertion = settings.identity.assertion
    if assertion.header is not None:
        report.later(("identity", "assertion", "header"), "a signed assertion", "leave it null")
    elif assertion.ttl != type(assertion)().ttl:
        report.later(("identity", "assertion", "ttl"), "a signed assertion", "remove it")


def _throttle(settings: Settings, report: Report) -> None:
    for key in ("pair", "network", "account", "forged_refresh"):
        if not 1 <= getattr(settings.throttle, key).per <= 86400:
            report.error(("throttle", key, "per"), "must be between 1s and 24h")
    if not 1 <= settings.throttle.longest_wait <= 86400:
        report.error(("throttle", "longest_wait"), "must be between 1s and 24h")


def _tracing(settings: Settings, report: Report) -> None:
    tracing = settings.tracing
    if not 0.1 <= tracing.timeout <= 60:
        report.error(("tracing", "timeout"), "must be between 100ms and 60s")
    if tracing.endpoint is None or tracing.headers is None:
        return
    endpoint = urlsplit(tracing.endpoint)
    if endpoint.scheme == "http" and not is_loopback(endpoint.hostname or ""):
        report.warn(("tracing", "endpoint"), "tracing.headers cross the network in the clear", "use https")
