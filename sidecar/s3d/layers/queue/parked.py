"""What waits for a person: changes that are parked, held, quarantined, or superseded after they were (SEMANTICS Q-9).

They can be listed, tried again, read for an export, or discarded; nothing else ever drops them. A change that is on its
way to the remote is none of these, and is left alone by everything in here.
"""

import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import apsw

from s3d.api import Body
from s3d.clock import Clock
from s3d.errors import CorruptBody, S3Error
from s3d.feed import Feed, Why
from s3d.layers.queue.capacity import Capacity
from s3d.layers.queue.multipart import concatenated
from s3d.layers.queue.push import change_body
from s3d.layers.queue.push.change_body import open_change
from s3d.layers.queue.rows import changes, claims, holds, lanes, lookups, order, transitions, verdicts
from s3d.layers.queue.rows.changes import Change
from s3d.layers.queue.rows.holds import Held
from s3d.layers.queue.rows.states import Op, State
from s3d.layers.queue.rows.subjects import Content
from s3d.layers.queue.serve.reads import verified
from s3d.layers.queue.staging import Staging
from s3d.layers.queue.turns import Turns
from s3d.metrics import Metrics
from s3d.store.bodies import Bodies
from s3d.store.db import Database

log = logging.getLogger(__name__)

MAX_PAGE = 500
"""Changes that are looked at, tried again or discarded in one go."""
MAX_SHOWN = 20
"""Changes that are named to whoever waits for a flush."""


@dataclass(frozen=True, slots=True)
class Context:
    """What waits for a person, and what is told when it moves."""

    db: Database
    clock: Clock
    bodies: Bodies
    metrics: Metrics
    capacity: Capacity
    staging: Staging
    turns: Turns
    feed: Feed
    wake: Callable[[], None]
    content: change_body.Context


def listed(context: Context, bucket: str, prefix: str, seq: int | None, after: int) -> list[dict[str, Any]]:
    """A page of them in the order of their acknowledgement, behind the change `after`."""
    return [describe(context, change) for change in lookups.kept(context.db, bucket, prefix, seq, after, MAX_PAGE)]


def describe(context: Context, change: Change) -> dict[str, Any]:
    """A change with everything that is known of it but its body. Times are Unix times."""
    return {
        "seq": change.seq,
        "bucket": change.bucket,
        "key": change.key,
        "op": change.op,
        "identity": change.identity,
        "state": change.state,
        "size": change.size,
        "etag": change.etag,
        "acked_at": change.acked_at,
        "age_seconds": max(0.0, context.clock.now() - change.queued_at),
        "attempts": change.attempts,
        "next_at": None if change.next_at >= changes.NEVER else context.clock.wall_of(change.next_at),
        "requests": change.trace.split(),
        "code": change.code,
        "reason": change.reason,
        "rule": change.rule,
        "members": dict(change.members),
        "origin": change.origin,
        "followers": order.followers(context.db, change.seq),
    }


def why(context: Context, seq: int) -> dict[str, Any]:
    """A pending change, and of each rule that is asked whether it may leave what it says. Raises S3Error (404)."""
    change = lookups.pending(context.db, seq)
    if change is None:
        raise S3Error("NoSuchChange", f"No pending change has the number {seq}", status=404)
    content = change.removes if change.op == Op.DELETE else Content(change.members, change.size)
    rule, lines = holds.explained(context.db, Held(change.bucket, change.key, change.identity, change.op, content))
    if not rule and (said := verdicts.said(context.db, seq)):
        lines.append(("the policy", "", said))
        rule = change.rule
    asked = [dict(zip(("rule", "matches", "effect"), line, strict=True)) for line in lines]
    return {"change": describe(context, change), "rule": rule, "asked": asked}


async def retry(context: Context, bucket: str, prefix: str, seq: int | None) -> dict[str, Any]:
    """Try parked changes again, and the probes of paused lanes at once. What cannot be tried stays and says why."""
    again: list[int] = []
    left: list[dict[str, Any]] = []
    after = 0
    while page := lookups.kept(context.db, bucket, prefix, seq, after, MAX_PAGE):
        after = page[-1].seq
        now = context.clock.now()
        tried = await context.db.write(lambda db, page=page, now=now: transitions.unpark(db, page, now))  # type: ignore[misc]
        again += [seq for seq, rule in tried.items() if not rule]
        for change in page:
            rule = tried.get(change.seq)
            if rule is None:
                left.append({**describe(context, change), "why": WHY[change.state]})
            elif rule:
                left.append({**describe(context, change), "state": "held", "rule": rule, "why": WHY["held"]})
    if seq is None:
        now = context.clock.now()
        await context.db.write(lambda db: lanes.hasten(db, now, bucket))
    context.wake()
    return {"changes": len(again), "left": left[:MAX_PAGE]}


