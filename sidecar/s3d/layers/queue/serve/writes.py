"""Writes that are queued: PutObject and DeleteObject.

A write is acknowledged when it is on stable storage (SEMANTICS D-1, D-2). What the queue does not take goes through in
its key's turn; nothing is ever taken halfway.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import apsw
from multidict import CIMultiDict

from s3d import spans
from s3d.api import NO_TERMS, Call, Headers, Reply
from s3d.clock import Clock
from s3d.errors import S3Error, slow_down
from s3d.feed import Feed, Why
from s3d.layers.queue import entry
from s3d.layers.queue.capacity import Capacity, Reserved
from s3d.layers.queue.entry import Write
from s3d.layers.queue.garbage import Garbage
from s3d.layers.queue.remote_facts import probing, write_profiles
from s3d.layers.queue.remote_facts.facts import RemoteFacts
from s3d.layers.queue.rows import account, changes, holds, order, verdicts
from s3d.layers.queue.rows.changes import New
from s3d.layers.queue.rows.states import Op
from s3d.layers.queue.rows.subjects import UNKNOWN, Content
from s3d.layers.queue.rules import allowlist, limits
from s3d.layers.queue.rules.decide import PROBE
from s3d.layers.queue.serve import fitting, forward
from s3d.settings import WriteQueue
from s3d.store.bodies import Bodies
from s3d.store.db import Database
from s3d.store.failures import StoreFull


@dataclass(frozen=True, slots=True)
class Context:
    """What writes are queued with."""

    settings: WriteQueue
    db: Database
    clock: Clock
    bodies: Bodies
    capacity: Capacity
    garbage: Garbage
    facts: RemoteFacts
    feed: Feed
    queued: Callable[[float], None]
    entry: entry.Context
    fitting: fitting.Context
    forward: forward.Context


def put(context: Context, call: Call, room: Reserved | None = None) -> Awaitable[Reply]:
    """Answer PutObject; with `room`, which is reserved already, its body is on the disk."""
    write = put_of(context, call, None if call.body is None else call.body.length, room)
    return entry.serve(context.entry, write)


def put_of(context: Context, call: Call, size: int | None, room: Reserved | None = None) -> Write:
    """A PutObject of a body of `size` bytes."""
    wire, bucket, key = call.wire, call.bucket, call.key
    unsupported = next(iter(allowlist.unsupported(wire, "PutObject")), "")
    members = {} if unsupported else allowlist.kept(wire)
    invalid = limits.broken(key, size, members) if size is not None else limits.no_length()
    profile = write_profiles.profile_of(bucket, call.identity, Op.PUT, members)
    row = account.of_row(bucket, key, members)
    return Write(
        call=call,
        facts=entry.facts(
            context.entry, call, profile, unsupported=unsupported, invalid=invalid, size=row + (size or 0)
        ),
        take=lambda: take_put(context, call, members, row, room),
        fits=lambda: fitting.check(context.fitting, call, size or 0),
        send=lambda decision: forward.through(context.forward, call, decision),
        probe=lambda: probing.first(context.facts, call, profile, partial(probe, context)),
        asked=Content(members, None if call.body is None else call.body.length),
        profile=profile,
    )


async def probe(context: Context, call: Call, ours: Callable[[], str] | None) -> Reply:
    """Send the first write of a profile through; `ours` is as `forward.through` has it."""
    return await forward.through(context.forward, call, PROBE, ours=ours)


async def take_put(context: Context, call: Call, members: dict[str, str], row: int, room: Reserved | None) -> Reply:
    """Queue a PutObject whose row takes `row` bytes; with `room`, which is reserved already, its body is on disk."""
    body = call.body
    if body is None or body.length is None:
        raise limits.no_length()
    size = body.length
    md5 = hashlib.md5(usedforsecurity=False)
    is_small = room is None and size <= context.bodies.inline_limit
    # A small body is received in memory, and has come when its room is reserved, with that of its row (Q-7f).
    stored = await context.bodies.receive(body, md5.update) if is_small else None
    taken, coming = (row + size, 0) if is_small else (row, 0 if room else size)
    async with context.capacity.take(taken, coming, share=call.terms.share) as reserved:
        if stored is None:
            stored = await context.bodies.receive(body, md5.update, None if room else reserved.grow)
        spans.event("received")
        etag = md5.hexdigest()
        allowlist.add_checksums(members, body.digests)
        try:
            await enqueue(
                context,
                [
                    new(
                        context,
                        call,
                        Op.PUT,
                        members=members,
                        size=size,
                        etag=etag,
                        file=stored.id,
                        inline=stored.inline,
                    )
                ],
            )
        except (StoreFull, S3Error):
            # Nothing was committed. After any other failure the row may turn out to be stored: the body stays.
            if stored.id is not None:
                await context.bodies.delete(stored.id)
            raise
    headers = acknowledged(context, call.bucket, members)
    headers["ETag"] = f'"{etag}"'
    if not allowlist.CHECKSUMS.isdisjoint(members):
        headers.update((name, members[name]) for name in allowlist.CHECKSUMS & members.keys())
        headers["x-amz-checksum-type"] = "FULL_OBJECT"
    return Reply(200, headers, source="queue")


def acknowledged(context: Context, bucket: str, members: Mapping[str, str]) -> Headers:
    """The headers of an answer to what is queued: where it is (D-6), and how it will be encrypted at the remote."""
    headers: Headers = CIMultiDict({"x-s3d-durability": "local"})
    if encryption := members.get(allowlist.ENCRYPTION) or context.facts.buckets.encryption(bucket):
        headers[allowlist.ENCRYPTION] = encryption
    return headers


async def delete(context: Context, call: Call) -> Reply:
    """Answer DeleteObject."""
    wire = call.wire
    unsupported = next(iter(allowlist.unsupported(wire, "DeleteObject")), "")
    members = allowlist.kept_of_delete(wire)
    profile = write_profiles.profile_of(call.bucket, call.identity, Op.DELETE, members)
    write = Write(
        call=call,
        facts=entry.facts(
            context.entry, call, profile, unsupported=unsupported, invalid=limits.broken(call.key, 0, {})
        ),
        take=lambda: take_delete(context, call, members),
        send=lambda decision: forward.through(context.forward, call, decision),
        probe=lambda: probing.first(context.facts, call, profile, partial(probe, context)),
        asked=UNKNOWN,
        profile=profile,
    )
    return await entry.serve(context.entry, write)


async def take_delete(context: Context, call: Call, members: Mapping[str, str]) -> Reply:
    """Queue a DeleteObject."""
    async with context.capacity.take(account.of_row(call.bucket, call.key, members), share=call.terms.share):
        await enqueue(context, [new(context, call, Op.DELETE, members=members)])
    return Reply(204, CIMultiDict({"x-s3d-durability": "local"}), source="queue")


def new(context: Context, call: Call, op: Op, **what: Any) -> New:
    """A change of the call's key, not queued yet; `what` are more fields of New."""
    now, terms = context.clock.now(), call.terms
    bucket, key = call.bucket, call.key
    if terms is not NO_TERMS:
        always = terms.always or terms.expects is not None
        what |= {"expects": terms.expects, "conflict": terms.conflict, "always": always, "origin": origin_of(call)}
        if terms.after is not None:
            seen = context.facts.seen_etags.of(*terms.after[:2])
            what["after"] = order.Named(*terms.after, seen=seen)
    what.setdefault("trace", spans.traceparent())
    what.setdefault("acked_at", context.clock.wall())
    what.setdefault("ordered", context.facts.buckets.ordered(bucket))
    what.setdefault("base", context.facts.seen_etags.of(bucket, key))
    return New(bucket, key, call.identity, op, now, now + context.settings.delay, **what)


