"""Somebody else wrote a key while a change of it waited (SEMANTICS Q-18): found out before the push, and settled as
the change itself says, else the settings.

What the change was made upon is its base: the ETag that this gateway last saw for the key. What the remote shows is
compared with it, by a condition on the push or by a HEAD before it. The condition is half the requests; whether the
remote honours it is found out by a put that cannot succeed, and by a delete that would not where it does. What an older
attempt of ours may have made is no conflict, and neither is what cannot be told.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from s3d.client import Answer, Client
from s3d.clock import Clock
from s3d.errors import S3Error, Unavailable
from s3d.layers.queue.push import send
from s3d.layers.queue.push.send import PUSHES
from s3d.layers.queue.remote_facts.facts import RemoteFacts
from s3d.layers.queue.remote_facts.store_traits import condition_of
from s3d.layers.queue.rows import order, transitions
from s3d.layers.queue.rows.changes import ANY, Change
from s3d.metrics import Metrics
from s3d.protocol import checksums
from s3d.settings import WriteQueue
from s3d.store.db import Database
from s3d.store.failures import StoreFailed

log = logging.getLogger(__name__)

ROUNDING = 1.0
"""Seconds by which the remote's stamps, which count whole ones, may be off."""
NOTHING = "d41d8cd98f00b204e9800998ecf8427e"
"""The MD5 of no bytes, which no body has that has some."""
OTHERWISE = frozenset(["PreconditionFailed", "NoSuchKey"])
"""Errors that say that what a condition asks for is not there. If-Match on a put of a key that has no object is
answered with NoSuchKey (AWS S3 user guide, conditional writes)."""
GONE = 404
"""Status of a delete whose object was not there any more, whatever the remote makes of a condition."""
LACKING = frozenset(["NotImplemented", "InvalidArgument", "InvalidRequest"])
"""Errors of a store that does not know a condition."""
UNMET = OTHERWISE | {"NotImplemented"}
"""Errors by which a condition is refused, or not known after all."""


@dataclass(frozen=True, slots=True)
class Context:
    """What conflicts are found out with."""

    settings: WriteQueue
    db: Database
    clock: Clock
    client: Client
    metrics: Metrics
    facts: RemoteFacts
    send: send.Context


class Conflict(S3Error):
    """Somebody else wrote the object while the change waited, and the settings keep both."""

    def __init__(self, shown: str, expected: str) -> None:
        """Take the ETag that the remote shows, "" for no object, and what was expected, in words."""
        there = shown or "no object"
        super().__init__(order.CONFLICT, f"somebody else wrote the key: the remote shows {there} instead of {expected}")
        self.shown = shown


@dataclass(frozen=True, slots=True)
class Shown:
    """What the remote shows of a key."""

    etag: str
    """Without quotes; "" where there is no object."""
    written_at: float
    """By our steady clock; 0 where the remote does not say."""


async def push(context: Context, change: Change) -> Answer:
    """Push a change; one that waited for long, or asks for it, is compared with what is there first.

    Raises what a push raises, and Conflict.
    """
    waited = context.clock.now() - change.queued_at > context.settings.conflict_check_after
    if change.op == "tag" or not (waited or change.always):
        return await PUSHES[change.op](context.send, change)
    if condition := condition_on(context, change, change.base):
        try:
            return await on_condition(context, change, condition)
        except S3Error as error:
            if error.code not in UNMET:
                raise
    shown = await compare(context, change)
    if change.op == "delete" and shown:
        return await delete(context, change, shown)
    if change.op == "delete" and shown == "" and keeps(context, change):
        # No condition says that there is no object: what somebody makes from now on would be deleted (Q-18c).
        return Answer(204)
    reply = await replace(context, change, shown)
    await ask(context, change, over=bool(shown))
    return reply


async def on_condition(context: Context, change: Change, condition: Mapping[str, str]) -> Answer:
    """Push a put, a delete or an upload with a condition."""
    return await CONDITIONAL[change.op](context.send, change, condition)


CONDITIONAL = {"put": send.put, "delete": send.delete, "complete": send.complete}
"""By op of the change."""


