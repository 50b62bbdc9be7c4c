"""Reads of one object: answered from its pending change, else from inside (SEMANTICS R-1, R-2, D-4)."""

import logging

from s3d.api import Call, Reply
from s3d.errors import CorruptBody, S3Error
from s3d.layers.queue.parts import Parts
from s3d.layers.queue.push.content import open_change
from s3d.layers.queue.rows import outcomes, uploads, views
from s3d.layers.queue.rows.changes import Change
from s3d.layers.queue.rules import tags, understood
from s3d.layers.queue.serve import overlay

log = logging.getLogger(__name__)


async def get(parts: Parts, call: Call) -> Reply:
    """Answer GetObject and HeadObject."""
    change = views.visible(parts.db, call.bucket, call.key)
    if change is None:
        before = parts.sights.of(call.bucket, call.key)
        reply = await parts.inner(call)
        parts.sights.read(call, reply, before)
        return reply
    if change.op == "tag":
        return tagged(await parts.inner(call), change)
    if call.wire is not None and understood.foreign(call.wire, call.operation):
        await parts.turns.barrier(call.bucket, call.key)
        return await parts.inner(call)
    check_there(change)
    params = call.params
    if call.wire is not None and "If-Range" in call.wire.headers:
        params = {**params, "IfRange": call.wire.headers["If-Range"]}
    try:
        members = uploads.parts_of(parts.db, change.upload) if change.upload and "PartNumber" in params else ()
        encryption = parts.buckets.encryption(call.bucket)
        return overlay.answer(call.operation, params, change, lambda: open_change(parts, change), members, encryption)
    except CorruptBody as error:
        await damaged(parts, change, error)
        return await get(parts, call)


async def attributes(parts: Parts, call: Call) -> Reply:
    """Answer GetObjectAttributes."""
    change = views.visible(parts.db, call.bucket, call.key)
    if change is None or change.op == "tag":
        return await parts.inner(call)
    answer = None
    if call.wire is None or not understood.foreign(call.wire, call.operation):
        check_there(change)
        if change.op == "put":
            answer = overlay.attributes(call.params.get("ObjectAttributes", ()), change)
    if answer is None:
        await parts.turns.barrier(call.bucket, call.key)
        return await parts.inner(call)
    return answer


def tagged(reply: Reply, change: Change) -> Reply:
    """The remote's answer for an object whose tags are pending: it shows how many they will be."""
    if reply.status < 300 and reply.result is None:
        reply.headers.popall("x-amz-tagging-count", None)
        if number := tags.count(change.members):
            reply.headers["x-amz-tagging-count"] = str(number)
    return reply


def check_there(change: Change) -> None:
    """Raise the S3Error of a read that meets a pending delete, or a change whose body is bad (D-4)."""
    if change.state == "quarantined":
        raise S3Error(
            "ServiceUnavailable",
            f"The newest version of this object is damaged on the local dir: {change.reason}",
            status=503,
            hint="put the object again, or see `s3d status bucket/key`",
        )
    if change.op == "delete":
        raise S3Error("NoSuchKey", "The specified key does not exist.", status=404, details={"Key": change.key})


async def damaged(parts: Parts, change: Change, error: CorruptBody) -> None:
    """Quarantine a change whose body is bad, unless it was settled meanwhile and its body went with it."""
    again = views.visible(parts.db, change.bucket, change.key)
    if again is not None and again.seq == change.seq:
        log.error("change %d is quarantined: %s", change.seq, error)
        parts.metrics.quarantined.inc()
        await parts.db.write(lambda db: outcomes.quarantine(db, change.seq, str(error)))
