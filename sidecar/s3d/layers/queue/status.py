"""What the status doors show of the queue. Read from the tables by an index; it changes nothing.

Times are shown as the clock of the day is set now, but for that of an acknowledgement: clients were told that one.
"""

from typing import Any

from s3d.clock import Clock
from s3d.layers.queue.remote_facts.buckets import REFUTED, Buckets
from s3d.layers.queue.rows import changes, claims, lanes, lookups, verdicts
from s3d.layers.queue.rows.changes import Change
from s3d.store.db import Database

MANY_ATTEMPTS = 5
"""Attempts from which on a change is named that is not delivered."""
MAX_TRIED = 20
"""Changes that are named so."""
MAX_UNDER_WAY = 100
"""Changes that are to be pushed and are named."""


def pending(db: Database, clock: Clock) -> dict[str, Any]:
    """What is pending: changes, bytes, the oldest one's age in seconds, parked and held changes and the bytes of both,
    and how many changes the policy has said nothing of yet."""
    states = lookups.tally(db)
    oldest = lookups.oldest(db)
    return {
        "changes": sum(count for count, _ in states.values()),
        "bytes": sum(size for _, size in states.values()),
        "oldest_age_seconds": None if oldest is None else max(0.0, clock.now() - oldest),
        "parked": states["parked"][0],
        "held": states["held"][0],
        "unjudged": verdicts.unjudged(db),
        "kept_bytes": states["held"][1] + states["parked"][1],
    }


def states(db: Database) -> dict[str, int]:
    """Changes by state."""
    return {state: count for state, (count, _) in lookups.tally(db).items()}


def of_bucket(db: Database, buckets: Buckets, bucket: str) -> dict[str, Any]:
    """What is known of a bucket, and what is pending in it."""
    known = buckets.remembered(bucket)
    count, size = lookups.bucket_tally(db, bucket)
    writes = "queued"
    if known and known.through == REFUTED:
        writes = f"refused: {known.detail}"
    elif known and buckets.through(known):
        writes = f"through: {known.through} ({known.detail})"
    elif buckets.ordered(bucket):
        writes = "queued, each as a version"
    return {
        "bucket": bucket,
        "known": buckets.vouched(bucket),
        "writes": writes,
        "pending": {"changes": count, "bytes": size},
    }


def of_object(db: Database, clock: Clock, bucket: str, key: str) -> dict[str, Any]:
    """The changes of one key, oldest first, and the state of the newest; `delivered` where nothing is pending.

    What a newer change has superseded is listed as long as it is kept, and says nothing of the object any more (Q-9).
    """
    found = lookups.of_key(db, bucket, key)
    state = next((change.state for change in reversed(found) if change.state != "superseded"), "delivered")
    return {
        "bucket": bucket,
        "key": key,
        "state": state,
        "changes": [{**described(change, clock), "waits_for": waited_for(db, change)} for change in found],
    }


def described(change: Change, clock: Clock) -> dict[str, Any]:
    """A change, but for its name and its body."""
    return {
        "seq": change.seq,
        "op": change.op,
        "identity": change.identity,
        "state": change.state,
        "size": change.size,
        "etag": change.etag,
        "acked_at": change.acked_at,
        "age_seconds": max(0.0, clock.now() - change.queued_at),
        "attempts": change.attempts,
        "next_at": None if change.next_at >= changes.NEVER else clock.wall_of(change.next_at),
        "code": change.code,
        "reason": change.reason,
        "rule": change.rule,
        "origin": change.origin,
    }


def under_way(db: Database, clock: Clock) -> list[dict[str, Any]]:
    """The oldest changes that are to be pushed and wait for no other one."""
    return [
        {"bucket": change.bucket, "key": change.key, **described(change, clock)}
        for change in lookups.under_way(db, MAX_UNDER_WAY)
    ]


def waited_for(db: Database, change: Change) -> dict[str, Any] | None:
    """What must be delivered before a change; None where nothing must."""
    first = lookups.waited_for(db, change)
    if first is None:
        return None
    return {"seq": first.seq, "bucket": first.bucket, "key": first.key, "op": first.op, "state": first.state}


def tried(db: Database) -> list[dict[str, Any]]:
    """Changes that were tried again and again, and why they are not delivered."""
    return [
        {
            "seq": change.seq,
            "bucket": change.bucket,
            "key": change.key,
            "op": change.op,
            "identity": change.identity,
            "state": change.state,
            "attempts": change.attempts,
            "code": change.code,
            "reason": change.reason,
        }
        for change in claims.tried(db, MANY_ATTEMPTS, MAX_TRIED)
    ]


def of_lanes(db: Database, clock: Clock) -> list[dict[str, Any]]:
    """The lanes that the remote refuses, the longest first."""
    return [
        {
            "bucket": lane.bucket,
            "identity": lane.identity,
            "state": lane.state,
            "since": clock.wall_of(lane.since),
            "code": lane.code,
            "reason": lane.reason,
            "attempts": lane.attempts,
            "probe_at": clock.wall_of(lane.probe_at),
        }
        for lane in lanes.shut(db)
    ]
