"""`/metrics`: the counts of all workers in the Prometheus text format."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import accumulate

from aiohttp import web

from gateway.telemetry.metrics import BUCKETS, Family, Kind

Snapshot = Callable[[], Awaitable[Iterable[Family]]]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(families: Iterable[Family]) -> bytes:
    """The text a scraper reads."""
    from prometheus_client.exposition import generate_latest  # 2 MB that a gateway nobody scrapes does without
    from prometheus_client.registry import Collector, CollectorRegistry

    class Counted(Collector):
        def collect(self) -> Iterator[object]:  # type: ignore[override]
            return map(_family, families)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Counted())
    return generate_latest(registry)


def _family(family: Family) -> object:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    if family.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(family.name, family.text, labels=family.labels)
        bounds = [*map(str, BUCKETS), "+Inf"]
        for labels, values in family.samples.items():
            counts = accumulate(values[:-1])
            histogram.add_metric(labels, list(zip(bounds, counts, strict=True)), sum_value=values[-1])
        return histogram
    kind = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
    plain = kind(family.name, family.text, labels=family.labels)
    for labels, values in family.samples.items():
        plain.add_metric(labels, values[0])
    return plain


def metrics_handler(snapshot: Snapshot) -> Callable[[web.Request], Awaitable[web.Response]]:
    """The handler of `/metrics`; 503 when other workers' counts do not come: half a sum would look like a restart."""

    async def metrics(_: web.Request) -> web.Response:
        try:
            families = await snapshot()
        except TimeoutError:
            return web.Response(status=503, headers={"Cache-Control": "no-store"})
        body = render(families)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})

    return metrics
