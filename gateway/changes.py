"""What a new configuration changes: in sentences, which of them weaken protection, and how each is put in force.

Routes are compared by name and by what they do: a path that another route answers from now on is a change of its
protection, whichever of the two was edited.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from gateway import policies
from gateway.errors import MethodNotAllowed
from gateway.protection import Protection, protection_of, weaker_value
from gateway.proxy.route_table import RouteSpec, RouteTable
from gateway.route_protection import weaker_key
from gateway.settings.model import Settings
from gateway.settings.secrets import leaves, shown_settings

Path = tuple[str, ...]


class How(IntEnum):
    """How a change is put in force; a greater one includes the smaller ones."""

    SWAP = 1
    """In the running process, between two requests."""
    ROLL = 2
    """By new workers that take over one by one."""
    RESTART = 3
    """By a restart of the whole gateway."""


_HOW: Final[dict[Path, How]] = {
    ("server",): How.RESTART,
    ("server", "admin_token"): How.SWAP,
    ("server", "admin_token_file"): How.SWAP,
    ("server", "trusted_proxies"): How.SWAP,
    ("server", "reload"): How.SWAP,
    ("server", "worker_timeout"): How.SWAP,
    ("server", "workers"): How.ROLL,
    ("server", "cpu_affinity"): How.ROLL,
    ("server", "dns_ttl"): How.ROLL,
    ("server", "tls"): How.ROLL,
    ("server", "proxy_protocol"): How.ROLL,
    ("server", "limits"): How.ROLL,
    ("storage",): How.RESTART,
    ("tokens",): How.ROLL,
    ("sessions",): How.SWAP,
    ("sessions", "in_flight_window"): How.ROLL,  # how long a lock is waited for follows it
    ("auth",): How.SWAP,
    ("identity",): How.SWAP,
    ("throttle",): How.SWAP,
    ("passwords",): How.SWAP,
    ("passwords", "hashing"): How.ROLL,
    ("logging",): How.ROLL,
    ("logging", "level"): How.SWAP,
    ("logging", "access_log"): How.SWAP,
    ("tracing",): How.ROLL,
    ("routes",): How.SWAP,
}


@dataclass(frozen=True, slots=True)
class Change:
    """One change. `weakens`: something is protected less than before."""

    path: str
    text: str
    how: How = How.SWAP
    weakens: bool = False

    def document(self) -> dict[str, object]:
        """As it stands in the event."""
        return {"change": self.text, "weakens": True} if self.weakens else {"change": self.text}


def how(path: Path) -> How:
    """How a change at `path` is put in force; what is not known needs a restart."""
    while path:
        if path in _HOW:
            return _HOW[path]
        path = path[:-1]
    return How.RESTART


def compare(before: Settings, after: Settings, *, secrets: bool = True) -> tuple[Change, ...]:
    """Everything that differs, what weakens first; without `secrets` not what differs in a hidden value only."""
    found = [*_values(before, after, secrets), *_routes(before, after)]
    return tuple(sorted(found, key=lambda change: not change.weakens))


def merged(before: Settings, after: Settings, most: How) -> Settings:
    """`after` where `most` suffices to put it in force, else `before`. The result is not checked across sections."""
    document: dict[str, Any] = after.model_dump(mode="json")
    kept: dict[str, Any] = before.model_dump(mode="json")
    for path, _ in list(leaves(document)):
        keys = tuple(map(str, path))
        if how(keys) > most:
            _keep(document, kept, keys)
    return Settings.model_validate(document)


def _values(before: Settings, after: Settings, secrets: bool) -> Iterator[Change]:
    old, new = _flat(before), _flat(after)
    whole = (_whole(before), _whole(after)) if secrets else ({}, {})
    for path in [*old, *(path for path in new if path not in old)]:
        was, is_ = old.get(path), new.get(path)
        place = ".".join(path)
        if path[0] == "routes":
            continue
        if was == is_:
            if whole[0].get(path) != whole[1].get(path):  # what is hidden, and only that
                yield Change(place, f"{place}: changed", how(path))
            continue
        if isinstance(was, list) and isinstance(is_, list):
            yield from _members(path, place, was, is_)
        else:
            weakens = weaker_value(path, was, is_, before, after)
            yield Change(place, f"{place}: {_text(was)} → {_text(is_)}", how(path), weakens)


def _flat(settings: Settings) -> dict[Path, object]:
    return {tuple(map(str, path)): value for path, value in leaves(shown_settings(settings))}


def _whole(settings: Settings) -> dict[Path, object]:
    """With secrets; for comparing only."""
    return {tuple(map(str, path)): value for path, value in leaves(settings.model_dump(mode="json"))}


def _members(path: Path, place: str, was: Sequence[object], is_: Sequence[object]) -> Iterator[Change]:
    for value in was:
        if value not in is_:
            yield Change(place, f"{place}: - {_text(value)}", how(path))
    for value in is_:
        if value not in was:
            yield Change(place, f"{place}: + {_text(value)}", how(path), weakens=path[0] in {"server", "auth"})


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_text(inner)}' for key, inner in value.items())}}}"
    return str(value)


# -- routes


def _routes(before: Settings, after: Settings) -> Iterator[Change]:
    old = {route.name: route for route in policies.route_specs(before)}
    new = {route.name: route for route in policies.route_specs(after)}
    written = {
        name: {route.name: route.model_dump(mode="json") for route in settings.routes}
        for name, settings in (("old", before), ("new", after))
    }
    tables = RouteTable(tuple(old.values())), RouteTable(tuple(new.values()))
    for name, spec in old.items():
        if name not in new:
            yield Change("routes", f"route {name}: removed ({_match(spec)}, {protection_of(spec)})")
    for name, spec in new.items():
        if name not in old:
            text = f"route {name}: added ({_match(spec)}, {protection_of(spec)})"
            yield Change("routes", text, weakens=_opens(spec, tables[0]))
        else:
            yield from _route(name, protection_of(old[name]), protection_of(spec))
            yield from _other_keys(name, written["old"][name], written["new"][name])
    yield from _elsewhere(*tables)


def _opens(spec: RouteSpec, old: RouteTable) -> bool:
    """Whether a new route lets pass what had no route, or one that asked for more."""
    now = protection_of(spec)
    before = [_find(old, *probe) for probe in _probes([spec])]
    return any(now.open if was is None else now.weaker_than(protection_of(was)) for was in before)


def _route(name: str, was: Protection, now: Protection) -> Iterator[Change]:
    for text, weakens in now.since(was):
        yield Change("routes", f"route {name}: {text}", weakens=weakens)


_PROTECTION_KEYS: Final = frozenset({"auth", "require", "revocation", "allow_encoded_slash", "passive"})
_SHOWN: Final = frozenset(
    {"match", "upstream", "timeouts", "limits", "retries", "strip_prefix", "preserve_host", "health", "breaker"}
    | {"upstream_tls"}
)
"""Keys of a route whose values may stand in a log; of others, only that they changed."""


def _other_keys(name: str, was: dict[str, Any], now: dict[str, Any]) -> Iterator[Change]:
    for key, value in now.items():
        old = was.get(key)
        if key in _PROTECTION_KEYS or old == value:
            continue
        if key not in _SHOWN:
            yield Change("routes", f"route {name}: {key} changed", weakens=weaker_key((key,), old, value))
        elif isinstance(value, dict) and isinstance(old, dict):
            for inner in value:
                if old.get(inner) != value[inner]:
                    text = f"route {name}: {key}.{inner}: {_text(old.get(inner))} → {_text(value[inner])}"
                    weakens = weaker_key((key, inner), old.get(inner), value[inner])
                    yield Change("routes", text, weakens=weakens)
        else:
            text = f"route {name}: {key}: {_plain(old)} → {_plain(value)}"
            yield Change("routes", text, weakens=weaker_key((key,), old, value))


def _plain(value: object) -> str:
    """A list of upstreams as their URLs; anything else as it is."""
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, dict) and "url" in item for item in value):
        return _text([item["url"] for item in value])
    return _text(value)


def _match(spec: RouteSpec) -> str:
    methods = ",".join(spec.methods) + " " if spec.methods else ""
    return f"{methods}{spec.host or ''}{spec.path}"


def _elsewhere(old: RouteTable, new: RouteTable) -> Iterator[Change]:
    """Requests that another route answers from now on."""
    known = {route.name for route in old.routes}
    told = set()
    for host, path, method in _probes((*old.routes, *new.routes)):
        was, now = _find(old, host, path, method), _find(new, host, path, method)
        if now is None or (was is not None and was.name == now.name) or (was is None and now.name not in known):
            continue
        place = f"{method + ' ' if method != _ANY_METHOD else ''}{host or ''}{path}"
        text = f"{place} is answered by route {now.name} ({protection_of(now)}), not "
        text += f"{was.name} ({protection_of(was)})" if was is not None else "by none"
        if text not in told:
            told.add(text)
            before = protection_of(was) if was is not None else None
            weakens = protection_of(now).weaker_than(before) if before is not None else protection_of(now).open
            yield Change("routes", text, weakens=weakens)


_ANY_METHOD: Final = "ANY"


def _probes(routes: Iterable[RouteSpec]) -> Iterator[tuple[str | None, str, str]]:
    """A request for each place where a route begins."""
    routes = tuple(routes)
    hosts = dict.fromkeys(route.host for route in routes)
    methods = dict.fromkeys([_ANY_METHOD, *(method for route in routes for method in route.methods or ())])
    for route in routes:
        for host in hosts if route.host is None else [route.host]:
            name = "any" + host[1:] if host is not None and host.startswith("*.") else host
            for method in methods if route.methods is None else route.methods:
                yield name, route.path, method


def _find(table: RouteTable, host: str | None, path: str, method: str) -> RouteSpec | None:
    group = table.find(host, path)
    if group is None:
        return None
    try:
        return group.select(method)
    except MethodNotAllowed:
        return None


def _get(document: Any, path: Path) -> Any:
    for part in path:
        document = document.get(part) if isinstance(document, dict) else None
    return document


def _keep(document: dict[str, Any], kept: dict[str, Any], keys: Path) -> None:
    """The old value at `keys`, or that of the section around it that was not there."""
    for depth in range(1, len(keys)):
        if not isinstance(_get(kept, keys[:depth]), dict):
            keys = keys[:depth]
            break
    _put(document, keys, _get(kept, keys))


def _put(document: dict[str, Any], path: Path, value: object) -> None:
    for part in path[:-1]:
        document = document.setdefault(part, {})
    document[path[-1]] = value
