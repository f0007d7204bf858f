"""Which headers a route may set and remove: none that frame, route or authenticate, nor the gateway's own."""

from __future__ import annotations

from gateway.settings.model import Settings
from gateway.settings.problems import Location
from gateway.settings.report import Report
from gateway.settings.route import HeaderChanges, Route

_BOTH = frozenset(
    {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings", "content-length"}
    | {"content-encoding", "host", "authorization", "x-request-id", "expect", "proxy"}
)
_REQUEST = _BOTH | {"forwarded", "x-real-ip"}
_PREFIXES = ("proxy-", "sec-websocket-", "x-forwarded-")
# These may be removed, but one line of the configuration cannot stand in for what is in them.
_NEVER_SET = frozenset({"cookie", "set-cookie"})


def fold(name: str) -> str:
    """A header name as every backend could read it: lower case, all but letters and digits as `-`."""
    return "".join(char if char.isalnum() else "-" for char in name.lower())


def check_headers(settings: Settings, route: Route, here: Location, report: Report) -> None:
    """The header changes of one route, which stands at `here`."""
    identity = {fold(name) for name in settings.identity.headers}
    _check(route.request_headers, _REQUEST | identity, (*here, "request_headers"), report)
    _check(route.response_headers, _BOTH | identity, (*here, "response_headers"), report)


def _check(changes: HeaderChanges, owned: frozenset[str] | set[str], here: Location, report: Report) -> None:
    seen: dict[str, str] = {}
    names = [((*here, "set", name), name) for name in changes.set]
    names += [((*here, "remove", at), name) for at, name in enumerate(changes.remove)]
    for place, name in names:
        folded = fold(name)
        if folded in owned or folded.startswith(_PREFIXES):
            report.error(place, f"{name} belongs to HTTP or to the gateway")
        elif folded in _NEVER_SET and name in changes.set:
            report.error(place, f"{name} can be removed but not set")
        elif folded in seen:
            report.error(place, f"{name} and {seen[folded]} are the same header to many backends", "keep one of them")
        seen.setdefault(folded, name)
