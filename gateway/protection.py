"""Which of two values protects less: of a route, and of every other setting where that can be said."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from gateway.proxy.route_table import AuthMode, RouteSpec
from gateway.settings.model import Rate, Settings
from gateway.settings.server import TlsSettings
from gateway.settings.types import split_listen, unix_path

_STRENGTH: Final = {AuthMode.NONE: 0, AuthMode.OPTIONAL: 1, AuthMode.REQUIRED: 2}


@dataclass(frozen=True, slots=True)
class Protection:
    """What a route asks of its callers."""

    auth: AuthMode
    roles: frozenset[str]
    mfa: bool
    strict: bool
    encoded_slash: bool
    passive: bool

    def __str__(self) -> str:
        text = self.auth.value
        if self.roles:
            text += f", role {' or '.join(sorted(self.roles))}"
        return text + (", second factor" if self.mfa else "")

    @property
    def open(self) -> bool:
        """Whether anybody may pass."""
        return self.auth is not AuthMode.REQUIRED

    def weaker_than(self, other: Protection) -> bool:
        """Whether somebody passes who would not have passed there."""
        return any(weakens for _, weakens in self.since(other))

    def since(self, before: Protection) -> Iterator[tuple[str, bool]]:
        """What differs from `before`, a sentence each, and whether it weakens."""
        if self.auth is not before.auth:
            yield f"{before.auth} → {self.auth}", _STRENGTH[self.auth] < _STRENGTH[before.auth]
        yield from _roles(before.roles, self.roles)
        if self.mfa != before.mfa:
            yield f"a second factor is {'needed' if self.mfa else 'no longer needed'}", not self.mfa
        if self.strict != before.strict:
            modes = ("best_effort", "strict")
            yield f"revocation: {modes[before.strict]} → {modes[self.strict]}", not self.strict
        if self.encoded_slash != before.encoded_slash:
            yield f"encoded slashes are {'let through' if self.encoded_slash else 'refused'}", self.encoded_slash
        if self.passive != before.passive:
            yield f"its requests {'no longer count' if self.passive else 'count'} as activity", not self.passive


def _roles(before: frozenset[str], now: frozenset[str]) -> Iterator[tuple[str, bool]]:
    """Any of the roles is enough, so that one more lets more people pass, but for the first."""
    for role in sorted(before - now):
        yield (f"role {role} no longer needed" if not now else f"role {role} no longer suffices"), not now
    for role in sorted(now - before):
        yield (f"role {role} needed" if not before else f"role {role} suffices too"), bool(before)


def protection_of(route: RouteSpec) -> Protection:
    """What `route` asks of its callers."""
    return Protection(
        route.auth, route.roles, route.mfa, route.strict_revocation, route.allow_encoded_slash, route.passive
    )


# -- every other setting: whether (before, after) weakens


def _in_order(*strongest_first: str) -> Callable[[Any, Any], bool]:
    return lambda was, now: strongest_first.index(now) > strongest_first.index(was)


def _turned(value: bool) -> Callable[[Any, Any], bool]:
    return lambda was, now: now is value and was is not value


def _more(was: float, now: float) -> bool:
    return now > was


def _less(was: float, now: float) -> bool:
    return now < was


def _later(was: float | None, now: float | None) -> bool:
    return now is None or (was is not None and now > was)


def _wider(was: str | None, now: str | None) -> bool:
    return now is not None and (was is None or was.endswith("." + now))


def _reachable(was: str | None, now: str | None) -> bool:
    return now is not None and not _is_loopback(now) and (was is None or _is_loopback(was))


def _appeared(was: object, now: object) -> bool:
    return was is None and now is not None


def _gone(was: object, now: object) -> bool:
    return now is None


def _any_rate(was: Rate, now: Rate) -> bool:
    return now.attempts > was.attempts or now.attempts / now.per > was.attempts / was.per


def _wider_limit(was: int, now: int) -> bool:
    """A most where 0 means that there is none."""
    return was != 0 and (now == 0 or now > was)


def _looser_mode(was: str, now: str) -> bool:
    return bool(int(now, 8) & ~int(was, 8))


def _looser_tls(was: TlsSettings | None, now: TlsSettings | None) -> bool:
    if was is None or now is None:
        return was is not None
    older = was.min_version == "1.3" and now.min_version != "1.3"
    return older or (was.client_ca_file is not None and now.client_ca_file is None)


_WEAKER: Final[dict[tuple[str, ...], Callable[[Any, Any], bool]]] = {
    ("server", "admin_listen"): _reachable,
    ("server", "admin_token"): _appeared,
    ("server", "listen"): _reachable,
    ("server", "socket_mode"): _looser_mode,
    ("server", "tls"): _looser_tls,
    ("server", "limits", "connections"): _wider_limit,
    ("server", "limits", "connections_per_client"): _wider_limit,
    ("server", "limits", "header_bytes"): _more,
    ("server", "limits", "headers"): _more,
    ("server", "limits", "header_time"): _more,
    ("server", "limits", "keep_alive"): _more,
    ("server", "limits", "stall"): _more,
    ("server", "limits", "body_rate"): _less,
    ("server", "limits", "body_window"): _more,
    ("tokens", "access_ttl"): _more,
    ("tokens", "key_rotation"): _more,
    ("sessions", "idle_ttl"): _more,
    ("sessions", "absolute_ttl"): _more,
    ("sessions", "in_flight_window"): _more,
    ("sessions", "late_window"): _more,
    ("sessions", "receipt_after"): _more,
    ("sessions", "on_reuse"): _in_order("revoke_user", "revoke_session"),
    ("sessions", "binding", "device"): _in_order("enforce", "alert", "off"),
    ("sessions", "binding", "ip"): _in_order("enforce", "alert", "off"),
    ("sessions", "binding", "ip_prefix", "v4"): _less,
    ("sessions", "binding", "ip_prefix", "v6"): _less,
    ("sessions", "reauth_after"): _later,
    ("auth", "cookie", "secure"): _turned(value=False),
    ("auth", "cookie", "same_site"): _in_order("strict", "lax", "none"),
    ("auth", "cookie", "domain"): _wider,
    ("auth", "body_tokens"): _turned(value=True),
    ("identity", "headers"): _gone,
    ("identity", "assertion", "header"): _gone,
    ("identity", "forward_authorization"): _turned(value=True),
    ("throttle", "enabled"): _turned(value=False),
    ("throttle", "pair"): _any_rate,
    ("throttle", "network"): _any_rate,
    ("throttle", "account"): _any_rate,
    ("throttle", "forged_refresh"): _any_rate,
    ("throttle", "pair_under_attack"): _more,
    ("throttle", "longest_wait"): _less,
    ("passwords", "min_length"): _less,
    ("logging", "access_log"): _turned(value=False),
}


def weaker_value(path: tuple[str, ...], was: object, now: object, before: Settings, after: Settings) -> bool:
    """Whether the change at `path` protects less. `was` and `now` are as written; None when a mapping lacks the key."""
    if path[:2] == ("identity", "headers"):
        return was is not None and now is None  # no longer removed from what clients send
    while path and path not in _WEAKER:
        path = path[:-1]
    return bool(path) and _WEAKER[path](_value(before, path), _value(after, path))


def _value(settings: Settings, path: tuple[str, ...]) -> Any:
    found: Any = settings
    for part in path:
        found = getattr(found, part)
    return str(found) if isinstance(found, str) else found


def _is_loopback(address: str) -> bool:
    if unix_path(address) is not None:
        return True
    try:
        host, _ = split_listen(address)
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
