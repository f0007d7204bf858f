"""Where things are kept: a URL that can be opened, and what PostgreSQL needs beside it."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import parse_qs, urlsplit

from gateway.settings.model import StorageSettings
from gateway.settings.report import Report

_PLACE = ("storage", "database")
_KEY = ("storage", "master_key_file")
_VERIFIED = frozenset({"verify-ca", "verify-full"})


def check_database(storage: StorageSettings, report: Report) -> None:
    """Report what is wrong with `storage.database` and the master key that goes with it. No message holds the URL."""
    if re.match(r"postgres(?:ql)?(?:\+\w+)?:", storage.database, re.IGNORECASE):
        _postgres(storage, report)
    elif storage.database != "memory:" and not re.fullmatch(r"sqlite:///[^\0]+", storage.database):
        hint = "write sqlite:///gateway.db, sqlite:////var/lib/gateway/gateway.db or postgresql://user@host/database"
        report.error(_PLACE, "is not a database URL", hint)


def _postgres(storage: StorageSettings, report: Report) -> None:
    if storage.master_key_file is None:
        report.error(
            _KEY,
            "is needed with PostgreSQL",
            "every gateway on one database needs the same key: openssl rand -base64 32 > gateway.key; chmod 600 it",
            about=(_PLACE,),
        )
    try:
        parts = urlsplit(storage.database)
        query = parse_qs(parts.query, keep_blank_values=True)
        hosts = [_host(entry) for entry in _entries(parts.netloc, query)]
    except ValueError:
        report.error(_PLACE, "is not a database URL", "write postgresql://user@host/database")
        return
    if parts.scheme not in {"postgresql", "postgres"} or not storage.database.startswith(f"{parts.scheme}://"):
        report.error(_PLACE, "is not a database URL", "write postgresql://user@host/database")
    elif not (parts.path.strip("/") or "dbname" in query or "database" in query or "service" in query):
        report.error(_PLACE, "names no database", "write postgresql://user@host/database")
    if query.get("pgbouncer", ["true"])[-1].lower() not in {"true", "false"}:
        report.error(_PLACE, "has pgbouncer= with something other than true or false")
    if not _VERIFIED & set(query.get("sslmode", ())) and not all(map(_is_local, hosts)):
        hint = "add ?sslmode=verify-full&sslrootcert=FILE"
        report.warn(_PLACE, "nothing proves that the database is the right one, nor that nobody reads along", hint)


def _entries(netloc: str, query: dict[str, list[str]]) -> list[str]:
    """Each host of the URL, with its port."""
    named = netloc.rpartition("@")[2]
    return (named or ",".join(query.get("host", ()))).split(",")


def _host(entry: str) -> str:
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry


def _is_local(host: str) -> bool:
    if host in {"", "localhost"} or host.startswith(("/", "%2F", "%2f")):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
