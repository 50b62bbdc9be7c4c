"""Every metric of the daemon, once: name, unit, labels and help.

Names follow Prometheus' conventions: base units, `_total` on counters, one meaning per name. A label takes its values
from a short list that we know (an operation, a status code, a state), never a key or a client's words; of buckets the
first few have series. So `/metrics` shows counts, and its size is bounded. A daemon has one Metrics, with a registry of
its own.

Gauges that describe a state (what is pending, whether the remote is up) are set when somebody scrapes, by `show`.
"""

import math
from collections.abc import Collection, Mapping
from types import MappingProxyType

from prometheus_client import CollectorRegistry
from prometheus_client.process_collector import ProcessCollector

from s3d import __version__
from s3d.problems import KINDS
from s3d.series import SECONDS, Requests, Table

STATES = ("waiting", "pushing", "in_doubt", "held", "parked", "superseded", "quarantined")
"""States of a pending change that are counted; each is shown also while it counts none."""
OPA_RESULTS = ("allow", "deny", "undefined", "error", "timeout")
COMMIT_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
COMMIT_CHANGES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

DROPPED = ("full", "unwritable")
"""Why entries of the log are not written."""
CALLERS = frozenset(
    "accepted anonymous AccessDenied AuthorizationHeaderMalformed AuthorizationQueryParametersError InvalidAccessKeyId "
    "InvalidToken MissingSecurityHeader RequestTimeTooSkewed SignatureDoesNotMatch".split()
)
"""What may come of verifying a request; other errors are counted as one."""