class Unjudged(Exception):  # not an error: the policy is asked, and the write is made again
    """A change would wait for a verdict beside too much that is held or waits for one."""


def check_room(db: apsw.Connection, limits: WriteQueue, new: New) -> None:
    """See to it that what does not move by itself, and what may turn out not to, leaves half of the queue to the rest
    (Q-7g, F-3j), now that a change is queued. Raises S3Error SlowDown where a rule holds it, else Unjudged."""
    rule = new.rule
    if not rule and not new.is_unasked:
        return
    files, size = holds.kept_back(db)
    if not rule:
        files, size = _with_unjudged(db, limits, files, size)
    if files <= limits.max_files // 2 and size <= limits.max_size // 2:
        return
    if rule:
        raise too_many_held(rule)
    raise Unjudged


def _with_unjudged(db: apsw.Connection, limits: WriteQueue, files: int, size: int) -> tuple[int, int]:
    """What is kept back, with what waits for a verdict; that is counted where all that waits would be too much."""
    more, bytes_more = holds.waiting(db)
    if files + more > limits.max_files // 2 or size + bytes_more > limits.max_size // 2:
        more, bytes_more = verdicts.waiting(db)
    return files + more, size + bytes_more


def too_many_held(rule: str) -> S3Error:
    """The answer to a write that would be held beside too many others. Nothing of it was queued."""
    return slow_down(
        f"Held and parked changes fill half of the queue, and {rule} would hold this write, too",
        hint="`s3d queue list` shows them; release or discard some",
    )


