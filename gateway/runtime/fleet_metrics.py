"""What all workers have counted, those that are gone included: a counter that went down would look like a restart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from gateway.telemetry.metrics import Family, Kind, merged

_LASTING: Final = frozenset({Kind.COUNTER, Kind.HISTOGRAM})

Packed = list[list[Any]]
"""Families as JSON can hold them."""


def packed(families: Iterable[Family]) -> Packed:
    """For the channel between worker and supervisor."""
    return [
        [family.name, family.text, family.kind.value, family.labels, list(family.samples.items())]
        for family in families
    ]


def unpacked(document: Packed) -> list[Family]:
    """What `packed` packed."""
    return [
        Family(name, text, Kind(kind), tuple(labels), {tuple(key): list(values) for key, values in samples})
        for name, text, kind, labels, samples in document
    ]


class FleetMetrics:
    """The counts of each worker as it last told them, and of those that have ended."""

    def __init__(self) -> None:
        self._told: dict[object, Packed] = {}
        self._gone: list[Family] = []

    def told(self, worker: object, counts: Packed) -> None:
        """`worker` has counted so much since it began."""
        self._told[worker] = counts

    def ended(self, worker: object) -> None:
        """`worker` is gone; what it counted stays."""
        lasting = [family for family in unpacked(self._told.pop(worker, [])) if family.kind in _LASTING]
        self._gone = merged([self._gone, lasting])

    def without(self, worker: object, own: Iterable[Family]) -> Packed:
        """All but those of `worker`, which knows its own better, and with those of the supervisor itself."""
        others = (unpacked(counts) for known, counts in self._told.items() if known is not worker)
        return packed(merged([own, self._gone, *others]))
