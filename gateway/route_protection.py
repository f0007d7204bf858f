"""Whether another value of a route's key protects less, for keys that say nothing about callers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final


def _zero_is_none(was: int, now: int) -> bool:
    """A limit where 0 means that there is none."""
    return was != 0 and (now == 0 or now > was)


def _more(was: float, now: float) -> bool:
    return now > was


def _more_or_none(was: float | None, now: float | None) -> bool:
    return was is not None and (now is None or now > was)


def _rate(was: dict[str, Any] | None, now: dict[str, Any] | None) -> bool:
    """Rates whose times differ are not compared: longer bursts or more in the long run, somebody may do more."""
    return was is not None and (now is None or now["per"] != was["per"] or now["requests"] > was["requests"])


def _fewer_names(was: dict[str, Any], now: dict[str, Any]) -> bool:
    """A header that is no longer set or removed passes as whoever sent it wrote it."""
    return bool(_names(was) - _names(now))


def _names(changes: dict[str, Any]) -> set[str]:
    return {name.lower() for name in (*changes["set"], *changes["remove"])}


def _unencrypted(was: list[dict[str, Any]], now: list[dict[str, Any]]) -> bool:
    """A backend that is now asked in the clear, where all were asked over TLS."""
    return all(_is_tls(one) for one in was) and not all(_is_tls(one) for one in now)


def _is_tls(upstream: dict[str, Any]) -> bool:
    return str(upstream["url"]).startswith("https:")


def _gone(was: object, now: object) -> bool:
    return was is not None and now is None


_WEAKER: Final[dict[tuple[str, ...], Callable[[Any, Any], bool]]] = {
    ("upstream",): _unencrypted,
    ("upstream_tls", "ca_file"): _gone,  # all authorities of the system instead of one
    ("request_headers",): _fewer_names,
    ("response_headers",): _fewer_names,
    ("limits", "body"): _more,
    ("limits", "response_body"): _more_or_none,
    ("limits", "rate"): _rate,
    ("limits", "concurrency"): _zero_is_none,
    ("limits", "concurrency_per_client"): _zero_is_none,
}


def weaker_key(path: tuple[str, ...], was: Any, now: Any) -> bool:
    """Whether the change of a route's key from `was` to `now`, as JSON holds them, protects less."""
    weaker = _WEAKER.get(path)
    return weaker is not None and weaker(was, now)
