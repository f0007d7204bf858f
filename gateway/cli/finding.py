"""One line of `gateway doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How a check went. SKIPPED: it rests on one that failed, or on what is not there."""

    OK = "ok"
    WARNING = "warn"
    FAILED = "FAIL"
    SKIPPED = "skip"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    check: str
    status: Status
    detail: str


def failed(check: str, detail: str) -> Finding:
    """A check that did not pass."""
    return Finding(check, Status.FAILED, detail)
