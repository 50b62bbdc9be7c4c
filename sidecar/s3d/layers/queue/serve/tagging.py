"""Tags of one object: folded into its pending put, else the remote's (SEMANTICS Q-19).

A put that is under way is never changed: the tags get a row of their own and are pushed after it. With no put pending,
a change of tags goes through in its key's turn.
"""

from dataclasses import replace

from multidict import CIMultiDict

from s3d.api import Call, Reply
from s3d.errors import S3Error
from s3d.layers.queue import entry
from s3d.layers.queue.entry import Write
from s3d.layers.queue.parts import Parts
from s3d.layers.queue.rows import account, changes, late_writes, shapes, views
from s3d.layers.queue.rows.states import Op
from s3d.layers.queue.rules import tags, understood
from s3d.layers.queue.rules.decide import PROBE, Decision
from s3d.layers.queue.serve import forward, proving
from s3d.layers.queue.serve.reads import check_there
from s3d.protocol import encode
from s3d.protocol.model import OPERATIONS

LARGEST_DOCUMENT = 64 << 10
"""Bytes; ten of the longest tags, every character escaped, fit into it."""
THERE = "the tags of an object of the remote"


async def put(parts: Parts, call: Call) -> Reply:
    """Answer PutObjectTagging."""
    queued = pending(parts, call)
    if call.body is None or not (queued or late_writes.kept_since(parts.db) is not None):
        return await forward.after(parts, call)
    async with parts.documents.read(call, OPERATIONS["PutObjectTagging"], LARGEST_DOCUMENT) as document:
        call = document.call
    if document.unknown:
        return await forward.after(parts, call)
    pairs = tags.of_document(document.value)
    return await serve(parts, call, tags.to_header(pairs), 200, queued=queued, invalid=tags.broken(pairs))


async def delete(parts: Parts, call: Call) -> Reply:
    """Answer DeleteObjectTagging."""
    return await serve(parts, call, "", 204, queued=pending(parts, call))


async def serve(
    parts: Parts, call: Call, header: str, status: int, *, queued: bool, invalid: S3Error | None = None
) -> Reply:
    """Give an object other tags: those of a pending put are queued, those of the remote's object go through."""
    shape = shapes.shape_of(call.bucket, call.identity, Op.TAG, {tags.TAGGING: header})
    facts = entry.facts(parts, call, at_remote="" if queued else THERE, invalid=invalid, bucket="")

    async def take() -> Reply:
        if await retag(parts, call, header):
            return Reply(status, CIMultiDict({"x-s3d-durability": "local"}), source="queue")
        return await entry.serve(parts, replace(write, facts=facts._replace(at_remote=THERE)))

    write = Write(
        call=call,
        facts=facts,
        take=take,
        send=lambda decision: through(parts, call, header, decision),
        probe=lambda: proving.first_tags(parts, shape, through(parts, call, header, PROBE)),
        shape=shape,
        # They would hold the put.
        tags={tags.TAGGING: header},
    )
    return await entry.serve(parts, write)


async def through(parts: Parts, call: Call, header: str, decision: Decision) -> Reply:
    """Hand a change of tags inward; a put that is kept must not bring its old ones back (Q-3)."""
    reply = await forward.through(parts, call, decision)
    if reply.status < 300 and "VersionId" not in call.params and late_writes.kept_since(parts.db) is not None:
        await parts.db.write(lambda db: late_writes.tag_settled(db, call.bucket, call.key, header))
    return reply


async def get(parts: Parts, call: Call) -> Reply:
    """Answer GetObjectTagging."""
    change = views.visible(parts.db, call.bucket, call.key)
    if change is None:
        return await parts.inner(call)
    if understood.foreign(call.wire, call.operation):
        await parts.turns.barrier(call.bucket, call.key)
        return await parts.inner(call)
    check_there(change)
    return encode.reply(call.operation, tags.to_result(tags.of_header(change.members.get(tags.TAGGING, ""))))


def pending(parts: Parts, call: Call) -> bool:
    """Whether a change of tags may be queued. Raises S3Error where what is pending is a delete, or is damaged."""
    if understood.foreign(call.wire, call.operation):
        return False
    change = views.visible(parts.db, call.bucket, call.key)
    if change is not None:
        check_there(change)
    return change is not None


async def retag(parts: Parts, call: Call, header: str) -> bool:
    """Give a pending put other tags; False where there is none any more."""
    now = parts.clock.now()
    due, acked_at = now + parts.settings.write_queue.delay, parts.clock.wall()
    members = {tags.TAGGING: header}
    new = changes.New(call.bucket, call.key, call.identity, Op.TAG, now, due, members, acked_at=acked_at)
    async with parts.room.take(account.of_row(call.bucket, call.key, members)):
        queued = await parts.db.write(lambda db: changes.retag(db, new))
    if queued:
        parts.wake()
    return queued
