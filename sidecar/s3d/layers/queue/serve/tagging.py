"""Tags of one object: folded into its pending put, else the remote's (SEMANTICS Q-19).

A put that is under way is never changed: the tags get a row of their own and are pushed after it. With no put pending,
a change of tags goes through in its key's turn.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from multidict import CIMultiDict

from s3d import spans
from s3d.api import S3, Call, Reply
from s3d.clock import Clock
from s3d.errors import S3Error
from s3d.layers.queue import entry
from s3d.layers.queue.capacity import Capacity
from s3d.layers.queue.documents import Documents
from s3d.layers.queue.entry import Write
from s3d.layers.queue.remote_facts import probing, write_profiles
from s3d.layers.queue.remote_facts.facts import RemoteFacts
from s3d.layers.queue.rows import account, changes, late_writes, lookups
from s3d.layers.queue.rows.states import Op
from s3d.layers.queue.rows.subjects import Content
from s3d.layers.queue.rules import allowlist, tags
from s3d.layers.queue.rules.decide import PROBE, Decision
from s3d.layers.queue.serve import forward
from s3d.layers.queue.serve.reads import check_there
from s3d.layers.queue.turns import Turns
from s3d.protocol import encode
from s3d.protocol.headers import TAGGING
from s3d.protocol.model import OPERATIONS
from s3d.settings import WriteQueue
from s3d.store.db import Database

MAX_DOCUMENT = 64 << 10
"""Bytes; ten of the longest tags, every character escaped, fit into it."""
THERE = "the tags of an object of the remote"


@dataclass(frozen=True, slots=True)
class Context:
    """What changes of tags are queued with."""

    settings: WriteQueue
    db: Database
    clock: Clock
    inner: S3
    capacity: Capacity
    documents: Documents
    facts: RemoteFacts
    turns: Turns
    wake: Callable[[], None]
    entry: entry.Context
    forward: forward.Context


async def put(context: Context, call: Call) -> Reply:
    """Answer PutObjectTagging."""
    queued = pending(context, call)
    if call.body is None or not (queued or late_writes.kept_since(context.db) is not None):
        return await forward.after(context.forward, call)
    async with context.documents.read(call, OPERATIONS["PutObjectTagging"], MAX_DOCUMENT) as document:
        call = document.call
    if document.unknown:
        return await forward.after(context.forward, call)
    pairs = tags.of_document(document.value)
    return await serve(context, call, tags.to_header(pairs), 200, queued=queued, invalid=tags.broken(pairs))


async def delete(context: Context, call: Call) -> Reply:
    """Answer DeleteObjectTagging."""
    return await serve(context, call, "", 204, queued=pending(context, call))


async def serve(
    context: Context, call: Call, header: str, status: int, *, queued: bool, invalid: S3Error | None = None
) -> Reply:
    """Give an object other tags: those of a pending put are queued, those of the remote's object go through."""
    profile = write_profiles.profile_of(call.bucket, call.identity, Op.TAG, {TAGGING: header})
    facts = entry.facts(context.entry, call, at_remote="" if queued else THERE, invalid=invalid, bucket="")

    async def take() -> Reply:
        if await retag(context, call, header):
            return Reply(status, CIMultiDict({"x-s3d-durability": "local"}), source="queue")
        return await entry.serve(context.entry, replace(write, facts=facts._replace(at_remote=THERE)))

    write = Write(
        call=call,
        facts=facts,
        take=take,
        send=lambda decision: through(context, call, header, decision),
        probe=lambda: probing.first_tags(context.facts, profile, through(context, call, header, PROBE)),
        profile=profile,
        # They would hold the put.
        content=Content({TAGGING: header}, knows_headers=False),
    )
    return await entry.serve(context.entry, write)


async def through(context: Context, call: Call, header: str, decision: Decision) -> Reply:
    """Hand a change of tags inward; a put that is kept must not bring its old ones back (Q-3)."""
    reply = await forward.through(context.forward, call, decision)
    if reply.status < 300 and "VersionId" not in call.params and late_writes.kept_since(context.db) is not None:
        await context.db.write(lambda db: late_writes.tag_settled(db, call.bucket, call.key, header))
    return reply


async def get(context: Context, call: Call) -> Reply:
    """Answer GetObjectTagging."""
    change = lookups.visible(context.db, call.bucket, call.key)
    if change is None:
        return await context.inner(call)
    if change.identity != call.identity or allowlist.unsupported(call.wire, call.operation):
        await context.turns.barrier(call.bucket, call.key)
        return await context.inner(call)
    check_there(change)
    return encode.reply(call.operation, tags.to_result(tags.of_header(change.members.get(TAGGING, ""))))


def pending(context: Context, call: Call) -> bool:
    """Whether a change of tags may be queued: onto a put of the same identity. Raises S3Error where what is pending is
    a delete of it, or is damaged."""
    if allowlist.unsupported(call.wire, call.operation):
        return False
    change = lookups.visible(context.db, call.bucket, call.key)
    if change is None or change.identity != call.identity:
        return False
    check_there(change)
    return True


async def retag(context: Context, call: Call, header: str) -> bool:
    """Give a pending put other tags; False where there is none any more."""
    now = context.clock.now()
    due, acked_at = now + context.settings.delay, context.clock.wall()
    members = {TAGGING: header}
    new = changes.New(
        call.bucket, call.key, call.identity, Op.TAG, now, due, members, acked_at=acked_at, trace=spans.traceparent()
    )
    async with context.capacity.take(account.of_row(call.bucket, call.key, members)):
        queued = await context.db.write(lambda db: changes.retag(db, new))
    if queued:
        context.wake()
    return queued