async def replace(context: Context, change: Change, shown: str | None) -> Answer:
    """Push a change over what a HEAD has just shown: one that is not to replace what somebody else wrote, on condition
    that it is still there (Q-18g).

    Raises Unavailable where it is not any more: the next attempt compares anew.
    """
    condition = condition_after_look(context, change, shown) if shown is not None and keeps(context, change) else {}
    if not condition:
        return await PUSHES[change.op](context.send, change)
    try:
        return await on_condition(context, change, condition)
    except S3Error as error:
        if error.code in OTHERWISE:
            if change.op == "put":
                await learn_of_put(context, condition, error)
            raise not_sent(error) from error
        if error.unknown or error.code not in LACKING:
            raise
    answer = await PUSHES[change.op](context.send, change)
    # It was the condition, and nothing else, that the remote does not take.
    context.facts.traits.lacks.update(f"{change.op}:{name}" for name in condition)
    return answer


async def delete(context: Context, change: Change, shown: str) -> Answer:
    """Push a delete of what a HEAD has just shown.

    Whether the remote honours If-Match on a delete is found out by one that asks for another object. Where it does
    not, it has deleted the one that was to be deleted.
    """
    traits = context.facts.traits
    unknown = not (traits.honours_on_deletes or traits.ignores_on_deletes)
    if not unknown or shown == NOTHING or context.facts.buckets.ordered(change.bucket):
        return await replace(context, change, shown)
    try:
        answer = await send.delete(context.send, change, {"if-match": f'"{NOTHING}"'})
    except S3Error as error:
        if error.code not in UNMET:
            raise
        await learn_of_deletes(context, honoured=error.code == "PreconditionFailed")
        return await replace(context, change, shown)
    if answer.status != GONE:
        await learn_of_deletes(context, honoured=False)
    return answer


async def learn_of_deletes(context: Context, *, honoured: bool) -> None:
    """Note whether the remote honours If-Match on a delete."""
    traits = context.facts.traits
    if not honoured:
        traits.ignores_on_deletes = True
        log.info(
            "the remote ignores If-Match on deletes: what others write in the moment before one is deleted with it"
        )
        return
    try:
        await traits.refused_delete()
    except StoreFailed as failure:
        log.error("what the remote honours cannot be kept: %s", failure)


async def learn_of_put(context: Context, condition: Mapping[str, str], error: S3Error) -> None:
    """Note that the remote honours a condition on a put, where it has refused one for its sake."""
    if error.code != "PreconditionFailed":
        return
    try:
        await context.facts.traits.refused_put(condition)
    except StoreFailed as failure:
        log.error("what the remote honours cannot be kept: %s", failure)


async def ask(context: Context, change: Change, *, over: bool) -> None:
    """Find out, once a life, whether the remote honours If-None-Match on a put, or If-Match after one that was made
    `over` another object. It is found out at an object that was just delivered.

    The put cannot succeed: the object is there, and is not that of no bytes, nor is the digest its body's. A store that
    minds neither would store the same bytes again. Raises Unavailable where it stays unanswered: it may arrive, as any
    push may.
    """
    traits = context.facts.traits
    # A small body, which is in the row: it is sent once more for the answer's sake alone.
    useful = change.op == "put" and change.inline and not context.facts.buckets.ordered(change.bucket)
    condition = dict([condition_of(NOTHING if over else "")])
    (name,) = condition
    if not useful or name in traits.asked or traits.honours(name):
        return
    traits.asked.add(name)
    asking = {**condition, "Content-MD5": checksums.content_md5(NOTHING)}
    try:
        await send.put(context.send, change, asking)
    except S3Error as error:
        if error.unknown or isinstance(error, Unavailable):
            traits.asked.discard(name)
        if error.unknown:
            raise
        await learn_of_put(context, asking, error)


def condition_on(context: Context, change: Change, there: str | None) -> Mapping[str, str]:
    """The condition that says that this is still there; none where the remote is not known to honour it.

    Where nobody looked (None) it says that there is no object: what is there may be older than the change, and a HEAD
    tells.
    """
    traits = context.facts.traits
    if change.op == "delete":
        return {"if-match": f'"{there}"'} if there not in (None, "", ANY) and traits.honours_on_deletes else {}
    if (
        change.op != "put"
        or there == ANY
        or (there is None and not context.facts.seen_etags.expects_new(change.bucket))
    ):
        return {}
    return {name: value for name, value in [condition_of(there or "")] if traits.honours(name)}


