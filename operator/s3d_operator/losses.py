"""Losses: changes that went with their pod, or with the claim that they were left in. Pure.

What was lost stays in the status of the gateway, with a count and since when, since events end after an hour and this
process may start anew at any time. A pod that is over is there for long, with what it said at its end: its uid is kept
beside the counts while it is, so that no process counts it a second time.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from s3d_operator.drains import left_by
from s3d_operator.gateway_status import LostChanges
from s3d_operator.pods import Left, Pod, Report, total

# As many pods as a status may name.
MAX_KNOWN = 1024


def read_lost(status: Mapping[str, Any] | None) -> LostChanges | None:
    """What a status remembers of losses, as far as this version knows it; None where there were none."""
    try:
        return LostChanges.model_validate((status or {})["lost"], extra="ignore")
    except (KeyError, ValidationError):
        return None


def lost_with(pods: Iterable[Pod], reports: Mapping[str, Report], counted: Collection[str]) -> dict[str, Left]:
    """What went with pods that are over, by their uid; `counted` are those whose loss is in the counts already."""
    lost = {
        pod.uid: left_by(pod, reports.get(pod.uid))
        for pod in pods
        if not (pod.outlives or pod.drains or pod.is_expendable or pod.uid in counted)
    }
    return {uid: left for uid, left in lost.items() if left and left.changes}


def remember(
    before: LostChanges | None, lost: Mapping[str, Left], with_claims: Left, there: Collection[str], now: str
) -> LostChanges | None:
    """Add new losses to those of before; of the pods that were counted those that are `there` are kept."""
    new = [left for left in (*lost.values(), with_claims) if left.changes]
    if before is None and not new:
        return None
    last = now if new or before is None else before.last
    return LostChanges(
        changes=total([before.changes if before else 0, *(left.changes for left in new)]),
        bytes=total([before.bytes if before else 0, *(left.bytes for left in new)]),
        since=before.since if before else now,
        last=last,
        counted=tuple(uid for uid in (*(before.counted if before else ()), *lost) if uid in there)[-MAX_KNOWN:],
    )
