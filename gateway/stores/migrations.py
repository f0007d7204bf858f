"""Numbered SQL files that only ever go forward: what every SQL store's runner knows about them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step of the schema."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, so that a step edited after it was applied is noticed."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def shipped(package: str) -> tuple[Migration, ...]:
    """The migrations of this version in `package`, in order."""
    folder = resources.files(package) / "migrations"
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return tuple(Migration(int(file.name.split("_", 1)[0]), file.name, file.read_text("utf-8")) for file in files)


def problem(done: Sequence[tuple[int, str, str]], migrations: Sequence[Migration]) -> str | None:
    """Why a store with these (number, name, checksum) applied cannot be used by this version; None when it can."""
    if len(done) > len(migrations):
        return f"has schema {done[-1][0]}, newer than this version of the gateway knows ({len(migrations)})"
    for (number, name, checksum), migration in zip(done, migrations, strict=False):
        if (number, checksum) != (migration.number, migration.checksum):
            return f"was migrated by another version of {name}: its checksum is not the one of {migration.name}"
    return None
