"""What the status doors show of the queue. Read from the tables by an index; it changes nothing.

Times are shown as the clock of the day is set now, but for that of an acknowledgement: clients were told that one.
"""

from typing import Any

from s3d.layers.queue import buckets
from s3d.layers.queue.parts import Parts
from s3d.layers.queue.rows import changes, claims, lanes, views

OFTEN = 5
"""Attempts from which on a change is named that is not delivered."""
MOST_TRIED = 20
"""Changes that are named so."""


def pending(parts: Parts) -> dict[str, Any]:
    """What is pending: changes, bytes, the oldest one's age in seconds, parked and held changes."""
    states = views.tally(parts.db)
    oldest = views.oldest(parts.db)
    return {
        "changes": sum(count for count, _ in states.values()),
        "bytes": sum(size for _, size in states.values()),
        "oldest_age_seconds": None if oldest is None else max(0.0, parts.clock.now() - oldest),
        "parked": states["parked"][0],
        "held": states["held"][0],
    }


def states(parts: Parts) -> dict[str, int]:
    """Changes by state."""
    return {state: count for state, (count, _) in views.tally(parts.db).items()}


def of_bucket(parts: Parts, bucket: str) -> dict[str, Any]:
    """What is known of a bucket, and what is pending in it."""
    known = parts.buckets.remembered(bucket)
    count, size = views.bucket_tally(parts.db, bucket)
    writes = "queued"
    if known and known.through == buckets.REFUTED:
        writes = f"refused: {known.detail}"
    elif known and parts.buckets.through(known):
        writes = f"through: {known.through} ({known.detail})"
    elif parts.buckets.ordered(bucket):
        writes = "queued, each as a version"
    return {
        "bucket": bucket,
        "known": parts.buckets.vouched(bucket),
        "writes": writes,
        "pending": {"changes": count, "bytes": size},
    }


def of_object(parts: Parts, bucket: str, key: str) -> dict[str, Any]:
    """The changes of one key, oldest first, and the state of the newest; `settled` where nothing is pending.

    What a newer change has superseded is listed as long as it is kept, and says nothing of the object any more (Q-9).
    """
    found = views.of_key(parts.db, bucket, key)
    state = next((change.state for change in reversed(found) if change.state != "superseded"), "settled")
    shown = [
        {
            "seq": change.seq,
            "op": change.op,
            "state": change.state,
            "size": change.size,
            "etag": change.etag,
            "acked_at": change.acked_at,
            "age_seconds": max(0.0, parts.clock.now() - change.queued_at),
            "attempts": change.attempts,
            "next_at": None if change.next_at >= changes.NEVER else parts.clock.wall_of(change.next_at),
            "code": change.code,
            "reason": change.reason,
            "rule": change.rule,
        }
        for change in found
    ]
    return {"bucket": bucket, "key": key, "state": state, "changes": shown}


def tried(parts: Parts) -> list[dict[str, Any]]:
    """Changes that were tried again and again, and why they are not delivered."""
    return [
        {
            "seq": change.seq,
            "bucket": change.bucket,
            "key": change.key,
            "op": change.op,
            "state": change.state,
            "attempts": change.attempts,
            "code": change.code,
            "reason": change.reason,
        }
        for change in claims.tried(parts.db, OFTEN, MOST_TRIED)
    ]


def of_lanes(parts: Parts) -> list[dict[str, Any]]:
    """The lanes that the remote refuses, the longest first."""
    return [
        {
            "bucket": lane.bucket,
            "identity": lane.identity,
            "state": lane.state,
            "since": parts.clock.wall_of(lane.since),
            "code": lane.code,
            "reason": lane.reason,
            "attempts": lane.attempts,
            "probe_at": parts.clock.wall_of(lane.probe_at),
        }
        for lane in lanes.shut(parts.db)
    ]
