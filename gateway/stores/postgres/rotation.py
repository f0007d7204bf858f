"""One refresh as `gateway_rotate` takes and answers it (migrations/0001_initial.sql)."""

from __future__ import annotations

from gateway.credentials.user import User
from gateway.sessions.decision import Decision, Outcome, Snapshot
from gateway.sessions.policy import BindingMode, RotationPolicy
from gateway.sessions.ports import Ended, Rotation, RotationAttempt
from gateway.sessions.rotation import decide
from gateway.sessions.session import Session
from gateway.stores import transitions
from gateway.stores.postgres.codec import (
    SESSION_WIDTH,
    USER_WIDTH,
    history_of,
    session_of,
    stored,
    stored_facts,
    user_of,
)
from gateway.stores.postgres.driver import Row
from gateway.stores.transitions import History

ROTATE = "SELECT * FROM gateway_rotate($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)"
_USER = SESSION_WIDTH
_AT = _USER + USER_WIDTH
_APPLIED, _SEEN, _IDLE, _ACCESS, _STOLEN, _GENERATIONS, _TIMES = range(_AT + 1, _AT + 8)

_PolicyValues = tuple[float, float, float | None, bool, bool, float, float, int, float]


class RotationValues:
    """Makes the arguments of `ROTATE` between `p_apply` and `p_now`; those of a policy are worked out once."""

    __slots__ = ("_policy", "_values")

    def __init__(self) -> None:
        self._policy: RotationPolicy | None = None
        self._values: _PolicyValues = (0.0, 0.0, None, True, True, 0.0, 0.0, 0, 0.0)

    def of(self, attempt: RotationAttempt) -> tuple[object, ...]:
        """The values for one attempt."""
        if attempt.policy is not self._policy:
            self._policy, self._values = attempt.policy, _policy_values(attempt.policy)
        facts = stored_facts(attempt.facts)
        return (
            stored(attempt.sid),
            attempt.presented,
            attempt.channel.value,
            facts.address,
            facts.network,
            facts.user_agent,
            facts.device,
            *self._values,
        )


class Answer:
    """What was read under the locks, and whether the plainest outcome was carried out at once."""

    __slots__ = ("_row", "applied", "at", "before", "user")

    def __init__(self, row: Row | None) -> None:
        assert row is not None  # noqa: S101 - a function with OUT parameters answers exactly one row
        self._row = row
        self.at: float = row[_AT]
        self.applied: bool = row[_APPLIED]
        self.before: Session | None = session_of(row) if row[0] is not None else None
        self.user: User | None = None
        if self.before is not None and row[_USER] is not None:
            self.user = user_of(row[_USER:_AT])

    @property
    def history(self) -> History:
        """The generations the row remembers; not answered when the outcome was applied."""
        return history_of(self._row[_GENERATIONS], self._row[_TIMES])

    def decide(self, attempt: RotationAttempt) -> Decision:
        """What the rule says about it."""
        retired_at = None if self.applied else transitions.recall(self.history, attempt.presented)
        snapshot = Snapshot(self.before, self.user, retired_at, self._row[_STOLEN])
        return decide(snapshot, attempt, self.at)

    def agrees(self, decision: Decision) -> bool:
        """Whether what the database wrote is what the rule decided."""
        after, row = decision.session, self._row
        if after is None or decision.outcome is not Outcome.ROTATED or decision.denials or decision.lost:
            return False
        written = (row[_SEEN], row[_IDLE], row[_ACCESS])
        return written == (after.last_seen_at, after.idle_expires_at, after.max_access_exp) and not after.retries

    def rotation(self, decision: Decision, ended: Ended = Ended()) -> Rotation:  # noqa: B008 - immutable
        """The answer of the port."""
        return Rotation(decision, self.before, self.user, self.at, ended)


def _policy_values(policy: RotationPolicy) -> _PolicyValues:
    return (
        policy.access_ttl,
        policy.idle_ttl,
        policy.reauth_after,
        policy.device_binding is BindingMode.ENFORCE,
        policy.ip_binding is BindingMode.ENFORCE,
        max(policy.late_window, policy.in_flight_window),
        transitions.HISTORY_MARGIN,
        transitions.HISTORY_LIMIT,
        transitions.THEFT_MEMORY,
    )
