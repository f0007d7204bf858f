"""Counts of one process, and how those of several become one answer for a scraper.

Requests are counted from the access log's batches, everything else from events: neither is on the way of a request.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from gateway.events import Event, Level, Name
from gateway.sessions.decision import Outcome
from gateway.sessions.session import RevokeReason
from gateway.telemetry.values import METHODS

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the duration histograms, seconds."""
NO_ROUTE: Final = "none"
_REFRESHES: Final = frozenset({Name.SESSION_REFRESHED, Name.SESSION_REFRESH_REUSED, Name.SESSION_REFRESH_REJECTED})
_LOGINS: Final = {
    Name.LOGIN_SUCCEEDED: "succeeded",
    Name.LOGIN_FAILED: "failed",
    Name.LOGIN_THROTTLED: "throttled",
}
# What alerts wait for: counters that are there from the start, because the first of a kind is an increase only then.
_AWAITED: Final = (
    (Name.CONFIG_RELOAD_FAILED, Level.ERROR),
    (Name.CONNECTIONS_LIMITED, Level.WARNING),
    (Name.EVENTS_DROPPED, Level.WARNING),
    (Name.REQUEST_FAILED, Level.ERROR),
    (Name.SESSION_REFRESH_REUSED, Level.ERROR),
    (Name.SESSION_SUSPICIOUS, Level.WARNING),
    (Name.STORE_FAILED, Level.ERROR),
    (Name.STORE_FAILED, Level.WARNING),
    (Name.TLS_RELOAD_FAILED, Level.ERROR),
    (Name.UPSTREAM_DOWN, Level.WARNING),
    (Name.WORKER_EXITED, Level.ERROR),
    (Name.WORKER_HUNG, Level.ERROR),
)


class Kind(StrEnum):
    """What a family of samples is; gauges of several processes are added, or the largest or the smallest counts."""

    COUNTER = "counter"
    GAUGE = "gauge"
    GREATEST = "greatest"
    LEAST = "least"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Family:
    """Samples of one name. Histograms hold a count per bucket, one for those above, and the sum, in this order."""

    name: str
    text: str
    kind: Kind
    labels: tuple[str, ...] = ()
    samples: dict[tuple[str, ...], list[float]] = field(default_factory=dict)

    def add(self, labels: tuple[str, ...], value: float = 1.0) -> None:
        """Count."""
        sample = self.samples.get(labels)
        if sample is None:
            self.samples[labels] = [value]
        else:
            sample[0] += value

    def observe(self, labels: tuple[str, ...], seconds: float) -> None:
        """Put a duration where it belongs."""
        sample = self.sample(labels)
        sample[bisect_left(BUCKETS, seconds)] += 1.0
        sample[-1] += seconds

    def sample(self, labels: tuple[str, ...]) -> list[float]:
        """The counts of a histogram."""
        sample = self.samples.get(labels)
        if sample is None:
            sample = self.samples[labels] = [0.0] * (len(BUCKETS) + 2)
        return sample


class _Row:
    """What was seen of one route, method and status; `durations` are the route's."""

    __slots__ = ("durations", "received", "requests", "sent")

    def __init__(self, durations: list[float]) -> None:
        self.requests = self.received = self.sent = 0
        self.durations = durations


