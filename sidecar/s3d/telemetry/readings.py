"""The registry of the metrics, read for OTLP: the same numbers under the same names as at `/metrics`.

Counters and histograms are cumulative since the start of the process. What no number stands for is left out.
"""

import logging
import math
import threading
import time
from collections.abc import Iterator
from typing import cast

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric as Family
from prometheus_client.samples import Sample

from s3d import __version__
from s3d.telemetry.waiting import Waiting

log = logging.getLogger(__name__)

UNKNOWN = cast(float, None)
"""The extremes of a histogram, which the registry does not keep: the encoder leaves None out."""
Labels = tuple[tuple[str, str], ...]


def read(registry: CollectorRegistry, began: int, now: int) -> list[Metric]:
    """All metrics, as of a time in nanoseconds."""
    return [metric for family in registry.collect() if (metric := _of(family, began, now)) is not None]


def _of(family: Family, began: int, now: int) -> Metric | None:
    samples = [sample for sample in family.samples if not math.isnan(sample.value)]
    if not samples:
        return None
    if family.type == "histogram":
        points = [*_histograms(samples, began, now)]
        data = Histogram(points, AggregationTemporality.CUMULATIVE)
        return Metric(family.name, family.documentation, "", data)
    counts = family.type == "counter"
    numbers = [
        NumberDataPoint(dict(sample.labels), began if counts else now, now, float(sample.value)) for sample in samples
    ]
    # A family has lost the ending of its samples.
    name = samples[0].name
    if counts:
        total = Sum(numbers, AggregationTemporality.CUMULATIVE, is_monotonic=True)
        return Metric(name, family.documentation, "", total)
    return Metric(name, family.documentation, "", Gauge(numbers))


def _histograms(samples: list[Sample], began: int, now: int) -> Iterator[HistogramDataPoint]:
    """One point for each set of labels. The registry's buckets hold those below them as well."""
    sums: dict[Labels, float] = {}
    buckets: dict[Labels, list[tuple[float, float]]] = {}
    for sample in samples:
        labels = {name: value for name, value in sample.labels.items() if name != "le"}
        which = tuple(sorted(labels.items()))
        if sample.name.endswith("_bucket"):
            buckets.setdefault(which, []).append((float(sample.labels["le"]), sample.value))
        elif sample.name.endswith("_sum"):
            sums[which] = sample.value
    for which, found in buckets.items():
        found.sort()
        bounds = [bound for bound, _ in found if bound != math.inf]
        upto = [int(number) for _, number in found]
        each = [number - before for number, before in zip(upto, [0, *upto], strict=False)]
        total = sums.get(which, 0.0)
        yield HistogramDataPoint(dict(which), began, now, upto[-1], total, each, bounds, UNKNOWN, UNKNOWN)


class Readings:
    """Sends the metrics, in a thread of its own: never two readings at once."""

    def __init__(
        self, exporter: MetricExporter, registry: CollectorRegistry, resource: Resource, waiting: Waiting
    ) -> None:
        """Take what to read, in whose name, and who sends it."""
        self._exporter = exporter
        self._registry = registry
        self._resource = resource
        self._waiting = waiting
        self._began = time.time_ns()
        self._due = threading.Semaphore(0)
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="metrics by OTLP", daemon=True)
        self._thread.start()

    def send(self) -> None:
        """Read and send, soon. While the one before is still being sent, this one is dropped."""
        if self._waiting.take():
            self._due.release()

    def shutdown(self) -> None:
        """Send once more, and end."""
        self.send()
        self._is_over = True
        self._due.release()
        self._thread.join()
        self._exporter.shutdown()

    def _run(self) -> None:
        while self._due.acquire() and not (self._is_over and self._waiting.is_empty):
            self._waiting.gone(1, sent=self._export())

    def _export(self) -> bool:
        scope = ScopeMetrics(InstrumentationScope("s3d", __version__), self._read(), "")
        data = MetricsData([ResourceMetrics(self._resource, [scope], "")])
        try:
            return self._exporter.export(data) is MetricExportResult.SUCCESS
        except Exception:
            log.exception("a bug: the metrics cannot be sent")
            return False

    def _read(self) -> list[Metric]:
        return read(self._registry, self._began, time.time_ns())
