"""Writes that are queued: PutObject and DeleteObject.

A write is acknowledged when it is on stable storage (SEMANTICS D-1, D-2). What the queue does not take goes through in
its key's turn; nothing is ever taken halfway.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import apsw
from multidict import CIMultiDict

from s3d.api import Call, Headers, Reply
from s3d.errors import S3Error
from s3d.layers.queue.parts import Parts
from s3d.layers.queue.room import Reserved
from s3d.layers.queue.rows import account, changes
from s3d.layers.queue.rows.changes import New, Queued
from s3d.layers.queue.rules import limits, understood
from s3d.layers.queue.serve import forward, proving
from s3d.store.db import StoreFull


async def put(parts: Parts, call: Call, room: Reserved | None = None) -> Reply:
    """Queue a PutObject; with `room`, which is reserved already, its body is on the disk."""
    wire = call.wire
    if foreign := understood.foreign(wire, "PutObject"):
        return await forward.through(parts, call, foreign[0])
    body = call.body
    if body is None or body.length is None:
        raise S3Error("MissingContentLength", "You must provide the Content-Length HTTP header.", status=411)
    size = body.length
    members = understood.kept(wire)
    limits.check(call.key, size, members)
    bucket = await parts.buckets.get(call.bucket)
    if reason := parts.buckets.through(bucket):
        return await forward.through(parts, call, reason)
    row = account.of_row(call.bucket, call.key, members)
    if not parts.room.holds(row + size):
        return await forward.through(parts, call, "larger than the queue")
    if (reply := await proving.first(parts, call, "put", members)) is not None:
        return reply
    async with parts.room.take(row, 0 if room else size) as reserved:
        md5 = hashlib.md5(usedforsecurity=False)
        stored = await parts.bodies.receive(body, md5.update, None if room else reserved.grow)
        etag = md5.hexdigest()
        understood.add_checksums(members, body.digests)
        try:
            await enqueue(
                parts,
                [new(parts, call, "put", members=members, size=size, etag=etag, file=stored.id, inline=stored.inline)],
            )
        except StoreFull:
            # Nothing was committed. After any other failure the row may turn out to be stored: the body stays.
            if stored.id is not None:
                await parts.bodies.delete(stored.id)
            raise
    headers = acknowledged(parts, call.bucket, members)
    headers["ETag"] = f'"{etag}"'
    sums = {name: value for name, value in members.items() if name in understood.CHECKSUMS}
    if sums:
        headers.update(sums)
        headers["x-amz-checksum-type"] = "FULL_OBJECT"
    return Reply(200, headers, source="queue")


def acknowledged(parts: Parts, bucket: str, members: Mapping[str, str]) -> Headers:
    """The headers of an answer to what is queued: where it is (D-6), and how it will be encrypted at the remote."""
    headers: Headers = CIMultiDict({"x-s3d-durability": "local"})
    if encryption := members.get(understood.ENCRYPTION) or parts.buckets.encryption(bucket):
        headers[understood.ENCRYPTION] = encryption
    return headers


async def delete(parts: Parts, call: Call) -> Reply:
    """Queue a DeleteObject."""
    if foreign := understood.foreign(call.wire, "DeleteObject"):
        return await forward.through(parts, call, foreign[0])
    limits.check(call.key, 0, {})
    bucket = await parts.buckets.get(call.bucket)
    if reason := parts.buckets.through(bucket):
        return await forward.through(parts, call, reason)
    members = understood.kept_of_delete(call.wire)
    if (reply := await proving.first(parts, call, "delete", members)) is not None:
        return reply
    async with parts.room.take(account.of_row(call.bucket, call.key, members)):
        await enqueue(parts, [new(parts, call, "delete", members=members)])
    return Reply(204, CIMultiDict({"x-s3d-durability": "local"}), source="queue")


def new(parts: Parts, call: Call, op: str, **what: Any) -> New:
    """A change of the call's key, not queued yet; `what` are more fields of New."""
    now = parts.clock.now()
    what.setdefault("acked_at", parts.clock.wall())
    what.setdefault("ordered", parts.buckets.ordered(call.bucket))
    what.setdefault("base", parts.sights.of(call.bucket, call.key))
    return New(call.bucket, call.key, call.identity, op, now, now + parts.settings.write_queue.delay, **what)


async def enqueue(parts: Parts, news: list[New], *, first: Callable[[apsw.Connection], None] | None = None) -> None:
    """Commit changes together (D-2): when this returns, they are on stable storage.

    `first` is run before them in the same transaction; what it raises comes out, and nothing is done.
    """

    def write(db: apsw.Connection) -> list[Queued]:
        if first is not None:
            first(db)
        return [changes.enqueue(db, one) for one in news]

    queued = await parts.db.write(write, short=len(news) == 1 and first is None)
    parts.wake()
    for one in queued:
        for file in one.files:
            await parts.bodies.delete(file)
