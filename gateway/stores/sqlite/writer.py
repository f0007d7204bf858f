"""The one writer: jobs that queue up while a commit runs share the next transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from enum import StrEnum

from gateway.errors import StoreUnavailable
from gateway.stores.sqlite.lane import Job, Lane


class Point(StrEnum):
    """Moments of a transaction that an observer can watch."""

    BEFORE_BEGIN = "before_begin"
    AFTER_BEGIN = "after_begin"
    AFTER_JOB = "after_job"
    BEFORE_COMMIT = "before_commit"
    AFTER_COMMIT = "after_commit"


Observer = Callable[[Point], None]


class Writer(Lane):
    """Runs a batch of jobs as one transaction.

    When a job fails the batch starts over with each job in a savepoint of its own, so that the failing one takes back
    its own writes and no other's: work must not care about being done twice.

    A future settles only after COMMIT. `on_feed` is called in the event loop after a commit that grew the feed.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        name: str,
        *,
        on_feed: Callable[[], None],
        observer: Observer | None = None,
    ) -> None:
        self._on_feed = on_feed
        self._observe = observer or _nobody
        self._feed_grown = False
        super().__init__(connection, name)

    def process(self, batch: list[Job]) -> None:
        """Run the batch as one transaction; nothing of it is acknowledged unless all of it is on disk."""
        self._transaction.feed_grown = False
        try:
            self._commit(batch)
        except BaseException as error:  # noqa: BLE001 - every caller gets it; the thread must live on
            self._undo()
            for job in batch:
                # A refusal of its own may rest on what another job of the batch wrote, and that is gone too.
                job.error = error
        else:
            self._feed_grown = self._feed_grown or self._transaction.feed_grown

    def delivered(self, batch: list[Job]) -> None:
        """In the event loop: settle the futures, and wake those who follow the feed."""
        if self._feed_grown:
            self._feed_grown = False
            self._on_feed()
        super().delivered(batch)

    def _commit(self, batch: list[Job]) -> None:
        self._begin()
        if not self._run_together(batch):
            self._undo()
            self._transaction.feed_grown = False
            self._begin()
            for job in batch:
                self._run_beside(job)
                self._observe(Point.AFTER_JOB)
        self._observe(Point.BEFORE_COMMIT)
        self._connection.execute("COMMIT")
        self._observe(Point.AFTER_COMMIT)

    def _begin(self) -> None:
        self._observe(Point.BEFORE_BEGIN)
        self._connection.execute("BEGIN IMMEDIATE")
        self._observe(Point.AFTER_BEGIN)

    def _run_together(self, batch: list[Job]) -> bool:
        """Run the jobs without savepoints, which would be half the statements; False as soon as one fails."""
        for job in batch:
            job.run(self._transaction)
            if job.error is not None:
                return False
            self._observe(Point.AFTER_JOB)
        return True

    def _run_beside(self, job: Job) -> None:
        """Run a job, perhaps for the second time, so that failing takes back its own writes and no other's."""
        execute = self._connection.execute
        execute("SAVEPOINT job")
        job.error = None
        job.run(self._transaction)
        if not self._connection.in_transaction:
            # Out of space or memory: SQLite took back all of it, the others' work included.
            raise StoreUnavailable(debug=f"the transaction was rolled back: {job.error}", retry_after=5)
        if job.error is not None:
            execute("ROLLBACK TO job")
        execute("RELEASE job")

    def _undo(self) -> None:
        if self._connection.in_transaction:
            self._connection.rollback()


def _nobody(_point: Point) -> None:
    """Nobody watches."""
