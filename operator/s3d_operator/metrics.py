"""Every metric of the operator, once: name, unit, labels and help. The webhook and the reconciler have one object each.

Labels take their values from short lists that we know; what is counted by gateway has as many series as there are
gateways. Gauges of a state are set when somebody scrapes.
"""

import time
from typing import Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder

disable_created_metrics()  # type: ignore[no-untyped-call]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
GATEWAY = ("namespace", "gateway")


class Registered(Protocol):
    """Metrics on a registry of their own."""

    registry: CollectorRegistry


class WebhookMetrics:
    """What a replica of the webhook counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.admissions = Counter(
            "s3d_webhook_admissions",
            "Reviews of pods. result: injected, unchanged, skipped, denied, error; reason: why not injected.",
            ("opt_in", "result", "reason"),
            registry=self.registry,
        )
        self.gateways = Counter(
            "s3d_webhook_gateway_reviews",
            "Reviews of S3Gateways that somebody writes. result: accepted, refused, error.",
            ("result",),
            registry=self.registry,
        )
        self.folders = Counter(
            "s3d_webhook_folder_reviews",
            "Reviews of SyncFolders that somebody writes. result: accepted, refused, error.",
            ("result",),
            registry=self.registry,
        )
        self.duration = Histogram(
            "s3d_webhook_admission_duration_seconds",
            "Time to answer a review.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.certificate_expiry = Gauge(
            "s3d_webhook_certificate_expiry_timestamp_seconds",
            "When the certificate that is served runs out, as Unix time; 0: none is served.",
            registry=self.registry,
        )
        self.cache_age = Gauge(
            "s3d_webhook_cache_age_seconds",
            "Time since the API server was last heard of about gateways; it speaks once a minute at least.",
            registry=self.registry,
        )

    def show(self, *, heard_at: float) -> None:
        """Set what depends on the moment; `heard_at` is by the monotonic clock."""
        self.cache_age.set(max(0.0, time.monotonic() - heard_at))


class ReconcilerMetrics:
    """What the reconciler counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.rounds = Counter("s3d_operator_rounds", "Rounds of the reconciler.", ("result",), registry=self.registry)
        self.heartbeat = Gauge(
            "s3d_operator_heartbeat_timestamp_seconds",
            "When the last round ended that reached the API server, as Unix time.",
            registry=self.registry,
        )
        self.pods = Gauge(
            "s3d_operator_pods",
            "Pods of a gateway. state: injected, outdated, uninjected, unreachable.",
            (*GATEWAY, "state"),
            registry=self.registry,
        )
        self.pending = Gauge(
            "s3d_operator_pending_changes",
            "Changes that are not in the remote yet, over all pods of a gateway.",
            GATEWAY,
            registry=self.registry,
        )
        self.at_risk = Gauge(
            "s3d_operator_data_at_risk",
            "The condition DataAtRisk of a gateway: 1 True, 0 False, NaN Unknown.",
            GATEWAY,
            registry=self.registry,
        )
        self.lost = Counter(
            "s3d_operator_lost_changes",
            "Changes that went with their pod, or with the claim that they were left in, before they were delivered.",
            GATEWAY,
            registry=self.registry,
        )


async def scrape(metrics: Registered, request: web.Request) -> web.Response:
    """Answer with all metrics, in the format that the scraper asks for."""
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return web.Response(body=encode(metrics.registry), headers={"Content-Type": content_type})
