"""`gateway doctor`: is this deployment able to serve? One line per check; nothing is made or changed."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from gateway.cli import EXIT_FAILURE, output
from gateway.cli.context import Deployment, config_option, find_config, open_deployment, run_async
from gateway.cli.doctor_certificates import examine_certificates, judge
from gateway.cli.doctor_live import examine_running
from gateway.cli.finding import Finding, Status, failed
from gateway.clock import Clock, SystemClock
from gateway.deployment import clock_difference, clock_tolerance, master_key_path
from gateway.errors import BadGateway, CannotStart, GatewayError
from gateway.settings.loader import ConfigError, Loaded, load
from gateway.stores.factory import examine
from gateway.tokens.key_service import KeyState

if TYPE_CHECKING:
    from gateway.proxy.upstreams import Key
    from gateway.settings.model import Settings

_PROOF: Final = b"doctor"


_COLORS: Final = {Status.OK: "green", Status.WARNING: "yellow", Status.FAILED: "red", Status.SKIPPED: "yellow"}


@click.command()
@config_option
@output.json_option
@click.pass_context
def doctor(ctx: click.Context, config_path: Path | None, as_json: bool) -> None:
    """Check configuration, database, keys, clock, certificates and upstreams of a deployment, and whether the gateway
    that runs is ready; exit code 1 when one fails.
    """
    path = find_config(config_path)
    try:
        loaded = load(path, os.environ)
    except ConfigError as error:
        findings = [failed("config", str(problem)) for problem in error.problems]
    except CannotStart as error:
        findings = [failed("config", _reason(error))]
    else:
        findings = [*_config(loaded, path), *run_async(_examine(loaded.settings, SystemClock()))]
    healthy = not any(finding.status is Status.FAILED for finding in findings)
    _print(findings, healthy, as_json=as_json)
    ctx.exit(0 if healthy else EXIT_FAILURE)


def _print(findings: list[Finding], healthy: bool, *, as_json: bool) -> None:
    if as_json:
        output.print_json({"ok": healthy, "checks": [asdict(finding) for finding in findings]}, indent=True)
        return
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        status = finding.status.ljust(4)
        if output.on_terminal():
            status = click.style(status, fg=_COLORS[finding.status])
        click.echo(f"{status}  {finding.check.ljust(width)}  {output.cell(finding.detail)}")


def _config(loaded: Loaded, path: Path | None) -> list[Finding]:
    routes = len(loaded.settings.routes)
    found = f"{path or 'the defaults'}, {routes} route{'' if routes == 1 else 's'}"
    warnings = [Finding("config", Status.WARNING, str(warning)) for warning in loaded.warnings]
    return [Finding("config", Status.OK, found), *warnings]


async def _examine(settings: Settings, clock: Clock) -> list[Finding]:
    findings = [finding async for finding in _stored(settings, clock)]
    findings += examine_certificates(settings, clock)
    findings += await _upstreams(settings, clock)
    return [*findings, *await examine_running(settings.server)]


async def _stored(settings: Settings, clock: Clock) -> AsyncIterator[Finding]:
    """The database and what lies in it. Without it there is nothing else to look at."""
    async with AsyncExitStack() as stack:
        try:
            name = await examine(settings.storage.database)
            deployment = await stack.enter_async_context(open_deployment(settings, clock))
            await deployment.stores.database.ping()
        except GatewayError as error:
            yield failed("database", _reason(error))
            for check in ("master key", "signing key", "clock"):
                yield Finding(check, Status.SKIPPED, "needs the database")
            return
        yield Finding("database", Status.OK, f"{name}: readable, writable, its schema is this version's")
        master = await _master_key(deployment)
        yield master
        if master.status is Status.OK:
            yield await _signing_key(deployment)
        else:
            yield Finding("signing key", Status.SKIPPED, "needs the master key")
        yield await _clock(deployment)


async def _master_key(deployment: Deployment) -> Finding:
    path = master_key_path(deployment.settings)
    if path is not None and not path.exists():
        return failed("master key", f"the file {path} does not exist")
    try:
        master = await deployment.master()
    except GatewayError as error:
        return failed("master key", _reason(error))
    if master.warnings:
        return Finding("master key", Status.WARNING, "; ".join(master.warnings))
    return Finding("master key", Status.OK, f"{path or 'in memory'} belongs to this database")


async def _signing_key(deployment: Deployment) -> Finding:
    """Whether a key signs now, proven by a signature that verifies."""
    try:
        service = await deployment.keys()
        reports = await service.report()
        now = deployment.clock.now()
        pair = service.ring.due(now)
        if pair is None:
            return failed("signing key", "there is none that can be used: `gateway serve` makes one when it starts")
        if not pair.verify(_PROOF, pair.sign(_PROOF)):
            return failed("signing key", f"what {pair.kid} signs does not verify")
    except GatewayError as error:
        return failed("signing key", _reason(error))
    unreadable = sum(report.state is KeyState.UNREADABLE for report in reports)
    if unreadable:
        return Finding("signing key", Status.WARNING, f"{pair.kid} signs; {unreadable} other cannot be opened")
    return Finding("signing key", Status.OK, f"{pair.algorithm} key {pair.kid} signs")


async def _clock(deployment: Deployment) -> Finding:
    """The store's clock against this machine's; rotation windows are reckoned in the former."""
    try:
        apart = await clock_difference(deployment.stores, deployment.clock)
    except GatewayError as error:
        return failed("clock", _reason(error))
    allowed = clock_tolerance(deployment.settings)
    detail = f"{apart:.1f} s from the database's, {allowed:.1f} s are allowed"
    return Finding("clock", Status.OK if apart <= allowed else Status.FAILED, detail)


async def _upstreams(settings: Settings, clock: Clock) -> list[Finding]:
    """Each backend once, all at the same time: connected to as the gateway does it, health path included."""
    from gateway.policies import route_specs
    from gateway.proxy.upstreams import key_of

    routes: dict[Key, list[str]] = {}
    patience: dict[Key, float] = {}
    for route in route_specs(settings):
        for upstream in route.upstreams:
            key = key_of(route, upstream.url)
            routes.setdefault(key, []).append(route.name)
            patience[key] = max(patience.get(key, 0.0), route.connect_timeout)
    if not routes:
        return [Finding("upstream", Status.WARNING, "no route names one: every request is answered 404")]
    tried = await asyncio.gather(*(_try(key, patience[key], clock) for key in routes))
    return [
        Finding("upstream", status, f"{key[0]} ({', '.join(names)}): {detail}")
        for (key, names), (status, detail) in zip(routes.items(), tried, strict=True)
    ]


async def _try(key: Key, seconds: float, clock: Clock) -> tuple[Status, str]:
    """Whether a backend can be used, and what keeps it from it; a certificate that ends soon is worth a warning."""
    from gateway.proxy import health
    from gateway.proxy.endpoint import Endpoint
    from gateway.proxy.response_head import ResponseRules
    from gateway.proxy.upstream_tls import TlsContexts

    url, tls, policy, _ = key
    try:
        endpoint = Endpoint(url, ResponseRules(), TlsContexts(tls) if url.startswith("https:") else None)
    except CannotStart as error:
        return Status.FAILED, _reason(error)
    try:
        connection = await endpoint.connect(seconds)
        status, certificate = _peer_certificate(connection.transport, clock)
        connection.discard()
        problem = await health.check(endpoint, policy) if policy is not None else None
        if problem is not None:
            return Status.FAILED, problem
        return status, ("accepts" if policy is None else f"accepts, {policy.path} is well") + certificate
    except BadGateway as error:
        return Status.FAILED, _why(error, seconds)
    finally:
        endpoint.close()
        await asyncio.sleep(0)  # the loop closes what was aborted


def _peer_certificate(transport: asyncio.BaseTransport | None, clock: Clock) -> tuple[Status, str]:
    """When the certificate of a backend ends; one that has ended was refused before."""
    shown = transport.get_extra_info("peercert") if transport is not None else None
    if not shown or "notAfter" not in shown:
        return Status.OK, ""
    ends = dt.datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notAfter"]), dt.UTC)
    status, text = judge(ends, dt.datetime.fromtimestamp(clock.now(), dt.UTC))
    return status, f"; its certificate {text}"


def _why(error: BadGateway, seconds: float) -> str:
    cause = error.__cause__
    if isinstance(cause, OSError) and not isinstance(cause, (ssl.SSLError, socket.gaierror)):
        return os.strerror(cause.errno) if cause.errno and cause.errno > 0 else cause.strerror or str(cause)
    return str(cause or f"no connection within {seconds:g} s")


def _reason(error: GatewayError) -> str:
    return error.detail or error.debug or error.title