def condition_after_look(context: Context, change: Change, shown: str) -> Mapping[str, str]:
    """The condition that what a HEAD has shown is still there, also where nobody knows whether the remote honours it:
    one that does not loses nothing by it."""
    if change.op == "delete":
        return condition_on(context, change, shown)
    lacks = context.facts.traits.lacks
    return {name: value for name, value in [condition_of(shown)] if f"{change.op}:{name}" not in lacks}


def keeps_both(context: Context, change: Change) -> bool:
    """Whether a change is kept beside what somebody else wrote, instead of replacing it."""
    return (change.conflict or context.settings.conflict) == "Park"


def keeps(context: Context, change: Change) -> bool:
    """Whether a change is to meet nothing but what a look has just shown."""
    return change.always or keeps_both(context, change)


async def compare(context: Context, change: Change) -> str | None:
    """Compare what is there with a change's base; the ETag that is there, "" for none, None where we may not look.

    What attempts of ours may have made is no conflict. What a request that was sent through may have made is one for a
    change that is always compared: its maker has not seen it.

    Raises Conflict where they differ and both are to be kept, and Unavailable where the remote does not answer.
    """
    base, ours = change.base, transitions.made_by_us(context.db, change)
    shown = await look(context, change)
    if shown is None:
        return None
    wanted = "" if change.op == "delete" else change.etag
    if base is None:
        context.facts.seen_etags.found(change.bucket, there=bool(shown.etag))
    if shown.etag in (wanted, base) or shown.etag in ours or base == ANY or (ANY in ours and not change.always):
        return shown.etag
    if base is None and (not shown.etag or shown.written_at <= change.queued_at + ROUNDING):
        return shown.etag
    if not shown.etag:
        await check_bucket(context, change)
    await differs(context, change, shown.etag)
    return shown.etag


async def differs(context: Context, change: Change, shown: str) -> None:
    """Note that somebody else wrote a change's key. Raises Conflict where both are to be kept."""
    base = change.base
    expected = "an older object" if base is None else base or "no object"
    park = keeps_both(context, change)
    log.warning(
        "%s of %s/%s (change %d, ETag %s): somebody else wrote the key, the remote shows %s instead of %s; %s",
        change.op,
        change.bucket,
        change.key,
        change.seq,
        change.etag or "none",
        shown or "no object",
        expected,
        "both are kept" if park else "it is overwritten",
    )
    context.metrics.conflicts.labels("parked" if park else "overwritten").inc()
    context.facts.seen_etags.saw(change.bucket, change.key, shown)
    if park:
        raise Conflict(shown, expected)
    await context.db.write(transitions.based_on(change.seq, shown))


async def look(context: Context, change: Change) -> Shown | None:
    """What the remote shows of a change's key; None where it does not let us look, and need not. Raises S3Error."""
    now, today = context.clock.now(), context.clock.wall()
    try:
        there = await context.client.acting(change.identity).head_object(change.bucket, change.key, fresh=True)
    except S3Error as error:
        if error.status == 404:
            return Shown("", 0.0)
        if error.unknown or error.status == 429 or isinstance(error, Unavailable):
            raise not_sent(error) from error
        if change.always:
            raise
        # The push meets the same, and is told why.
        return None
    modified = there.result.get("LastModified")
    # How long ago, by the remote's own clock: ours may have been set since the change was acknowledged.
    date = remote_time(there.headers.get("Date", ""), today)
    written_at = now - (date - modified.timestamp()) if isinstance(modified, datetime) else 0.0
    return Shown(there.etag, written_at)


async def check_bucket(context: Context, change: Change) -> None:
    """Raise what a push would meet where it is the bucket that is gone. An object's HEAD does not tell."""
    try:
        await context.client.acting(change.identity).head_bucket(change.bucket, fresh=True)
    except S3Error as error:
        if error.status == 404:
            raise S3Error("NoSuchBucket", "The specified bucket does not exist", status=404) from error
        if error.unknown or isinstance(error, Unavailable):
            raise not_sent(error) from error


def not_sent(error: S3Error) -> Unavailable:
    """The same of a request before the push: of the change nothing was sent."""
    return Unavailable(error.message, code=error.code, hint=error.hint)


def remote_time(date: str, now: float) -> float:
    """The remote's clock by the Date of an answer (Unix time); ours where it says none."""
    try:
        said = parsedate_to_datetime(date)
    except ValueError:
        return now
    return (said if said.tzinfo else said.replace(tzinfo=UTC)).timestamp()
