"""`gateway config`: check it, show what is in force, print its JSON Schema."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from gateway.cli import EXIT_BAD_CONFIG, output
from gateway.cli.context import config_option, find_config
from gateway.cli.context import load_settings as load_with_warnings
from gateway.settings.loader import ConfigError, Problem, load
from gateway.settings.model import Settings


@click.group()
def config() -> None:
    """Check, show and describe the configuration."""


@config.command()
@config_option
@output.json_option
@click.option(
    "--diff",
    "running",
    type=click.Path(path_type=Path),
    metavar="RUNNING",
    help="Say what would change: RUNNING is what `config show --json` printed, or another YAML file.",
)
@click.pass_context
def check(ctx: click.Context, config_path: Path | None, as_json: bool, running: Path | None) -> None:
    """Report every problem at once; exit code 78 when there is one. Touches neither stores nor network."""
    import os

    path = find_config(config_path)
    try:
        loaded = load(path, os.environ)
        before = _running(running) if running is not None else None
    except ConfigError as error:
        _report(error.problems, (), as_json=as_json)
        ctx.exit(EXIT_BAD_CONFIG)
    changes = _changes(running, before, loaded.settings) if before is not None and running is not None else None
    _report((), loaded.warnings, as_json=as_json, changes=changes)
    if as_json:
        return
    routes = len(loaded.settings.routes)
    click.echo(f"{path or 'the defaults'}: ok, {routes} route{'' if routes == 1 else 's'}")
    if changes is not None:
        for change in changes:
            mark = "! " if change["weakens"] else "  "
            click.echo(f"{mark}{change['change']}{_FORCE[str(change['how'])]}")
        weaker = sum(bool(change["weakens"]) for change in changes)
        click.echo(f"{len(changes)} changes, {weaker} of them (!) weaken protection" if changes else "nothing changes")


@config.command()
@config_option
@output.json_option
@click.option("--origin", "with_origin", is_flag=True, help="Say where each value came from.")
def show(config_path: Path | None, as_json: bool, with_origin: bool) -> None:
    """Print the configuration in force: defaults, file, environment; secrets are hidden."""
    import yaml

    from gateway.settings import secrets
    from gateway.settings.problems import dotted

    loaded = load_with_warnings(config_path)
    document = secrets.shown(loaded)
    if with_origin:
        rows = [(dotted(place), value, secrets.origin(loaded, place)) for place, value in secrets.leaves(document)]
        if as_json:
            output.print_json(
                [{"path": path, "value": value, "origin": origin} for path, value, origin in rows], indent=True
            )
        else:
            output.print_table(("key", "value", "from"), [(path, _text(value), origin) for path, value, origin in rows])
    elif as_json:
        output.print_json(document, indent=True)
    else:
        click.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120), nl=False)


@config.command()
def schema() -> None:
    """Print the JSON Schema (2020-12) of the file, for editors."""
    from gateway.settings.schema import json_schema

    output.print_json(json_schema(), indent=True)


_FORCE = {"swap": "", "roll": " (by new workers)", "restart": " (needs a restart)"}


def _running(path: Path) -> Settings:
    """The configuration that runs. What `config show` printed names secrets as well as the files they came from."""
    from pydantic import ValidationError

    from gateway.settings import yaml_tree
    from gateway.settings.secrets import with_stand_ins

    try:
        return load(path, {}).settings
    except ConfigError as error:
        try:
            data = yaml_tree.parse(path.read_text("utf-8-sig")).data
            return Settings.model_validate(with_stand_ins(data) if isinstance(data, dict) else data)
        except (ValidationError, ValueError):
            raise error from None


def _changes(running: Path, before: Settings, after: Settings) -> list[dict[str, object]]:
    from gateway.changes import compare
    from gateway.settings.secrets import REDACTED

    told = REDACTED not in running.read_text("utf-8-sig")  # whether its secrets are there to compare with
    return [
        {"change": change.text, "weakens": change.weakens, "how": change.how.name.lower()}
        for change in compare(before, after, secrets=told)
    ]


def _report(
    problems: tuple[Problem, ...],
    warnings: tuple[Problem, ...],
    *,
    as_json: bool,
    changes: list[dict[str, object]] | None = None,
) -> None:
    if as_json:
        found = {"ok": not problems, "problems": _documents(problems), "warnings": _documents(warnings)}
        if changes is not None:
            found["changes"] = changes
        output.print_json(found, indent=True)
        return
    if problems:
        rows = [(place(problem), problem.path, _advice(problem)) for problem in problems]
        output.print_table(("where", "key", "problem"), rows)
        click.echo(f"gateway: {len(problems)} problem{'' if len(problems) == 1 else 's'}", err=True)
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)


def place(problem: Problem) -> str:
    """`file:line:column`, or the variable or flag a value came from."""
    where = problem.source or "-"
    return f"{where}:{problem.line}:{problem.column or 1}" if problem.line is not None else where


def _advice(problem: Problem) -> str:
    return f"{problem.message} ({problem.hint})" if problem.hint else problem.message


def _documents(problems: tuple[Problem, ...]) -> list[dict[str, Any]]:
    return [asdict(problem) for problem in problems]


def _text(value: object) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value)
