"""How series are declared and counted: the table of what there is, and requests by operation, bucket and status.

A request is counted in plain numbers; Prometheus' own objects would cost several times as much. Of buckets the first
few have series, so the size of a page is bounded.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

# A series with the time at which each counter was made says nothing here and doubles the page.
disable_created_metrics()  # type: ignore[no-untyped-call]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
MAX_BUCKETS = 50
"""Buckets that have series of their own."""
OTHER = "_other"
"""Stands for all others. No bucket is called so: names begin with a letter or a digit."""
FIRST_ONES = f"The first {MAX_BUCKETS} that a request has succeeded for have their own series; {OTHER} is all others."

HistogramFamily = Callable[[], HistogramMetricFamily]
CounterFamily = Callable[[], CounterMetricFamily]


@dataclass(frozen=True, slots=True)
class Declared:
    """One metric."""

    name: str
    """As its samples are called, but for the endings of a histogram's."""
    kind: Literal["counter", "gauge", "histogram", "info"]
    labels: tuple[str, ...]
    help: str


class Table:
    """The metrics that are declared, and makes them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Take where they are registered."""
        self._registry = registry
        self.rows: list[Declared] = []

    def counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
        """Declare a number that only grows."""
        self.rows.append(Declared(name, "counter", labels, text))
        return Counter(name, text, labels, registry=self._registry)

    def gauge(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
        """Declare a number that goes up and down."""
        self.rows.append(Declared(name, "gauge", labels, text))
        return Gauge(name, text, labels, registry=self._registry)

    def histogram(self, name: str, text: str, *, buckets: tuple[float, ...]) -> Histogram:
        """Declare numbers that are counted by size."""
        self.rows.append(Declared(name, "histogram", (), text))
        return Histogram(name, text, buckets=buckets, registry=self._registry)

    def info(self, name: str, text: str) -> Info:
        """Declare words."""
        self.rows.append(Declared(f"{name}_info", "info", (), text))
        return Info(name, text, registry=self._registry)

    def counted(self, name: str, text: str, labels: tuple[str, ...] = ()) -> CounterFamily:
        """Declare a number that its owner counts by itself; returns what makes the family of a moment."""
        self.rows.append(Declared(name, "counter", labels, text))
        return lambda: CounterMetricFamily(name, text, labels=labels)

    def durations(self, name: str, text: str, labels: tuple[str, ...]) -> HistogramFamily:
        """Declare seconds that their owner counts by itself; returns what makes the family of a moment."""
        self.rows.append(Declared(name, "histogram", labels, text))
        return lambda: HistogramMetricFamily(name, text, labels=labels)


class Durations:
    """Seconds that were counted, in plain numbers: a lock and an object for each would cost four times as much."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        """Begin with none."""
        self.counts = [0] * (len(SECONDS) + 1)
        """By the place in SECONDS; the last one is of those that are beyond."""
        self.total = 0.0

    def add(self, others: "Durations") -> None:
        """Count others, too."""
        self.counts = [ours + theirs for ours, theirs in zip(self.counts, others.counts, strict=True)]
        self.total += others.total


class Answers:
    """Requests of one operation that were answered alike."""

    __slots__ = ("first_byte", "last_byte")

    def __init__(self) -> None:
        """Begin with none."""
        self.first_byte = Durations()
        self.last_byte = Durations()

    @property
    def number(self) -> int:
        """How many there were."""
        return sum(self.last_byte.counts)


class Requests(Collector):
    """What is counted for every request.

    One thread counts; any may collect. A bucket gets a series of its own when a request that names it first succeeds,
    so that nobody makes series by asking for what is not there; those beyond the first MAX_BUCKETS are one.
    """

    def __init__(self, table: Table) -> None:
        """Declare them."""
        self._answered: dict[tuple[str, int, str], Answers] = {}
        """By operation, status and who answered."""
        self._buckets: dict[str, list[int]] = {}
        self._received = 0
        self._sent = 0
        self._requests = table.counted(
            "s3d_requests_total",
            "Requests, by operation, status and who answered: queue, cache, stale, remote, or door for what came no "
            "further. 499: the client left before its answer began.",
            ("operation", "code", "source"),
        )
        self._first_byte = table.durations(
            "s3d_request_first_byte_seconds",
            "Time from the head of a request to the first byte of its answer.",
            ("operation", "source"),
        )
        self._last_byte = table.durations(
            "s3d_request_duration_seconds",
            "Time from the head of a request to the last byte of its answer, as it is handed to the system.",
            ("operation", "source"),
        )
        self._bytes = (
            table.counted("s3d_request_bytes_total", "Bytes of request bodies, by their Content-Length."),
            table.counted("s3d_response_bytes_total", "Bytes of response bodies, by their Content-Length."),
        )
        self._by_bucket = tuple(
            table.counted(f"s3d_bucket_{name}_total", f"{what} by the bucket that they name. {FIRST_ONES}", ("bucket",))
            for name, what in (
                ("requests", "Requests,"),
                ("request_bytes", "Bytes of request bodies,"),
                ("response_bytes", "Bytes of response bodies,"),
            )
        )

    def count(
        self,
        operation: str,
        code: int,
        source: str,
        *,
        first_byte: float,
        last_byte: float,
        bucket: str = "",
        received: int = 0,
        sent: int = 0,
    ) -> None:
        """Count one request: its operation ("" for an unknown one), HTTP status, who answered, the seconds to the first
        and to the last byte of the answer, its bucket, and body sizes in bytes. An operation is a name of the S3 model,
        so that the labels stay few."""
        key = operation or "unknown", code, source
        answers = self._answered.get(key)
        if answers is None:
            answers = self._answered[key] = Answers()
        first, last = answers.first_byte, answers.last_byte
        place = bisect_left(SECONDS, last_byte)
        last.counts[place] += 1
        last.total += last_byte
        # What leaves in one piece is over with its first byte.
        first.counts[place if first_byte == last_byte else bisect_left(SECONDS, first_byte)] += 1
        first.total += first_byte
        self._received += received
        self._sent += sent
        if bucket:
            counts = self._buckets.get(bucket)
            if counts is None:
                is_known = code < 400 and len(self._buckets) < MAX_BUCKETS
                counts = self._buckets.setdefault(bucket if is_known else OTHER, [0, 0, 0])
            counts[0] += 1
            counts[1] += received
            counts[2] += sent

    def totals(self) -> tuple[int, int]:
        """How many there were, and how many of them failed: with a status from 500 on."""
        answered = [(code, answers.number) for (_, code, _), answers in list(self._answered.items())]
        return sum(number for _, number in answered), sum(number for code, number in answered if code >= 500)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        requests = self._requests()
        first, last = (
            defaultdict[tuple[str, str], Durations](Durations),
            defaultdict[tuple[str, str], Durations](Durations),
        )
        for (operation, code, source), answers in list(self._answered.items()):
            requests.add_metric((operation, str(code), source), answers.number)
            first[operation, source].add(answers.first_byte)
            last[operation, source].add(answers.last_byte)
        yield requests
        for histogram, found in (self._first_byte(), first), (self._last_byte(), last):
            for labels, durations in found.items():
                limits = (*map(floatToGoString, SECONDS), "+Inf")
                up_to = zip(limits, accumulate(durations.counts), strict=True)
                histogram.add_metric(labels, [*up_to], durations.total)
            yield histogram
        for make, number in zip(self._bytes, (self._received, self._sent), strict=True):
            total = make()
            total.add_metric((), number)
            yield total
        by_bucket = [make() for make in self._by_bucket]
        for bucket, counts in list(self._buckets.items()):
            for family, number in zip(by_bucket, counts, strict=True):
                family.add_metric((bucket,), number)
        yield from by_bucket
