"""Sets the gauges of the metrics to what the daemon says of itself, for whoever is about to read them."""

from contextlib import suppress

from s3d.admin.reports import Reports
from s3d.errors import S3DError
from s3d.metrics import Metrics

UP = {"found": True, "not required": True, "missing": False, "failing": False, "refused": False}
"""Whether an identity can act at the remote, by what is known of its keys."""


def show(reports: Reports, metrics: Metrics) -> None:
    """Set them."""
    metrics.show_problems({one.name for one in reports.problems()})
    with suppress(S3DError):  # a store that fails is itself in the counts
        status = reports.status()
        up = {"reachable": True, "away": False}.get(status["remote"]["state"])
        pending = status["pending"]
        metrics.show(
            status["states"],
            pending["bytes"],
            pending["oldest_age_seconds"],
            unjudged=pending["unjudged"],
            kept_bytes=pending["kept_bytes"],
            paused_lanes=status["paused_lanes"],
            remote_up=up,
            identities={one["name"]: UP.get(one["credentials"]) for one in status["remote"]["identities"]},
            access_keys=status["access_keys"] or 0,
            files={name: file["error"] for name, file in status["files"].items()},
        )
