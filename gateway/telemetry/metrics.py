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


class Kind(StrEnum):
    """What a family of samples is; gauges of several processes are added, or the largest counts."""

    COUNTER = "counter"
    GAUGE = "gauge"
    GREATEST = "greatest"
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
        sample = self.samples.get(labels)
        if sample is None:
            sample = self.samples[labels] = [0.0] * (len(BUCKETS) + 2)
        sample[bisect_left(BUCKETS, seconds)] += 1.0
        sample[-1] += seconds


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
        # (route, method, status): requests, bytes received, bytes sent.
        self._seen: dict[tuple[str | None, str, int], list[int]] = {}
        self._read: list[tuple[Family, Callable[[], float]]] = []

    def read_from(self, name: str, text: str, kind: Kind, read: Callable[[], float]) -> None:
        """Have a sample without labels read whenever somebody asks."""
        self._read.append((Family(name, text, kind), read))

    def requests(self, entries: Iterable[Sequence[Any]]) -> None:
        """Count a batch of the access log; the places in an entry are those of `AccessLog.request`."""
        seen, durations = self._seen, self._durations
        for _, method, _, status, route, _, duration, received, sent, *_ in entries:
            key = (route, method if method in METHODS else "other", status)
            row = seen.get(key)
            if row is None:
                row = seen[key] = [0, 0, 0]
            row[0] += 1
            row[1] += received
            row[2] += sent
            durations.observe((route or NO_ROUTE,), duration)

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

    def snapshot(self) -> list[Family]:
        """What has been counted so far, gauges read now."""
        counted = [
            *self._of_requests(), self._durations, self._refreshes, self._logins, self._revoked, self._events,
            self._store,
        ]  # fmt: skip
        for family, read in self._read:
            family.samples[()] = [float(read())]
        return [*counted, *(family for family, _ in self._read)]

    def _of_requests(self) -> tuple[Family, ...]:
        counter = Kind.COUNTER
        requests = Family("gateway_requests", "Proxied requests.", counter, ("route", "method", "code"))
        received = Family("gateway_request_body_bytes", "Bytes of request bodies.", counter, ("route",))
        sent = Family("gateway_response_body_bytes", "Bytes of answers' bodies.", counter, ("route",))
        for (route, method, status), row in self._seen.items():
            name = route or NO_ROUTE
            requests.add((name, method, str(status)), row[0])
            received.add((name,), row[1])
            sent.add((name,), row[2])
        return requests, received, sent


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
                else:
                    into.samples[labels] = [one + other for one, other in zip(known, values, strict=True)]
    return list(families.values())
