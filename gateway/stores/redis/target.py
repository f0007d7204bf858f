"""What a Redis URL asks for. Read without the driver: the configuration is checked where that is not installed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

_PORT = 6379
_SENTINEL_PORT = 26379
_FORMS = (
    "write redis://host:6379/0, rediss:// for TLS, unix:///path/of/redis.sock,"
    " redis+sentinel://host1:26379,host2:26379/service/0 or redis+cluster://host1:6379,host2:6379"
)
_SENTINEL_KEYS = frozenset({"sentinel_username", "sentinel_password"})


class Kind(StrEnum):
    """How the servers behind a URL belong together."""

    SINGLE = "single"
    SOCKET = "socket"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Target:
    """Where Redis is. `hosts`: of the server, the sentinels or some nodes of the cluster; a socket has `path` instead.

    `service` is the name the sentinels know; the `sentinel_` pair logs in to them, the other one to Redis.
    """

    kind: Kind
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    db: int = 0
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    service: str = ""
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)

    @property
    def label(self) -> str:
        """Where it is, without what opens it."""
        if self.kind is Kind.SOCKET:
            return self.path
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return f"{hosts}/{self.service}" if self.service else hosts


def target_of(url: str) -> Target:
    """The target of a URL. ValueError says what is wrong with it; its text never holds a part of the URL."""
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise ValueError(f"cannot be read; {_FORMS}") from None
    match = re.fullmatch(r"(redis|rediss|unix)(?:\+(sentinel|cluster))?", parts.scheme)
    if match is None or not url.startswith(f"{parts.scheme}://") or (match[1] == "unix" and match[2]):
        raise ValueError(f"is not a Redis URL; {_FORMS}")
    if parts.fragment or "@" in parts.path + parts.query:
        raise ValueError("has a character that must be percent-encoded in its user name or password")
    kind = Kind.SOCKET if match[1] == "unix" else Kind(match[2] or "single")
    allowed = {Kind.SOCKET: {"db"}, Kind.SENTINEL: _SENTINEL_KEYS}.get(kind, frozenset())
    if query.keys() - allowed:
        raise ValueError(f"has a query that is not understood; {_FORMS}")
    return _made(kind, parts, query, tls=match[1] == "rediss")


def _made(kind: Kind, parts: SplitResult, query: dict[str, str], *, tls: bool) -> Target:
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    login = (unquote(user) or None, unquote(password) or None)
    path = unquote(parts.path)
    if kind is Kind.SOCKET:
        if hosts or not path.strip("/"):
            raise ValueError("names no socket; write unix:///path/of/redis.sock")
        return Target(kind, (), path, _db(query.get("db", "0")), False, *login)
    service = ""
    if kind is Kind.SENTINEL:
        service, _, path = path.strip("/").partition("/")
        if not service:
            raise ValueError("names no service; write redis+sentinel://host1:26379,host2:26379/service/0")
    port = _SENTINEL_PORT if kind is Kind.SENTINEL else _PORT
    entries = tuple(_host(entry, port) for entry in hosts.split(","))
    if kind is Kind.SINGLE and len(entries) > 1:
        raise ValueError("names several hosts; that takes redis+sentinel:// or redis+cluster://")
    db = _db(path.strip("/") or "0")
    if kind is Kind.CLUSTER and db:
        raise ValueError("names a database other than 0, which a cluster lacks")
    sentinel = (query.get("sentinel_username"), query.get("sentinel_password"))
    return Target(kind, entries, "", db, tls, *login, service, *sentinel)


def _host(entry: str, default_port: int) -> tuple[str, int]:
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:\s]+)(?::([0-9]{1,5}))?", entry)
    if match is None or not 0 < int(match[2] or default_port) <= 65535:
        raise ValueError(f"names no usable host; {_FORMS}")
    return match[1].strip("[]"), int(match[2] or default_port)


def _db(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text, re.ASCII):
        raise ValueError("has something other than a database number at its end")
    return int(text)
