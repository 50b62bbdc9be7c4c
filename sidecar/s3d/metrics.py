"""Every metric of the daemon, once: name, unit, labels and help.

Names follow Prometheus' conventions: base units, `_total` on counters, one meaning per name. A label takes its values
from a short list that we know (an operation, a status code, a state), never a bucket, a key or a client's words, so
that `/metrics` shows counts and its size is bounded. A daemon has one Metrics, with a registry of its own.

Gauges that describe a state (what is pending, whether the remote is up) are set when somebody scrapes, by `show`.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import accumulate
from types import MappingProxyType

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from s3d import __version__

STATES = ("waiting", "pushing", "in_doubt", "held", "parked", "superseded", "quarantined")
"""States of a pending change that are counted; each is shown also while it counts none."""
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
COMMIT_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
COMMIT_CHANGES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

# A series with the time at which each counter was made says nothing here and doubles the page.
disable_created_metrics()  # type: ignore[no-untyped-call]

CALLERS = frozenset(
    "accepted anonymous AccessDenied AuthorizationHeaderMalformed AuthorizationQueryParametersError InvalidAccessKeyId "
    "InvalidToken MissingSecurityHeader RequestTimeTooSkewed SignatureDoesNotMatch".split()
)
"""What may come of verifying a request; other errors are counted as one."""


class Requests(Collector):
    """What is counted for every request, by plain numbers: a lock and an object for each would cost four times as much.

    One thread counts; any may collect.
    """

    def __init__(self) -> None:
        self._answered: dict[tuple[str, int], int] = {}
        self._durations: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}
        self._received = 0
        self._sent = 0

    def count(self, operation: str, code: int, seconds: float, received: int, sent: int) -> None:
        """Count one."""
        key = operation, code
        self._answered[key] = self._answered.get(key, 0) + 1
        buckets = self._durations.get(operation)
        if buckets is None:
            buckets = self._durations[operation] = [0] * (len(SECONDS) + 1)
        buckets[bisect_left(SECONDS, seconds)] += 1
        self._seconds[operation] = self._seconds.get(operation, 0.0) + seconds
        self._received += received
        self._sent += sent

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        requests = CounterMetricFamily(
            "s3d_requests",
            "S3 requests answered, by operation and status. What is refused as bad HTTP is not counted.",
            labels=("operation", "code"),
        )
        for (operation, code), number in list(self._answered.items()):
            requests.add_metric((operation, str(code)), number)
        yield requests
        durations = HistogramMetricFamily(
            "s3d_request_duration_seconds",
            "Time from the headers of a request to the headers of its answer.",
            labels=("operation",),
        )
        for operation, buckets in list(self._durations.items()):
            counts = zip((*map(floatToGoString, SECONDS), "+Inf"), accumulate(buckets), strict=True)
            durations.add_metric((operation,), list(counts), self._seconds.get(operation, 0.0))
        yield durations
        yield CounterMetricFamily(
            "s3d_request_bytes", "Bytes of request bodies, by their Content-Length.", self._received
        )
        yield CounterMetricFamily(
            "s3d_response_bytes", "Bytes of response bodies, by their Content-Length.", self._sent
        )


class Metrics:
    """All metrics, on one registry."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Info("s3d_build", "The version that runs.", registry=registry).info({"version": __version__})

        self._requests = Requests()
        registry.register(self._requests)

        self.pending_changes = Gauge(
            "s3d_queue_pending_changes",
            "Changes that were accepted and are not yet confirmed by the remote, by state.",
            ("state",),
            registry=registry,
        )
        self.pending_bytes = Gauge("s3d_queue_pending_bytes", "Bytes of the pending changes.", registry=registry)
        self.disk_bytes = Gauge(
            "s3d_queue_disk_bytes",
            "Bytes of the disk that the queue takes: bodies of every state, parts, rows, and what is being received.",
            registry=registry,
        )
        self.limit_changes = Gauge(
            "s3d_queue_limit_changes", "Most changes, parts and open uploads that may be pending.", registry=registry
        )
        self.limit_bytes = Gauge(
            "s3d_queue_limit_bytes", "Most bytes of the disk that the queue may take.", registry=registry
        )
        self.oldest_age = Gauge(
            "s3d_queue_oldest_age_seconds",
            "Age of the oldest change that is waiting for delivery. 0 if there is none.",
            registry=registry,
        )
        self.paused_lanes = Gauge(
            "s3d_queue_paused_lanes",
            "Lanes (identity and bucket) that are paused because the remote refuses them.",
            registry=registry,
        )
        self.pushes = Counter(
            "s3d_queue_pushes_total",
            "Attempts to push a change, by outcome: delivered, retried, parked or in_doubt.",
            ("outcome",),
            registry=registry,
        )
        self.push_retries = Counter(
            "s3d_queue_push_retries_total",
            "Attempts that will be repeated, by retry class.",
            ("class",),
            registry=registry,
        )
        self.write_through = Counter(
            "s3d_queue_write_through_total",
            "Writes that were sent to the remote while the client waited, by reason.",
            ("reason",),
            registry=registry,
        )
        self.etag_mismatch = Counter(
            "s3d_queue_etag_mismatch_total", "Pushes after which the remote showed another ETag.", registry=registry
        )
        self.conflicts = Counter(
            "s3d_queue_conflicts_total",
            "Changes whose key another writer changed while they waited, by outcome: overwritten or parked.",
            ("outcome",),
            registry=registry,
        )
        self.late_writes = Counter(
            "s3d_queue_late_writes_total",
            "Changes pushed again because an older write of their key arrived after them.",
            registry=registry,
        )
        self.quarantined = Counter(
            "s3d_queue_quarantined_total",
            "Changes quarantined because their stored body or row is damaged.",
            registry=registry,
        )

        self._callers = Counter(
            "s3d_auth_total",
            "Requests by what their signature was found to be: accepted, anonymous, or the code of the error by which "
            "they were refused. None where there are no access keys.",
            ("result",),
            registry=registry,
        )
        self.access_keys = Gauge("s3d_access_keys", "Access keys that clients may sign with.", registry=registry)
        self.reload_failed = Gauge(
            "s3d_reload_failed",
            "1 while the newest content of a file is wrong and the one before is used: settings, access_keys, "
            "identities or certificates.",
            ("file",),
            registry=registry,
        )

        self.background_failures = Counter(
            "s3d_background_failures_total",
            "Unexpected errors in background tasks, by task. The task goes on after each.",
            ("look",),
            registry=registry,
        )

        self.tls_expiry = Gauge(
            "s3d_tls_certificate_expiry_timestamp_seconds",
            "Unix time at which the certificate of the S3 door expires, NaN if the door has none.",
            registry=registry,
        )
        self.tls_expiry.set(math.nan)
        self.remote_up = Gauge(
            "s3d_remote_up",
            "1 if the remote answers, 0 if it is away, NaN if it was not asked yet.",
            registry=registry,
        )
        self.remote_up.set(math.nan)
        self.identity_up = Gauge(
            "s3d_remote_identity_up",
            "1 if an identity has keys that the remote takes, 0 if they are missing, failing or refused, NaN if they "
            "were not used yet; `other` for all beyond the first 20.",
            ("identity",),
            registry=registry,
        )
        self.remote_requests = Counter(
            "s3d_remote_requests_total",
            "Requests sent to the remote, by status code of the answer; `none` if no answer came.",
            ("code",),
            registry=registry,
        )

        self.commits = Counter("s3d_store_commits_total", "Commits made durable.", registry=registry)
        self.commit_changes = Histogram(
            "s3d_store_commit_changes", "Writes that shared one commit.", buckets=COMMIT_CHANGES, registry=registry
        )
        self.commit_duration = Histogram(
            "s3d_store_commit_duration_seconds",
            "Time that one commit took to become durable.",
            buckets=COMMIT_SECONDS,
            registry=registry,
        )
        self.store_failures = Counter(
            "s3d_store_failures_total", "Commits and syncs of the local dir that failed.", registry=registry
        )

        for state in STATES:
            self.pending_changes.labels(state)

    def count_request(self, operation: str, code: int, seconds: float, received: int = 0, sent: int = 0) -> None:
        """Count one answered request: its operation ("" for an unknown one), HTTP status, duration and body sizes in
        bytes. An operation is a name of the S3 model, so that the labels stay few."""
        self._requests.count(operation or "unknown", code, seconds, received, sent)

    def count_caller(self, result: str) -> None:
        """Count what came of verifying a request's signature: accepted, anonymous, or the code of the error."""
        self._callers.labels(result if result in CALLERS else "other").inc()

    def count_commit(self, changes: int, seconds: float, failed: bool = False) -> None:
        """Count one commit of so many writes: durable, or failed."""
        if failed:
            self.store_failures.inc()
            return
        self.commits.inc()
        self.commit_changes.observe(changes)
        self.commit_duration.observe(seconds)

    def show(
        self,
        states: Mapping[str, int],
        pending_bytes: int,
        oldest_age: float | None,
        *,
        paused_lanes: int = 0,
        remote_up: bool | None,
        identities: Mapping[str, bool | None] = MappingProxyType({}),
        access_keys: int = 0,
        files: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Set the gauges: changes by state, bytes, the oldest one's age in seconds (None: nothing is on its way),
        paused lanes, whether the remote answers and whether each identity can act there (None: not known), access keys,
        and what is wrong with each file that is read again ("": nothing)."""
        self.access_keys.set(access_keys)
        for name, error in files.items():
            self.reload_failed.labels(name).set(bool(error))
        self.paused_lanes.set(paused_lanes)
        for state in STATES:
            self.pending_changes.labels(state).set(states.get(state, 0))
        self.pending_bytes.set(pending_bytes)
        self.oldest_age.set(oldest_age or 0)
        self.remote_up.set(math.nan if remote_up is None else remote_up)
        self.identity_up.clear()
        for name, is_up in identities.items():
            self.identity_up.labels(name).set(math.nan if is_up is None else is_up)
