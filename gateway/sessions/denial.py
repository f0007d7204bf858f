"""Which access tokens are refused before their `exp`: two dict look-ups, fed by the revocation feed."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from enum import StrEnum

from gateway.sessions.ports import FeedEntry, FeedKind
from gateway.tokens.claims import AccessClaims

_DELIVERY_BITS = 16
_DELIVERY_MASK = (1 << _DELIVERY_BITS) - 1
# What one call forgets at most: the work is spread over the calls, so that none of them stalls a request.
_PRUNE_STEP = 256


class Denial(StrEnum):
    """Why a token is refused although its signature and `exp` are good.

    `DELIVERY`: it came with an answer that was sent again later, or was issued to the loser of a race before that.
    Whoever uses it had an answer that the client said it never got: worth a `session.suspicious`.
    """

    SESSION = "session_revoked"
    USER = "user_revoked"
    DELIVERY = "superseded_delivery"


Subscriber = Callable[[str | None, str | None], None]
# (generation, delivery, expires_at) of each denied delivery; empty: the whole session is denied.
_Deliveries = tuple[tuple[int, int, float], ...]
_EVERYTHING: _Deliveries = ()


class RevocationIndex:
    """Denied sessions and users of this process. Applying is idempotent and takes entries in any order.

    `version` grows with every change. Nothing is forgotten before its entry's `expires_at`, when no token it denies
    can still be valid.
    """

    __slots__ = ("_due", "_ends", "_epochs", "_sessions", "_subscribers", "version")

    def __init__(self) -> None:
        self._sessions: dict[str, _Deliveries] = {}
        self._epochs: dict[str, int] = {}
        # When a full denial or an epoch may be forgotten, apart from what `denial` reads.
        self._ends: dict[tuple[FeedKind, str], float] = {}
        self._due: list[tuple[float, FeedKind, str]] = []
        self._subscribers: list[Subscriber] = []
        self.version = 0

    def denial(self, claims: AccessClaims) -> Denial | None:
        """Why a token with these claims is refused, or None. On the path of every request."""
        deliveries = self._sessions.get(claims.session_id)
        if deliveries is not None:
            if not deliveries:
                return Denial.SESSION
            if _is_denied_delivery(deliveries, claims):
                return Denial.DELIVERY
        epoch = self._epochs.get(claims.subject)
        if epoch is not None and claims.user_epoch < epoch:
            return Denial.USER
        return None

    def apply(self, entries: Iterable[FeedEntry]) -> None:
        """Take in feed entries, known ones too, and tell subscribers what changed."""
        for entry in entries:
            if entry.kind is FeedKind.USER:
                changed = self._raise_epoch(entry)
            elif entry.kind is FeedKind.SESSION:
                changed = self._deny_session(entry)
            else:
                changed = self._deny_delivery(entry)
            if changed:
                self.version += 1
                self._tell(entry)

    def replace(self, entries: Iterable[FeedEntry]) -> None:
        """Forget everything and start from `entries`: the feed is not the one that was followed so far."""
        self._sessions.clear()
        self._epochs.clear()
        self._ends.clear()
        self._due.clear()
        self.version += 1
        self.apply(entries)

    def prune(self, now: float) -> int:
        """Forget some of what has expired by `now`; returns how many steps were taken, 0 when there is nothing due."""
        steps = 0
        while steps < _PRUNE_STEP and self._due and self._due[0][0] <= now:
            _, kind, key = heapq.heappop(self._due)
            self._forget(kind, key, now)
            steps += 1
        return steps

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Call `callback(sid, user_id)`, one of them None, when something of theirs was denied; returns the way out.

        It is a hint to ask `denial` again with the claims at hand: some of the session's or user's tokens may live.
        The callback must neither raise nor wait.
        """
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return unsubscribe

    def __len__(self) -> int:
        return len(self._sessions) + len(self._epochs)

    def _raise_epoch(self, entry: FeedEntry) -> bool:
        self._keep(entry)
        if entry.value <= self._epochs.get(entry.key, -1):
            return False
        self._epochs[entry.key] = entry.value
        return True

    def _deny_session(self, entry: FeedEntry) -> bool:
        self._keep(entry)
        if self._sessions.get(entry.key) == _EVERYTHING:
            return False
        self._sessions[entry.key] = _EVERYTHING
        return True

    def _deny_delivery(self, entry: FeedEntry) -> bool:
        known = self._sessions.get(entry.key)
        if known == _EVERYTHING:
            return False
        generation, delivery = entry.value >> _DELIVERY_BITS, entry.value & _DELIVERY_MASK
        others, expires_at = [], entry.expires_at
        for mark in known or ():
            if mark[0] != generation:
                others.append(mark)
            elif delivery <= mark[1]:
                return False
            else:
                expires_at = max(expires_at, mark[2])
        self._sessions[entry.key] = (*others, (generation, delivery, expires_at))
        heapq.heappush(self._due, (expires_at, FeedKind.DELIVERY, entry.key))
        return True

    def _keep(self, entry: FeedEntry) -> None:
        """Keep the denial until the latest expiry seen for it."""
        name = (entry.kind, entry.key)
        if entry.expires_at > self._ends.get(name, 0.0):
            self._ends[name] = entry.expires_at
            heapq.heappush(self._due, (entry.expires_at, entry.kind, entry.key))

    def _forget(self, kind: FeedKind, key: str, now: float) -> None:
        if kind is FeedKind.DELIVERY:
            known = self._sessions.get(key)
            if not known:
                return
            left = tuple(mark for mark in known if mark[2] > now)
            if left:
                self._sessions[key] = left
            else:
                del self._sessions[key]
        elif self._ends.get((kind, key), now + 1.0) <= now:
            del self._ends[kind, key]
            if kind is FeedKind.USER:
                del self._epochs[key]
            else:
                del self._sessions[key]

    def _tell(self, entry: FeedEntry) -> None:
        user = entry.kind is FeedKind.USER
        for callback in tuple(self._subscribers):
            callback(None if user else entry.key, entry.key if user else None)


def _is_denied_delivery(deliveries: _Deliveries, claims: AccessClaims) -> bool:
    generation, number = claims.generation, claims.delivery
    for denied, delivery, _ in deliveries:
        if generation == denied and 0 < number < delivery:
            return True
        # The loser of a race holds the generation before, with the delivery it raced against as a negative number.
        if generation == denied - 1 and -delivery < number < 0:
            return True
    return False