def origin_of(call: Call) -> str:
    """Who made a call, as its change says it."""
    return f"{call.origin}:{call.terms.name}" if call.terms.name else call.origin


async def enqueue(context: Context, news: list[New], *, first: Callable[[apsw.Connection], None] | None = None) -> None:
    """Commit changes together (D-2): when this returns, they are on stable storage.

    `first` is run before them in the same transaction; what it raises comes out, and nothing is done. Where a
    rule holds one of them, and what is held fills its half of the queue, S3Error SlowDown is raised in the same way,
    and S3Error PreconditionFailed where one of them is made upon something else than is there (Q-2b). Where the policy
    may hold one of them beyond that half, it is asked first: S3Error where it does not let all of them leave.
    """
    try:
        await _commit(context, news, first)
    except Unjudged:
        await _ask_first(context, news)
        try:
            await _commit(context, news, first)
        except Unjudged:
            raise too_many_held("the policy, which is asked about something else by now,") from None
    spans.event("committed")
    context.queued(min(one.next_at for one in news))
    for one in news:
        context.feed.publish(one.bucket, one.key, order.shown_by(one.op, one.etag), Why.ACKNOWLEDGED)
    if any(one.file is not None for one in news):
        # What it takes the place of is likely to have had one, too.
        context.garbage.wake()


async def _commit(context: Context, news: list[New], first: Callable[[apsw.Connection], None] | None) -> None:
    """Commit changes, or nothing. Raises what `enqueue` does, and Unjudged."""

    def write(db: apsw.Connection) -> None:
        if first is not None:
            first(db)
        for one in news:
            changes.enqueue(db, one)
            check_room(db, context.settings, one)

    try:
        await context.db.submit(write, short=len(news) == 1 and first is None)
    except order.Changed as error:
        raise forward.changed(str(error)) from error


async def _ask_first(context: Context, news: list[New]) -> None:
    """Ask the policy about changes that are not queued yet, and note that it lets them leave. Raises S3Error."""
    policy = verdicts.in_force(context.db)
    asked = [(one, changes.held_now(context.db, one)) for one in news]
    asked = [(one, held) for one, held in asked if not holds.rule_now(context.db, held)]
    refusal = await context.entry.consent.refusal(held for _, held in asked)
    if isinstance(refusal, S3Error):
        raise refusal
    if refusal:
        raise too_many_held(refusal)
    for one, held in asked:
        one.consent = verdicts.Consent(policy, verdicts.question_of(held))
