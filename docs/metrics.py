"""Writes docs/metrics.md to standard output, from the declarations of s3d.metrics. `make generate` runs it."""

import sys
from collections.abc import Iterator

from prometheus_client.metrics import MetricWrapperBase

from s3d.metrics import Metrics
from s3d_operator.metrics import ReconcilerMetrics, WebhookMetrics

INTRODUCTION = """\
# Metrics

Generated from `sidecar/s3d/metrics.py` and `operator/s3d_operator/metrics.py` by `make generate`.

What the daemon shows at `/metrics` of its metrics door, for Prometheus (text or OpenMetrics).
[OPERATING.md](OPERATING.md) says which to look at, and when. No label has a key, and their number is bounded whatever
clients send. A histogram has the endings `_bucket`, `_sum` and `_count`. Beside these there are the usual ones of a
process (`process_resident_memory_bytes`, `process_cpu_seconds_total`, `process_open_fds` and others).

| metric | kind | labels | what it says |
|---|---|---|---|"""

OPERATOR = """\
## Of the operator

What the webhook (`s3d_webhook_*`, each replica its own) and the reconciler (`s3d_operator_*`) show at `/metrics` of
their health port.

| metric | kind | labels | what it says |
|---|---|---|---|"""


def lines() -> Iterator[str]:
    """Yield the document."""
    yield INTRODUCTION
    for row in sorted(Metrics().table.rows, key=lambda row: row.name):
        labels = ", ".join(f"`{label}`" for label in row.labels)
        yield f"| `{row.name}` | {row.kind} | {labels} | {row.help} |"
    yield ""
    yield OPERATOR
    for metrics in (WebhookMetrics(), ReconcilerMetrics()):
        for metric in vars(metrics).values():
            if isinstance(metric, MetricWrapperBase):
                (family,) = metric.describe()
                name = f"{family.name}_total" if family.type == "counter" else family.name
                labels = ", ".join(f"`{label}`" for label in metric._labelnames)  # noqa: SLF001 -- it says them nowhere else
                yield f"| `{name}` | {family.type} | {labels} | {family.documentation} |"
    yield ""


if __name__ == "__main__":
    sys.stdout.write("\n".join(lines()))
