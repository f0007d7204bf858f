"""What repeated retries say: somebody rotates first and lets another client retry, or a network loses answers.

Both look alike for a while, so suspicion takes away only what a thief lives on and an honest client can do without:
the time before a receipt counts, and the access tokens of lost races. Proof is asked when retries in a row also came
from another network than the rotation and later than a client that merely lost an answer would have come back.
"""

from __future__ import annotations

from gateway.sessions.policy import RotationPolicy
from gateway.sessions.ports import RotationAttempt
from gateway.sessions.session import RetryMark, Session

GENERATIONS = 10  # how far back retries count
LIMIT = 3  # that many of them are suspicious


def recent(marks: tuple[RetryMark, ...], generation: int) -> tuple[RetryMark, ...]:
    """The marks that still count when `generation` is the current one."""
    return tuple(mark for mark in marks if generation - GENERATIONS < mark.generation <= generation)


def with_retry(session: Session, attempt: RotationAttempt, age: float) -> tuple[RetryMark, ...]:
    """The session's marks after one more delivery of its current generation."""
    differs = attempt.facts.network != session.seen.network and age > prompt_for(attempt.policy)
    return _with(session, RetryMark(session.generation, differs), LIMIT)


def with_race(session: Session) -> tuple[RetryMark, ...]:
    """The marks after a race whose loser was given the successor too: however many lose it, it counts once."""
    return _with(session, RetryMark(session.generation, False), 1)


def with_return(session: Session, presented: int) -> tuple[RetryMark, ...]:
    """The marks after `presented` came back although newer generations seem to have arrived."""
    return _with(session, RetryMark(presented, False), 1)


def has_mark(marks: tuple[RetryMark, ...], generation: int) -> bool:
    """Whether `generation` was retried, raced for, or has come back before."""
    return any(mark.generation == generation for mark in marks)


def _with(session: Session, mark: RetryMark, most: int) -> tuple[RetryMark, ...]:
    marks = recent(session.retries, session.generation)
    # Equal marks beyond that say nothing new and would let one client fill the row.
    return marks if marks.count(mark) >= most else (*marks, mark)


def prompt_for(policy: RotationPolicy) -> float:
    """How long an awake client that lost an answer may take to come back: through the window, then a race token."""
    return policy.in_flight_window + policy.race_access_ttl


def suspicious(marks: tuple[RetryMark, ...], generation: int) -> bool:
    """Whether the retries that still count are too many."""
    return len(recent(marks, generation)) >= LIMIT


def wary(marks: tuple[RetryMark, ...], generation: int) -> bool:
    """Whether receipts for `generation` count at once: two in a row are rare enough to do without a crash's grace."""
    last = generation if has_mark(marks, generation) else generation - 1
    return suspicious(marks, generation) or (has_mark(marks, last) and has_mark(marks, last - 1))


def proof_due(marks: tuple[RetryMark, ...], generation: int) -> bool:
    """Whether retries of that many generations in a row, up to the current one, came late and from elsewhere."""
    differing = {mark.generation for mark in marks if mark.differs}
    return all(generation - back in differing for back in range(LIMIT))
