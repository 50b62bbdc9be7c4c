"""Tags of one object: folded into its pending put, else the remote's (SEMANTICS Q-19).

A put that is under way is never changed: the tags get a row of their own and are pushed after it. With no put pending,
a change of tags goes through in its key's turn.
"""

from multidict import CIMultiDict

from s3d.api import Call, Reply
from s3d.layers.queue.parts import Parts
from s3d.layers.queue.rows import account, aftermath, changes, views
from s3d.layers.queue.rules import tags, understood
from s3d.layers.queue.serve import forward, proving
from s3d.layers.queue.serve.reads import check_there
from s3d.protocol import encode
from s3d.protocol.model import OPERATIONS

LARGEST_DOCUMENT = 64 << 10
"""Bytes; ten of the longest tags, every character escaped, fit into it."""


async def put(parts: Parts, call: Call) -> Reply:
    """Answer PutObjectTagging."""
    queued = pending(parts, call)
    if call.body is None or not (queued or aftermath.kept_since(parts.db) is not None):
        return await forward.after(parts, call)
    async with parts.documents.read(call, OPERATIONS["PutObjectTagging"], LARGEST_DOCUMENT) as document:
        call = document.call
    if document.unknown:
        return await forward.after(parts, call)
    pairs = tags.of_document(document.value)
    if not queued:
        return await through(parts, call, tags.to_header(pairs))
    tags.check(pairs)
    return await retag(parts, call, tags.to_header(pairs), 200)


async def delete(parts: Parts, call: Call) -> Reply:
    """Answer DeleteObjectTagging."""
    return await (retag(parts, call, "", 204) if pending(parts, call) else through(parts, call, ""))


async def through(parts: Parts, call: Call, header: str) -> Reply:
    """Hand a change of tags inward; a put that is kept must not bring its old ones back (Q-3)."""
    reply = await forward.after(parts, call)
    if reply.status < 300 and "VersionId" not in call.params and aftermath.kept_since(parts.db) is not None:
        await parts.db.write(lambda db: aftermath.tag_settled(db, call.bucket, call.key, header))
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


async def retag(parts: Parts, call: Call, header: str, status: int) -> Reply:
    """Give a pending put other tags; where there is none any more, the remote's object."""
    members = {tags.TAGGING: header}
    if (reply := await proving.first_tags(parts, call, members, lambda: through(parts, call, header))) is not None:
        return reply
    now = parts.clock.now()
    due, acked_at = now + parts.settings.write_queue.delay, parts.clock.wall()
    new = changes.New(call.bucket, call.key, call.identity, "tag", now, due, members, acked_at=acked_at)
    async with parts.room.take(account.of_row(call.bucket, call.key, members)):
        queued = await parts.db.write(lambda db: changes.retag(db, new))
    if not queued:
        return await through(parts, call, header)
    parts.wake()
    return Reply(status, CIMultiDict({"x-s3d-durability": "local"}), source="queue")
