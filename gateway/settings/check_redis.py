"""What `storage.redis` names: a URL that can be read, reached by a way that others cannot read along on."""

from __future__ import annotations

import ssl

from gateway.settings.check_server import is_loopback
from gateway.settings.model import StorageSettings
from gateway.settings.report import Report
from gateway.stores.redis.target import target_of

_PLACE = ("storage", "redis")
_CA = ("storage", "redis_ca_file")


def check_redis(storage: StorageSettings, report: Report) -> None:
    """Report what is wrong with `storage.redis` and its CA file. No message holds the URL."""
    if storage.redis is None:
        if storage.redis_ca_file is not None:
            report.error(_CA, "needs storage.redis", about=(_PLACE,))
        return
    try:
        target = target_of(storage.redis)
    except ValueError as error:
        what, _, hint = str(error).partition("; ")
        report.error(_PLACE, what, hint or None)
        return
    if storage.redis_ca_file is not None:
        _authorities(storage.redis_ca_file, tls=target.tls, report=report)
    if not target.tls and not all(is_loopback(host) for host, _ in target.hosts):
        hint = "write rediss:// (also rediss+sentinel://, rediss+cluster://)"
        report.warn(_PLACE, "nothing proves that Redis is the right one, nor that nobody reads along", hint)


def _authorities(path: str, *, tls: bool, report: Report) -> None:
    if not tls:
        report.error(_CA, "has no effect without TLS", "write rediss:// in storage.redis", about=(_PLACE,))
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (OSError, ssl.SSLError) as error:
        reason = (
            error.strerror if type(error) is not ssl.SSLError and error.strerror else "is no PEM file of certificates"
        )
        report.error(_CA, f"{path}: {reason}")
