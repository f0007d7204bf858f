"""How commands print: a table for people, JSON for programs. Colours and boxes on a terminal only."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import orjson

json_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--json", "as_json", is_flag=True, help="JSON instead of text."
)


def on_terminal() -> bool:
    """Whether people read stdout, and want colours."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def print_json(value: object, *, indent: bool = False) -> None:
    """One JSON document, on one line unless `indent`."""
    click.echo(orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2 if indent else 0))


def print_table(titles: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str | None = None) -> None:
    """A table on stdout; without rows the sentence `empty` on stderr instead, if there is one.

    Cells are text, never rich's markup: a user may be called `[bold]`.
    """
    cells = [[cell(value) for value in row] for row in rows]
    if not cells and empty is not None:
        click.echo(empty, err=True)
    elif on_terminal():
        _rich(titles, cells)
    else:
        _plain([list(titles), *cells])


def cell(value: object) -> str:
    """A value as a table shows it: on one line, without characters that could move the cursor."""
    if value is None or value == "":
        return "-"
    text = str(value)
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def timestamp(at: float) -> str:
    """RFC 3339 in UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _rich(titles: Sequence[str], cells: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in cells:
        table.add_row(*(Text(text) for text in row))
    Console().print(table)


def _plain(rows: list[list[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())
