"""Writes docs/metrics.md to standard output, from the declarations of s3d.metrics. `make generate` runs it."""

import sys
from collections.abc import Iterator

from s3d.metrics import Metrics

INTRODUCTION = """\
# Metrics

Generated from `sidecar/s3d/metrics.py` by `make generate`.

What the daemon shows at `/metrics` of its metrics door, for Prometheus (text or OpenMetrics).
[OPERATING.md](OPERATING.md) says which to look at, and when. No label has a key, and their number is bounded whatever
clients send. A histogram has the endings `_bucket`, `_sum` and `_count`. Beside these there are the usual ones of a
process (`process_resident_memory_bytes`, `process_cpu_seconds_total`, `process_open_fds` and others).

| metric | kind | labels | what it says |
|---|---|---|---|"""


def lines() -> Iterator[str]:
    """Yield the document."""
    yield INTRODUCTION
    for row in sorted(Metrics().table.rows, key=lambda row: row.name):
        labels = ", ".join(f"`{label}`" for label in row.labels)
        yield f"| `{row.name}` | {row.kind} | {labels} | {row.help} |"
    yield ""


if __name__ == "__main__":
    sys.stdout.write("\n".join(lines()))
