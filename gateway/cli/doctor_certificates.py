"""What `gateway doctor` says about certificates: which end soon, and which have ended."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

from gateway.cli.finding import Finding, Status, failed
from gateway.clock import Clock
from gateway.settings.certificates import TlsProblem, expiry
from gateway.settings.check_server import SOON
from gateway.settings.model import Settings


def examine_certificates(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """The listener's certificate and those the gateway shows to upstreams, each file once."""
    uses: dict[str, list[str]] = {}
    if settings.server.tls is not None:
        uses.setdefault(settings.server.tls.cert_file, []).append("server.tls")
    for route in settings.routes:
        if route.upstream_tls.cert_file is not None:
            uses.setdefault(route.upstream_tls.cert_file, []).append(f"towards upstreams of {route.name}")
    now = dt.datetime.fromtimestamp(clock.now(), dt.UTC)
    for path, users in uses.items():
        yield _certificate(Path(path), ", ".join(users), now)


def _certificate(path: Path, users: str, now: dt.datetime) -> Finding:
    try:
        ends = expiry(path)
    except TlsProblem as problem:
        return failed("certificate", f"{problem} ({users})")
    status, text = judge(ends, now)
    return Finding("certificate", status, f"{path} ({users}): {text}")


def judge(ends: dt.datetime, now: dt.datetime) -> tuple[Status, str]:
    """What to say of a certificate that ends then."""
    day = f"{ends:%Y-%m-%d %H:%M} UTC"
    if ends <= now:
        return Status.FAILED, f"ended {day}"
    left = ends - now
    days = f"{left.days} day{'' if left.days == 1 else 's'}"
    return Status.WARNING if left < SOON else Status.OK, f"ends {day}, in {days}"