WHY = {
    "held": "a rule or the policy holds it, `s3d queue why` shows which: `s3d set --tag s3d.upload=true` on the object "
    "releases what a rule holds; the policy is asked again by itself",
    "quarantined": "its row or its body is damaged: export what is left of it, then put the object again or discard it",
    "superseded": "a newer write has taken its place: export or discard it",
    "parked": "it was moved by somebody else just now",
}
"""Why a change of a state is not tried again."""


async def discard(context: Context, bucket: str, prefix: str, seq: int | None) -> dict[str, Any]:
    """Drop changes and their bodies for good. Reads of their keys then answer from the remote. What was to be delivered
    after one of them is parked."""
    dropped = size = after = 0
    while page := lookups.kept(context.db, bucket, prefix, seq, after, MAX_PAGE):
        after = page[-1].seq
        gone = await context.db.write(lambda db, page=page: transitions.discard(db, page))  # type: ignore[misc]
        for change in gone:
            dropped += 1
            size += change.size
            if change.state != State.SUPERSEDED and change.op != Op.TAG:
                context.feed.publish(change.bucket, change.key, None, Why.DISCARDED)
            context.turns.moved(change.bucket)
    context.staging.wake()
    context.capacity.freed()
    context.wake()
    return {"changes": dropped, "bytes": size}


def body(context: Context, seq: int) -> Body | None:
    """The body of a change; None where it has none. Raises S3Error (404) where no such change waits for a person."""
    found = lookups.kept(context.db, "", "", seq, 0, 1)
    if not found:
        raise S3Error("NoSuchChange", f"No change that waits for a person has the number {seq}", status=404)
    return None if found[0].op == "delete" else Remains(context, found[0])


async def flush(context: Context, bucket: str, prefix: str, upto: int | None) -> dict[str, Any]:
    """How much is left of what was pending when `upto` was the newest change, and what of it waits for a person.

    Without `upto` the newest one is meant, and everything up to it is hurried.
    """
    first, newest = upto is None, lookups.newest(context.db)
    until = newest if upto is None else upto
    now = context.clock.now()

    def look(db: apsw.Connection) -> tuple[int, int]:
        if first:
            claims.hurry_all(db, bucket, prefix, until, now)
            lanes.hasten(db, now, bucket)
        return lookups.left(db, bucket, prefix, until)

    # In the writing thread: it may be a long count, and the loop must not wait for it.
    count, size = await context.db.write(look)
    if first:
        context.wake()
    waits = lookups.kept(context.db, bucket, prefix, None, 0, MAX_SHOWN)
    shut = [lane for lane in lanes.shut(context.db) if lane.bucket == bucket or not bucket]
    return {
        "upto": until,
        "changes": count,
        "bytes": size,
        "kept": [describe(context, change) for change in waits if change.state != "superseded" and change.seq <= until],
        "lanes": [{"bucket": lane.bucket, "code": lane.code, "reason": lane.reason} for lane in shut],
    }


class Remains(Body):
    """The body of a change. One that turns out to be damaged is quarantined instead of being given out; from then on it
    is given out as it is on the disk."""

    def __init__(self, context: Context, change: Change) -> None:
        """Take the change."""
        self._context = context
        self._change = change

    @property
    def length(self) -> int | None:
        """Length in bytes, as it was acknowledged; None where the body is damaged."""
        return None if is_damaged(self._change) else self._change.size

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield what is there. Raises S3Error before the first block where the body is found to be damaged."""
        change = self._change
        if not is_damaged(change):
            try:
                body: Body = open_change(self._context.content, lookups.with_inline(self._context.db, change))
                await verified(body)
            except CorruptBody as error:
                raise await self._quarantined(error) from error
        elif change.upload is not None:
            body = concatenated.open_parts(
                self._context.db, self._context.bodies, self._context.staging, change.upload, verified=False
            )
        elif change.file is not None:
            # Without a digest and a length it is read as it is.
            body = self._context.bodies.open(change.file, None)
        else:
            yield lookups.with_inline(self._context.db, change).inline or b""
            return
        try:
            async for block in body.chunks(start, end):
                yield block
        except CorruptBody:
            if not is_damaged(change):
                raise
        finally:
            await body.aclose()

    async def _quarantined(self, error: CorruptBody) -> S3Error:
        seq, reason = self._change.seq, str(error)
        log.error("change %d is quarantined: %s", seq, reason)
        self._context.metrics.quarantined.inc()
        await self._context.db.write(lambda db: transitions.quarantine(db, seq, reason))
        return S3Error(
            "DamagedBody",
            f"The body of change {seq} is damaged on the local dir: {reason}",
            status=409,
            hint="it is quarantined now; export it again for what is left of it",
        )

    async def aclose(self) -> None:
        """Nothing is open between two blocks that the iterator does not close itself."""


def is_damaged(change: Change) -> bool:
    """Whether the row or the body of a change was found to be bad; a superseded change has no state for it."""
    return change.state == "quarantined" or change.code in ("CorruptRow", "CorruptBody")
