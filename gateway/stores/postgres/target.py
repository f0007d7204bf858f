"""What a database URL asks for: the driver's part of it, and what the gateway does with it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

from gateway.errors import CannotStart
from gateway.stores.postgres.driver import Connection

CONNECT_TIMEOUT = 5.0
# Seconds a statement may take beside waiting.
_WORK = 2.0
_APPLICATION = "auth-gateway"
_YES = frozenset({"true", "1", "yes", "on"})
_NO = frozenset({"false", "0", "no", "off"})


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect. `label` names it without its password; `pooled`: through a pooler, by transaction.

    `lock_wait` and `deadline` in seconds: the longest a statement waits for one lock, and the longest it takes.
    """

    url: str
    label: str
    pooled: bool
    lock_wait: float
    deadline: float

    async def connect(self) -> Connection:
        """A new connection. Raises whatever the driver raises."""
        settings = {"application_name": _APPLICATION}
        if not self.pooled:  # a pooler refuses settings it does not know, and would show them to others
            settings |= {
                "statement_timeout": str(_milliseconds(self.deadline)),
                "lock_timeout": str(_milliseconds(self.lock_wait)),
                "idle_in_transaction_session_timeout": str(_milliseconds(self.deadline)),
                "default_transaction_isolation": "read committed",
                "jit": "off",
            }
        connection: Connection = await asyncpg.connect(
            self.url,
            timeout=CONNECT_TIMEOUT,
            command_timeout=self.patience,
            statement_cache_size=0 if self.pooled else 200,
            max_cached_statement_lifetime=0,
            server_settings=settings,
        )
        return connection

    @property
    def patience(self) -> float:
        """Seconds after which the answer to a statement is no longer waited for; the server gave up before."""
        return self.deadline + 0.5

    @property
    def begin(self) -> str:
        """What begins a transaction; behind a pooler nothing of a session can be relied on."""
        if not self.pooled:
            return "BEGIN"
        deadline, lock_wait = _milliseconds(self.deadline), _milliseconds(self.lock_wait)
        return (
            f"BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = {deadline};"
            f" SET LOCAL lock_timeout = {lock_wait}; SET LOCAL idle_in_transaction_session_timeout = {deadline}"
        )


def target_of(url: str, *, busy_timeout: float) -> Target:
    """The target of `postgresql://...`; `?pgbouncer=true` is the gateway's own. Raises `CannotStart`, without the URL.

    A call may wait for a connection, for the lock on a user and for that on a session, so each gets a third.
    """
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise CannotStart("the database URL cannot be read") from None
    pooled = [value.lower() for name, value in query if name == "pgbouncer"]
    if any(value not in _YES | _NO for value in pooled):
        raise CannotStart("the database URL has pgbouncer= with something other than true or false")
    rest = urlencode([(name, value) for name, value in query if name != "pgbouncer"])
    label = f"{parts.netloc.rpartition('@')[2] or 'local socket'}{parts.path}"
    if "@" in url[url.index(parts.netloc) + len(parts.netloc) :]:
        label = "(unnamed)"  # an unescaped character of the password ended the part that names the host
    bare = urlunsplit(("postgresql", parts.netloc, parts.path, rest, ""))
    if not parts.netloc:  # urlunsplit leaves out the two slashes the driver needs
        bare = f"postgresql://{parts.path}" + (f"?{rest}" if rest else "")
    return Target(bare, label, any(value in _YES for value in pooled), busy_timeout / 3, busy_timeout + _WORK)


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
