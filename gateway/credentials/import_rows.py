"""Reads users from CSV and JSON Lines, one row at a time; a row that cannot be read is a problem, not the end."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TextIO

from gateway.errors import InvalidRequest

COLUMNS = ("username", "password_hash", "email", "roles", "disabled")
MAX_LINE = 64 * 1024

_TRUE = frozenset({"1", "true", "yes", "y", "t"})
_FALSE = frozenset({"", "0", "false", "no", "n", "f"})


class ImportFormat(StrEnum):
    """How the file is written."""

    CSV = "csv"
    JSONL = "jsonl"

    @classmethod
    def of(cls, filename: str) -> ImportFormat:
        """By the name's ending. Raises `InvalidRequest` for another one."""
        ending = filename.rpartition(".")[2].lower()
        if ending == "csv":
            return cls.CSV
        if ending in ("jsonl", "ndjson"):
            return cls.JSONL
        raise InvalidRequest("cannot tell the format from the file's name: use .csv, .jsonl or --format")


@dataclass(frozen=True, slots=True)
class Row:
    """One user as read, not yet checked. `line` is where the row begins."""

    line: int
    username: str
    password_hash: str | None
    email: str | None
    roles: tuple[str, ...]
    disabled: bool


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a row was not imported. Never repeats a cell: it may be a password in the wrong column."""

    line: int
    detail: str


def read_rows(stream: TextIO, form: ImportFormat) -> Iterator[Row | Problem]:
    """Rows and problems, in the file's order; blank lines are neither.

    One line is one row: no column holds a line break, so an unclosed quote cannot swallow the rows behind it. Raises
    `InvalidRequest` when the CSV header makes every row unreadable.
    """
    lines = _lines(stream)
    header = _header(lines) if form is ImportFormat.CSV else None
    for line in lines:
        if isinstance(line, Problem):
            yield line
        elif line.text.strip():
            yield _json_row(line) if header is None else _csv_row(line, header)


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    text: str


def _lines(stream: TextIO) -> Iterator[_Line | Problem]:
    """The stream's lines in bounded memory. Bytes that are no UTF-8 arrive as surrogates (`surrogateescape`)."""
    for number in itertools.count(1):
        text = stream.readline(MAX_LINE)
        if not text:
            return
        if len(text) == MAX_LINE and not text.endswith("\n"):
            _skip_line(stream)
            yield Problem(number, f"longer than {MAX_LINE} characters")
        elif any("\ud800" <= character <= "\udfff" for character in text):
            yield Problem(number, "not UTF-8")
        else:
            yield _Line(number, text.removeprefix("\ufeff") if number == 1 else text)


def _skip_line(stream: TextIO) -> None:
    while (rest := stream.readline(MAX_LINE)) and not rest.endswith("\n"):
        continue


def _header(lines: Iterator[_Line | Problem]) -> tuple[str, ...]:
    line = next(lines, _Line(1, ""))
    try:
        cells = () if isinstance(line, Problem) else _cells(line.text)
    except csv.Error:
        cells = ()
    header = tuple(cell.strip().lower() for cell in cells)
    if "username" not in header:
        raise InvalidRequest(f"line 1: no header with a column username; columns: {', '.join(COLUMNS)}")
    if len(set(header)) != len(header) or not set(header) <= set(COLUMNS):
        raise InvalidRequest(f"line 1: unknown or repeated columns; columns: {', '.join(COLUMNS)}")
    return header


def _cells(text: str) -> tuple[str, ...]:
    return tuple(next(csv.reader([text], strict=True), ()))


def _csv_row(line: _Line, header: tuple[str, ...]) -> Row | Problem:
    try:
        cells = _cells(line.text)
    except csv.Error as error:
        return Problem(line.number, f"not CSV: {error}")
    if len(cells) != len(header):
        return Problem(line.number, f"{len(cells)} cells where the header has {len(header)}")
    return _row(line.number, dict(zip(header, cells, strict=True)))


def _json_row(line: _Line) -> Row | Problem:
    try:
        value = json.loads(line.text, object_pairs_hook=_unique)
    except _Repeated:
        return Problem(line.number, "a key twice")
    except (ValueError, RecursionError):
        return Problem(line.number, "not JSON")
    if not isinstance(value, dict):
        return Problem(line.number, "not a JSON object")
    if not set(value) <= set(COLUMNS):
        return Problem(line.number, f"unknown keys; keys: {', '.join(COLUMNS)}")
    return _row(line.number, value)


def _row(line: int, values: Mapping[str, object]) -> Row | Problem:
    try:
        return Row(
            line=line,
            username=_text(values, "username") or "",
            password_hash=_text(values, "password_hash"),
            email=_text(values, "email"),
            roles=_roles(values.get("roles")),
            disabled=_flag(values.get("disabled")),
        )
    except InvalidRequest as problem:
        return Problem(line, str(problem.detail))


def _text(values: Mapping[str, object], key: str) -> str | None:
    value = values.get(key)
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidRequest(f"{key}: must be text")
    return value.strip() or None


def _roles(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return tuple(value.replace(";", " ").split())
    if isinstance(value, list) and all(isinstance(role, str) for role in value):
        return tuple(value)
    raise InvalidRequest("roles: must be text or a list of texts")


def _flag(value: object) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    text = value.strip().lower() if isinstance(value, str) else None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise InvalidRequest("disabled: must be true or false")


class _Repeated(ValueError):
    """A key stands twice in one object."""


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise _Repeated
    return values
