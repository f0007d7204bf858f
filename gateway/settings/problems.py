"""What is wrong with a configuration: every problem with its place, all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.errors import GatewayError

Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem as a check sees it: where in the tree, what, and what to do about it."""

    location: Location
    message: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem as the operator sees it.

    `path` is the YAML path (`routes[0].match.path`); `line` and `column` count from 1 and are None when the value did
    not come from the file; `source` is the file, the environment variable or "command line".
    """

    path: str
    line: int | None
    message: str
    hint: str | None = None
    column: int | None = None
    source: str | None = None

    def __str__(self) -> str:
        place = self.source or "configuration"
        if self.line is not None:
            place += f":{self.line}:{self.column or 1}"
        text = f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"
        return f"{text} ({self.hint})" if self.hint else text


class ConfigError(GatewayError):
    """The configuration cannot be used: the process exits with 78. `problems` is never empty."""

    code = "bad_configuration"
    title = "Bad configuration"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def dotted(location: Location) -> str:
    """`("routes", 0, "match")` as `routes[0].match`."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text
