"""Counts of several workers, some of which come and go."""

from __future__ import annotations

import json
from typing import Any

from gateway.runtime.fleet_metrics import FleetMetrics, packed, unpacked
from gateway.telemetry.metrics import BUCKETS, Family, Kind


def counts(requests: float, staleness: float = 0.5) -> Any:
    """What a worker tells, as it comes over the channel."""
    counter = Family("requests", "Requests.", Kind.COUNTER, ("route",), {("api",): [requests]})
    durations = Family("seconds", "Durations.", Kind.HISTOGRAM)
    durations.observe((), 0.002)
    families = [
        counter,
        durations,
        Family("open", "Open.", Kind.GAUGE, (), {(): [3.0]}),
        Family("stale", "Stale.", Kind.GREATEST, (), {(): [staleness]}),
    ]
    return json.loads(json.dumps(packed(families)))


def values(document: Any) -> dict[str, float]:
    return {
        family.name: sum(sum(sample[: len(BUCKETS) + 1]) for sample in family.samples.values())
        for family in unpacked(document)
    }


def test_packed_families_come_out_as_they_went_in() -> None:
    document = counts(5)
    assert packed(unpacked(document)) == [
        [name, text, kind, tuple(labels), [(tuple(key), value) for key, value in samples]]
        for name, text, kind, labels, samples in document
    ]


def test_others_are_added_and_who_asks_is_not() -> None:
    fleet = FleetMetrics()
    fleet.told("one", counts(1))
    fleet.told("one", counts(2))
    fleet.told("two", counts(10, staleness=4.0))
    own = Family("exits", "Exits.", Kind.COUNTER, (), {(): [1.0]})
    assert values(fleet.without("three", [own])) == {"exits": 1, "requests": 12, "seconds": 2, "open": 6, "stale": 4.0}
    assert values(fleet.without("two", [own])) == {"exits": 1, "requests": 2, "seconds": 1, "open": 3, "stale": 0.5}


def test_of_who_is_gone_only_what_was_counted_stays() -> None:
    fleet = FleetMetrics()
    fleet.told("one", counts(2))
    fleet.ended("one")
    fleet.ended("one")
    fleet.told("two", counts(3))
    fleet.ended("two")
    assert values(fleet.without("three", [])) == {"requests": 5, "seconds": 2}
