"""`gateway users import`: users and their existing hashes from a file."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import click

from gateway.cli.context import config_option, load_settings, open_deployment, run_async
from gateway.cli.output import json_option, print_json
from gateway.credentials.import_rows import ImportFormat
from gateway.credentials.importer import Importer, ImportReport
from gateway.errors import GatewayError
from gateway.settings.model import Settings

_FAILED = 1
_FORMATS = [form.value for form in ImportFormat]


@dataclass(frozen=True, slots=True)
class _Job:
    """What to import and how. `rehearse` first: with --strict nothing is stored unless everything can be."""

    path: Path
    form: ImportFormat
    strict: bool
    dry_run: bool


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False, readable=True))
@click.option(
    "--format", "form", type=click.Choice([form.value for form in ImportFormat]), help="Otherwise by the file's ending."
)
@click.option("--strict", is_flag=True, help="Import nothing when any row has a problem.")
@click.option("--dry-run", is_flag=True, help="Check every row and store nothing.")
@json_option
@config_option
def import_users(
    file: Path, form: str | None, strict: bool, dry_run: bool, as_json: bool, config_path: Path | None
) -> None:
    """Import users from FILE with the password hashes they have.

    CSV with a header, or one JSON object per line: username, password_hash, email, roles (separated by ; or blanks),
    disabled. Hashes: argon2, bcrypt, scrypt, PBKDF2 in Django's format, phpass; each is replaced by a new one at the
    user's next log-in. Rows with a problem are reported and the others imported; the exit code is then 1.
    """
    job = _Job(file, ImportFormat(form) if form else ImportFormat.of(file.name), strict, dry_run)
    report = ImportReport()
    try:
        report = run_async(_import(load_settings(config_path).settings, job))
    except _Interrupted as interrupted:
        _show(job, interrupted.report, as_json=as_json)
        raise interrupted.cause from interrupted
    _show(job, report, as_json=as_json)
    if report.problems:
        sys.exit(_FAILED)


class _Interrupted(Exception):
    """The store failed half-way; `report` says how far the import had come."""

    def __init__(self, report: ImportReport, cause: GatewayError) -> None:
        super().__init__(str(cause))
        self.report = report
        self.cause = cause


async def _import(settings: Settings, job: _Job) -> ImportReport:
    async with open_deployment(settings) as deployment:
        with job.path.open("rb") as file, _progress(file, job.path.stat().st_size) as progress:
            if job.strict or job.dry_run:
                rehearsal = await _run(Importer(deployment.users, dry_run=True, progress=progress), file, job.form)
                if job.dry_run or rehearsal.problems:
                    rehearsal.imported = 0
                    return rehearsal
            return await _run(Importer(deployment.users, progress=progress), file, job.form)


async def _run(importer: Importer, file: BinaryIO, form: ImportFormat) -> ImportReport:
    file.seek(0)
    lines = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape")
    try:
        return await importer.run(lines, form)
    except GatewayError as failure:
        if not importer.report.rows:
            raise
        raise _Interrupted(importer.report, failure) from failure
    finally:
        lines.detach()


@contextmanager
def _progress(file: BinaryIO, size: int) -> Iterator[Callable[[ImportReport], None]]:
    """A bar on stderr while there is somebody to look at it."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("users", total=size)
        yield lambda report: bar.update(task, completed=file.tell(), description=f"{report.rows} rows")


def _show(job: _Job, report: ImportReport, *, as_json: bool) -> None:
    if as_json:
        problems = [{"line": problem.line, "detail": problem.detail} for problem in report.problems]
        print_json({"rows": report.rows, "imported": report.imported, "problems": problems})
        return
    for problem in report.problems:
        click.echo(f"{job.path}:{problem.line}: {problem.detail}", err=True)
    noun = "user" if report.rows == 1 else "users"
    if job.dry_run:
        click.echo(f"{report.rows - len(report.problems)} of {report.rows} {noun} can be imported; nothing was stored.")
    else:
        click.echo(f"Imported {report.imported} of {report.rows} {noun}.")
