"""`gateway keys`: the signing keys of a deployment."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click
import orjson
from rich.console import Console
from rich.table import Table

from gateway.cli.context import config_option, load_settings, open_deployment, run_async
from gateway.settings.model import Settings
from gateway.tokens.key_service import KeyReport

_COLUMNS = {"kid": "Key", "algorithm": "Algorithm", "state": "State", "signs_from": "Signs from", "retired_at": "Until"}
_PIPE_WIDTH = 120

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")


@click.group()
def keys() -> None:
    """List and rotate signing keys."""


@keys.command("list")
@config_option
@json_option
def list_keys(config_path: Path | None, as_json: bool) -> None:
    """Every signing key: which one signs, which are published ahead, which still verify."""
    reports = run_async(_report(load_settings(config_path).settings))
    if as_json:
        click.echo(orjson.dumps({"keys": [_described(report) for report in reports]}))
        return
    if not reports:
        click.echo("No signing key yet: the gateway makes one when it starts.")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in _COLUMNS.values():
        table.add_column(title, overflow="fold")
    for report in reports:
        row = _described(report)
        table.add_row(*(str(row[name] or "-") for name in _COLUMNS))
    # rich takes 80 columns where there is no terminal, which would cut the names in two.
    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)


@keys.command()
@config_option
@json_option
@click.option("--soon", is_flag=True, help="Sign with it in seconds, not when caches of the key set have expired.")
@click.option("--withdraw", is_flag=True, help="Forget all other keys: every access token dies, clients refresh.")
def rotate(config_path: Path | None, as_json: bool, soon: bool, withdraw: bool) -> None:
    """Make a new signing key. Running gateways take it over by themselves; tokens signed before stay valid."""
    report = run_async(_rotate(load_settings(config_path).settings, soon=soon, withdraw=withdraw))
    if as_json:
        click.echo(orjson.dumps(_described(report)))
        return
    click.echo(f"New {report.row.algorithm} key {report.row.kid}, signs from {_time(report.row.active_from)}.")
    if withdraw:
        click.echo("All other keys are withdrawn: access tokens signed before are refused.")


async def _report(settings: Settings) -> tuple[KeyReport, ...]:
    async with open_deployment(settings) as deployment:
        service = await deployment.keys()
        return await service.report()


async def _rotate(settings: Settings, *, soon: bool, withdraw: bool) -> KeyReport:
    async with open_deployment(settings) as deployment:
        service = await deployment.keys()
        made = await service.rotate(soon=soon, withdraw=withdraw)
        return next(report for report in await service.report() if report.row.kid == made.kid)


def _described(report: KeyReport) -> dict[str, object]:
    row = report.row
    return {
        "kid": row.kid,
        "algorithm": row.algorithm,
        "state": report.state.value,
        "created_at": _time(row.created_at),
        "signs_from": _time(row.active_from),
        "retired_at": _time(row.retired_at) if row.retired_at is not None else None,
        "master_key": row.master_kid,
    }


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
