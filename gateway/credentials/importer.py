"""Imports users with the hashes they have; each hash is verified and replaced at the next log-in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TextIO

from gateway.credentials.import_rows import ImportFormat, Problem, Row, read_rows
from gateway.credentials.schemes.registry import parse_hash
from gateway.credentials.user import User
from gateway.credentials.users import UserService
from gateway.errors import Conflict, InvalidRequest

# Written together so that the store can commit them together.
BATCH = 64


@dataclass(slots=True)
class ImportReport:
    """What an import did, or with `dry_run` what it would do."""

    rows: int = 0
    imported: int = 0
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Candidate:
    row: Row
    user: User


class Importer:
    """One import. Row by row: what is good is stored whole, what is not is reported with its line."""

    def __init__(
        self, users: UserService, *, dry_run: bool = False, progress: Callable[[ImportReport], None] | None = None
    ) -> None:
        self._users = users
        self._dry_run = dry_run
        self._progress = progress
        self._seen: dict[str, int] = {}
        self.report = ImportReport()

    async def run(self, stream: TextIO, form: ImportFormat) -> ImportReport:
        """Read and import everything. `report` stays true when a store's error ends it half-way.

        Raises `InvalidRequest` for a file that has no readable row, `TemporarilyUnavailable` from the store.
        """
        batch: list[_Candidate] = []
        for candidate in self._candidates(read_rows(stream, form)):
            batch.append(candidate)
            if len(batch) >= BATCH:
                await self._store(batch)
                batch = []
        await self._store(batch)
        self.report.problems.sort(key=lambda problem: problem.line)
        return self.report

    def _candidates(self, rows: Iterable[Row | Problem]) -> Iterator[_Candidate]:
        for row in rows:
            self.report.rows += 1
            if isinstance(row, Problem):
                self.report.problems.append(row)
                continue
            try:
                yield self._check(row)
            except InvalidRequest as problem:
                self._refuse(row, str(problem.detail))

    def _check(self, row: Row) -> _Candidate:
        user = self._users.new_user(row.username, email=row.email, roles=row.roles)
        if row.password_hash is not None:
            parse_hash(row.password_hash)
        first = self._seen.setdefault(user.username_key, row.line)
        if first != row.line:
            raise InvalidRequest(f"the same user name as line {first}")
        return _Candidate(row, user)

    async def _store(self, batch: list[_Candidate]) -> None:
        outcomes = await asyncio.gather(*map(self._store_one, batch), return_exceptions=True)
        for candidate, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Conflict):
                self._refuse(candidate.row, "a user with this name exists")
            elif outcome is None:
                self.report.imported += 1
        if self._progress is not None:
            self._progress(self.report)
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, Conflict):
                raise outcome

    async def _store_one(self, candidate: _Candidate) -> None:
        row, user = candidate.row, candidate.user
        if not self._dry_run:
            await self._users.add_hashed(user, row.password_hash, active=not row.disabled)
        elif await self._users.lookup(row.username) is not None:
            raise Conflict

    def _refuse(self, row: Row, detail: str) -> None:
        self.report.problems.append(Problem(row.line, detail))
