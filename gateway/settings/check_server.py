"""The `server` section against itself and against the files it names."""

from __future__ import annotations

import datetime as dt
import ipaddress
from pathlib import Path
from typing import Final

from gateway.clock import Clock, SystemClock
from gateway.settings.certificates import ServerFiles, TlsProblem, expiry, server_context
from gateway.settings.model import Settings
from gateway.settings.problems import Location
from gateway.settings.report import Report
from gateway.settings.server import ServerSettings, TlsSettings
from gateway.settings.types import split_listen, unix_path

SOON: Final = dt.timedelta(days=14)
_MOST_WORKERS: Final = 512
_LEAST_TIMES: Final = {"header_time": 0.1, "keep_alive": 0.1, "stall": 0.1, "body_window": 1}


def check_server(settings: Settings, report: Report, *, files: bool = True, clock: Clock | None = None) -> None:
    """Every check of `server`; with `files` those of the TLS files too, which only the gateway itself has to read."""
    server = settings.server
    _workers(settings, report)
    if not 1 <= server.dns_ttl <= 86400:
        report.error(("server", "dns_ttl"), "must be between 1s and 24h")
    _listeners(server, report)
    for key in ("trusted_proxies", "proxy_protocol"):
        for index, network in enumerate(getattr(server, key)):
            if network.endswith("/0"):
                place = ("server", key, index)
                report.warn(place, f"{network}: every client could claim any address", "name your proxies only")
    if server.tls is not None:
        if files:
            _tls(server.tls, clock or SystemClock(), report)
        if server.public_url.startswith("http:"):
            report.warn(("server", "public_url"), "is http while the listener speaks TLS", "use https")
    _limits(server, report)


def _workers(settings: Settings, report: Report) -> None:
    server = settings.server
    if server.workers != 1 and settings.storage.database == "memory:":
        place = ("server", "workers")
        report.error(place, "workers share nothing with storage.database: memory:", "leave it at 1, or use SQLite")
    if server.workers > _MOST_WORKERS:
        report.error(("server", "workers"), f"must be at most {_MOST_WORKERS}", "auto: one per core")
    if not 0.1 <= server.worker_timeout <= 3600:
        report.error(("server", "worker_timeout"), "must be between 100ms and 1h")
    if not 0.05 <= server.reload.interval <= 3600:
        report.error(("server", "reload", "interval"), "must be between 50ms and 1h")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listeners(server: ServerSettings, report: Report) -> None:
    if unix_path(server.listen) is not None and "public_url" not in server.model_fields_set:
        report.warn(("server", "listen"), "a unix socket has no URL", "set server.public_url to what browsers see")
    if server.admin_listen is None:
        if server.admin_token is not None:
            report.warn(("server", "admin_token"), "has no effect without server.admin_listen")
        return
    place: Location = ("server", "admin_listen")
    on_socket = unix_path(server.admin_listen) is not None
    host, port = ("localhost", 1) if on_socket else split_listen(server.admin_listen)
    if port and server.admin_listen == server.listen:
        report.error(place, "is the same address as server.listen", about=(("server", "listen"),))
    if not is_loopback(host):
        report.warn(place, f"{server.admin_listen} can be reached from other machines", _open_admin(server))


def _open_admin(server: ServerSettings) -> str:
    if server.admin_token is None:
        return "there is no log-in on it"
    return "it speaks plain HTTP, and the admin token travels on it"


def tls_files(tls: TlsSettings) -> ServerFiles:
    """The files as the loader takes them."""
    return ServerFiles(
        Path(tls.cert_file),
        Path(tls.key_file),
        password=Path(tls.key_password_file) if tls.key_password_file is not None else None,
        client_ca=Path(tls.client_ca_file) if tls.client_ca_file is not None else None,
        only_1_3=tls.min_version == "1.3",
    )


def _tls(tls: TlsSettings, clock: Clock, report: Report) -> None:
    place: Location = ("server", "tls")
    files = tls_files(tls)
    try:
        server_context(files)
        ends = expiry(files.certificate)
    except TlsProblem as problem:
        report.error(place, str(problem))
        return
    left = ends - dt.datetime.fromtimestamp(clock.now(), dt.UTC)
    day = f"{ends:%Y-%m-%d}"
    if left <= dt.timedelta(0):
        report.warn((*place, "cert_file"), f"the certificate expired on {day}", "clients refuse it: renew it")
    elif left < SOON:
        report.warn(
            (*place, "cert_file"), f"the certificate expires on {day}", "renew it; it is loaded when it changes"
        )


def _limits(server: ServerSettings, report: Report) -> None:
    limits, place = server.limits, ("server", "limits")
    for key, least in _LEAST_TIMES.items():
        if not least <= getattr(limits, key) <= 3600:
            report.error((*place, key), f"must be between {least:g}s and 1h")
    if not 1024 <= limits.header_bytes <= 1024 * 1024:
        report.error((*place, "header_bytes"), "must be between 1KiB and 1MiB")
    if limits.body_rate > 1024 * 1024:
        report.error((*place, "body_rate"), "must be at most 1MiB", "it is per second; slower clients are cut off")
