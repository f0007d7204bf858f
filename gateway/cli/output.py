"""How commands print: a table for people, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import orjson

# rich takes 80 columns where there is no terminal, which would fold what a script or a pager reads.
_PIPE_WIDTH = 160

json_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--json", "as_json", is_flag=True, help="JSON instead of text."
)


def print_json(value: object) -> None:
    """One JSON document on one line."""
    click.echo(orjson.dumps(value))


def print_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on stdout. Cells are text, never rich's markup: a user may be called `[bold]`."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)


def timestamp(at: float) -> str:
    """RFC 3339 in UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