class Metrics:
    """All metrics, on one registry."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.table = table = Table(registry)
        """What they are, for the reference (docs/metrics.md)."""
        ProcessCollector(registry=registry)
        table.info("s3d_build", "The version that runs.").info({"version": __version__})

        self._requests = Requests(table)
        registry.register(self._requests)
        self.count_request = self._requests.count

        self.pending_changes = table.gauge(
            "s3d_queue_pending_changes",
            "Changes that were accepted and are not yet confirmed by the remote, by state.",
            ("state",),
        )
        self.unjudged_changes = table.gauge(
            "s3d_queue_unjudged_changes",
            "Pending changes about which Open Policy Agent has not decided, held ones included.",
        )
        self.pending_bytes = table.gauge("s3d_queue_pending_bytes", "Bytes of the pending changes.")
        self.kept_bytes = table.gauge(
            "s3d_queue_kept_bytes",
            "Bytes of held and parked changes, which may fill half of the queue.",
        )
        self.disk_bytes = table.gauge(
            "s3d_queue_disk_bytes",
            "Bytes of the disk that the queue takes: bodies of every state, parts, rows, and what is being received.",
        )
        self.limit_changes = table.gauge(
            "s3d_queue_limit_changes", "Most changes, parts and open uploads that may be pending."
        )
        self.limit_bytes = table.gauge("s3d_queue_limit_bytes", "Most bytes of the disk that the queue may take.")
        self.oldest_age = table.gauge(
            "s3d_queue_oldest_age_seconds", "Age of the oldest change that is waiting for delivery. 0 if there is none."
        )
        self.paused_lanes = table.gauge(
            "s3d_queue_paused_lanes", "Lanes (identity and bucket) that are paused because the remote refuses them."
        )
        self.pushes = table.counter(
            "s3d_queue_pushes_total",
            "Attempts to push a change, by outcome: delivered, retried, parked or in_doubt.",
            ("outcome",),
        )
        self.push_retries = table.counter(
            "s3d_queue_push_retries_total", "Attempts that will be repeated, by retry class.", ("class",)
        )
        self.write_through = table.counter(
            "s3d_queue_write_through_total",
            "Writes that were sent to the remote while the client waited, by reason.",
            ("reason",),
        )
        self.etag_mismatch = table.counter(
            "s3d_queue_etag_mismatch_total", "Pushes after which the remote showed another ETag."
        )
        self.conflicts = table.counter(
            "s3d_queue_conflicts_total",
            "Changes whose key another writer changed while they waited, by outcome: overwritten or parked.",
            ("outcome",),
        )
        self.late_writes = table.counter(
            "s3d_queue_late_writes_total",
            "Changes pushed again because an older write of their key arrived after them.",
        )
        self.quarantined = table.counter(
            "s3d_queue_quarantined_total", "Changes quarantined because their stored body or row is damaged."
        )

        self.cache_requests = table.counter(
            "s3d_cache_requests_total",
            "Reads of objects by what came of them: hit (from the cache, unasked), revalidated (from the cache, which "
            "the remote has confirmed), stale (from the cache, since the remote could not be asked), miss, or pass "
            "(answered without a body, or with an error).",
            ("result",),
        )
        self.cache_saved_bytes = table.counter(
            "s3d_cache_saved_bytes_total", "Bytes given from the cache instead of the remote."
        )
        self.cache_bytes = table.gauge("s3d_cache_bytes", "Bytes of the disk that the cache takes.")
        self.cache_entries = table.gauge("s3d_cache_objects", "Objects in the cache.")
        self.cache_pins = table.gauge(
            "s3d_cache_pinned_objects",
            "Names whose objects are pinned (tag s3d.cache=pin): kept (cached whole), waiting (about to be fetched), "
            "or over (left out, since there is no room for it in the half that is for pinned objects).",
            ("state",),
        )
        self.cache_evictions = table.counter(
            "s3d_cache_evictions_total",
            "Objects dropped from the cache, by reason: limit, age, disk (others needed the room), filter, policy, "
            "damaged (its file is gone) or changed.",
            ("why",),
        )
        self.cache_fills = table.counter(
            "s3d_cache_fills_total",
            "What came into the cache, by end: whole, handed (over by the write queue), changed (another version came "
            "meanwhile) or broken.",
            ("end",),
        )
        self.cache_validations = table.histogram(
            "s3d_cache_validation_duration_seconds",
            "Time until the remote said whether a cached object is the newest version.",
            buckets=SECONDS,
        )
        self.cache_corrupt_blocks = table.counter(
            "s3d_cache_corrupt_blocks_total", "Cached blocks that were damaged on the disk, and were fetched again."
        )
        self.sync_files = table.gauge(
            "s3d_sync_files", "Files that a sync folder and the remote both have.", ("folder",)
        )
        self.sync_unsent = table.gauge(
            "s3d_sync_unsent_files", "Files of a sync folder that are not queued yet.", ("folder",)
        )
        self.sync_left_alone = table.gauge(
            "s3d_sync_left_alone_files",
            "Names that a sync folder leaves alone: `s3d sync left` says why.",
            ("folder",),
        )
        self.sync_halted = table.gauge("s3d_sync_halted", "1 while a sync folder is halted.", ("folder",))
        self.sync_conflicts = table.counter(
            "s3d_sync_conflicts_total", "Files that were changed on both sides and are kept twice.", ("folder",)
        )
        self.sync_actions = table.counter(
            "s3d_sync_actions_total",
            "What a sync folder has done: push, pull, drop-here, drop-there, adopt (both sides were equal), forget.",
            ("folder", "action"),
        )
        self.sync_copied = table.counter(
            "s3d_sync_copied_bytes_total",
            "Bytes of files that were not sent, since the remote has copied them from another name.",
            ("folder",),
        )
        self.cache_names = table.gauge(
            "s3d_cache_remembered_objects",
            "What is remembered for the time in which the remote is away, by kind: names of objects, or HEADs.",
            ("kind",),
        )
        self.cache_listings = table.counter(
            "s3d_cache_listings_total",
            "Listings by who answered them: remote, stale (out of memory while the remote is away), or missed (nobody "
            "did).",
            ("source",),
        )
        self.cache_heads = table.counter(
            "s3d_cache_heads_total",
            "HEADs of objects by who answered them: remote, stale (out of memory while the remote is away), or missed "
            "(nobody did).",
            ("source",),
        )

        self.opa_requests = table.counter(
            "s3d_opa_requests_total",
            "Questions to Open Policy Agent, by what came of them: allow, deny, undefined (no boolean), error or "
            "timeout.",
            ("result",),
        )
        self.opa_duration = table.histogram(
            "s3d_opa_request_duration_seconds",
            "Time that Open Policy Agent took for an answer, or until it was given up.",
            buckets=SECONDS,
        )
        self._callers = table.counter(
            "s3d_auth_total",
            "Requests by what their signature was found to be: accepted, anonymous, or the code of the error by which "
            "they were refused. None where there are no access keys.",
            ("result",),
        )
        self.access_keys = table.gauge("s3d_access_keys", "Access keys that clients may sign with.")
        self.reload_failed = table.gauge(
            "s3d_reload_failed",
            "1 while the newest content of a file is wrong and the one before is used: settings, access_keys, "
            "identities, certificates or opa.",
            ("file",),
        )

        self.background_failures = table.counter(
            "s3d_background_failures_total",
            "Unexpected errors in background tasks, by task. The task goes on after each.",
            ("look",),
        )

        self.mount_requests = table.counter(
            "s3d_mount_requests_total",
            "Requests of the kernel to the mount, by operation and result: ok, or the name of the errno.",
            ("operation", "result"),
        )
        self.mount_open = table.gauge("s3d_mount_open_files", "Files of the mount that programs have open.")
        self.mount_unpublished = table.gauge(
            "s3d_mount_unpublished_files", "Files of the mount of which something is no object yet."
        )
        self.mount_staged = table.gauge(
            "s3d_mount_staged_bytes", "Bytes of the files of the mount that are being written, or are no objects yet."
        )

        self.tls_expiry = table.gauge(
            "s3d_tls_certificate_expiry_timestamp_seconds",
            "Unix time at which the certificate of the S3 door expires, NaN if the door has none.",
        )
        self.tls_expiry.set(math.nan)
        self.remote_up = table.gauge(
            "s3d_remote_up", "1 if the remote answers, 0 if it is away, NaN if it was not asked yet."
        )
        self.remote_up.set(math.nan)
        self.identity_up = table.gauge(
            "s3d_remote_identity_up",
            "1 if an identity has keys that the remote takes, 0 if they are missing, failing or refused, NaN if they "
            "were not used yet; `other` for all beyond the first 20.",
            ("identity",),
        )
        self.remote_requests = table.counter(
            "s3d_remote_requests_total",
            "Requests sent to the remote, by status code of the answer; `none` if no answer came.",
            ("code",),
        )

        self.commits = table.counter("s3d_store_commits_total", "Commits made durable.")
        self.commit_changes = table.histogram(
            "s3d_store_commit_changes", "Writes that shared one commit.", buckets=COMMIT_CHANGES
        )
        self.commit_duration = table.histogram(
            "s3d_store_commit_duration_seconds", "Time that one commit took to become durable.", buckets=COMMIT_SECONDS
        )
        self.store_failures = table.counter(
            "s3d_store_failures_total", "Commits and syncs of the local dir that failed."
        )

        self._problems = table.gauge(
            "s3d_problem",
            "1 while something is wrong, by its name in docs/OPERATING.md and by what is at stake: data or service.",
            ("problem", "stake"),
        )
        self.loop_lag = table.histogram(
            "s3d_loop_lag_seconds",
            "How late a timer of the loop was that is due once a second: how long requests waited for others' work.",
            buckets=SECONDS,
        )
        self.handshake_failures = table.counter(
            "s3d_tls_handshake_failures_total", "TLS handshakes with clients that failed."
        )
        self.telemetry_dropped = table.counter(
            "s3d_telemetry_dropped_total",
            "Spans, entries of the log and readings of the metrics that did not come to the collector of OpenTelemetry,"
            " by signal and by reason: full (it takes them too slowly) or refused (it does not take them).",
            ("signal", "reason"),
        )
        self._dropped_lines = table.counter(
            "s3d_log_dropped_total",
            "Entries of the log that were not written, by reason: full (they came faster than they were read) or "
            "unwritable.",
            ("reason",),
        )

        for state in STATES:
            self.pending_changes.labels(state)
        for result in OPA_RESULTS:
            self.opa_requests.labels(result)
        for reason in DROPPED:
            self._dropped_lines.labels(reason)

    def answered(self) -> tuple[int, int]:
        """How many requests there were, and how many of them failed."""
        return self._requests.totals()

    def delivered(self) -> int:
        """How many changes were delivered."""
        samples = (sample for family in self.pushes.collect() for sample in family.samples)
        return sum(int(sample.value) for sample in samples if sample.labels == {"outcome": "delivered"})

    def count_dropped_lines(self, reason: str, number: int) -> None:
        """Count entries of the log that were not written, from any thread."""
        self._dropped_lines.labels(reason).inc(number)

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

    def show_problems(self, names: Collection[str]) -> None:
        """Set the gauge of what is wrong."""
        for name in KINDS:
            self._problems.labels(name, KINDS[name].stake).set(name in names)

    def show(
        self,
        states: Mapping[str, int],
        pending_bytes: int,
        oldest_age: float | None,
        *,
        unjudged: int = 0,
        kept_bytes: int = 0,
        paused_lanes: int = 0,
        remote_up: bool | None,
        identities: Mapping[str, bool | None] = MappingProxyType({}),
        access_keys: int = 0,
        files: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Set the gauges: changes by state, bytes, the oldest one's age in seconds (None: nothing is on its way),
        bytes of what is held or parked, changes about which no policy has decided, paused lanes, whether the remote
        answers and whether each identity can act there (None: not known), access keys, and what is wrong with each file
        that is read again ("": nothing)."""
        self.access_keys.set(access_keys)
        for name, error in files.items():
            self.reload_failed.labels(name).set(bool(error))
        self.paused_lanes.set(paused_lanes)
        self.unjudged_changes.set(unjudged)
        for state in STATES:
            self.pending_changes.labels(state).set(states.get(state, 0))
        self.pending_bytes.set(pending_bytes)
        self.kept_bytes.set(kept_bytes)
        self.oldest_age.set(oldest_age or 0)
        self.remote_up.set(math.nan if remote_up is None else remote_up)
        self.identity_up.clear()
        for name, is_up in identities.items():
            self.identity_up.labels(name).set(math.nan if is_up is None else is_up)