class Metrics:
    """The counts of this process. Labels are bounded: routes by the configuration, the others by closed sets."""

    def __init__(self) -> None:
        self._durations = Family(
            "gateway_request_duration_seconds", "From the request's head to the end of its answer.", Kind.HISTOGRAM,
            ("route",),
        )  # fmt: skip
        self._refreshes = Family(
            "gateway_refreshes", "Refresh tokens presented, by outcome.", Kind.COUNTER, ("outcome",)
        )
        self._logins = Family("gateway_logins", "Log-ins tried, by result.", Kind.COUNTER, ("result",))
        self._revoked = Family("gateway_sessions_revoked", "Sessions ended, by reason.", Kind.COUNTER, ("reason",))
        self._events = Family(
            "gateway_warnings", "Events of level warning and error.", Kind.COUNTER, ("event", "level")
        )
        self._store = Family(
            "gateway_store_duration_seconds", "Calls to the store.", Kind.HISTOGRAM, ("operation", "result")
        )
        self._revocations = Family(
            "gateway_revocation_latency_seconds", "From a revocation to its being in force here.", Kind.HISTOGRAM
        )
        for outcome in Outcome:
            self._refreshes.add((outcome.value,), 0.0)
        for result in _LOGINS.values():
            self._logins.add((result,), 0.0)
        for reason in RevokeReason:
            self._revoked.add((reason.value,), 0.0)
        for name, level in _AWAITED:
            self._events.add((name.value, level.value), 0.0)
        # By route, method and status.
        self._seen: dict[tuple[str | None, str, int], _Row] = {}
        self._authenticated = 0
        self._read: list[tuple[Family, Callable[[], float | None]]] = []

    def read_from(self, name: str, text: str, kind: Kind, read: Callable[[], float | None]) -> None:
        """Have a sample without labels read whenever somebody asks; None: there is none."""
        self._read.append((Family(name, text, kind), read))

    def requests(self, entries: Iterable[Sequence[Any]]) -> None:
        """Count a batch of the access log; the places in an entry are those of `AccessLog.request`."""
        seen = self._seen
        for _, method, _, status, route, _, duration, received, sent, _, user, *_ in entries:
            if user is not None:
                self._authenticated += 1
            key = (route, method if method in METHODS else "other", status)
            row = seen.get(key)
            if row is None:
                row = seen[key] = _Row(self._durations.sample((route or NO_ROUTE,)))
            row.requests += 1
            row.received += received
            row.sent += sent
            durations = row.durations
            durations[bisect_left(BUCKETS, duration)] += 1.0
            durations[-1] += duration

    def event(self, event: Event) -> None:
        """Count an event."""
        name = event.name
        if name in _REFRESHES:
            self._refreshes.add((str(event.fields.get("outcome", "")),))
        elif name is Name.SESSION_REVOKED:
            self._revoked.add((str(event.fields.get("reason", "")),))
        elif (result := _LOGINS.get(name)) is not None:
            self._logins.add((result,))
        if event.level is not Level.INFO:
            self._events.add((name.value, event.level.value))

    def store_call(self, operation: str, seconds: float, *, failed: bool) -> None:
        """A call to the store has ended."""
        self._store.observe((operation, "error" if failed else "ok"), seconds)

    def revocation(self, seconds: float) -> None:
        """A revocation was in force after `seconds`."""
        self._revocations.observe((), seconds)

    def snapshot(self) -> list[Family]:
        """What has been counted so far, gauges read now."""
        counted = [
            *self._of_requests(), self._durations, self._refreshes, self._logins, self._revoked, self._events,
            self._store, self._revocations,
        ]  # fmt: skip
        for family, read in self._read:
            value = read()
            if value is None:
                family.samples.pop((), None)
            else:
                family.samples[()] = [float(value)]
        return [*counted, *(family for family, _ in self._read)]

    def _of_requests(self) -> tuple[Family, ...]:
        counter = Kind.COUNTER
        requests = Family("gateway_requests", "Proxied requests.", counter, ("route", "method", "code"))
        received = Family("gateway_request_body_bytes", "Bytes of request bodies.", counter, ("route",))
        sent = Family("gateway_response_body_bytes", "Bytes of answers' bodies.", counter, ("route",))
        for (route, method, status), row in self._seen.items():
            name = route or NO_ROUTE
            requests.add((name, method, str(status)), row.requests)
            received.add((name,), row.received)
            sent.add((name,), row.sent)
        known = Family("gateway_authenticated_requests", "Of those, with a good access token.", counter)
        known.samples[()] = [float(self._authenticated)]
        return requests, received, sent, known


def merged(snapshots: Iterable[Iterable[Family]]) -> list[Family]:
    """The families of several processes as one."""
    families: dict[str, Family] = {}
    for snapshot in snapshots:
        for family in snapshot:
            into = families.setdefault(family.name, Family(family.name, family.text, family.kind, family.labels))
            for labels, values in family.samples.items():
                known = into.samples.get(labels)
                if known is None:
                    into.samples[labels] = list(values)
                elif family.kind is Kind.GREATEST:
                    known[0] = max(known[0], values[0])
                elif family.kind is Kind.LEAST:
                    known[0] = min(known[0], values[0])
                else:
                    into.samples[labels] = [one + other for one, other in zip(known, values, strict=True)]
    return list(families.values())
