"""The first write of a shape goes through, and its answer teaches (SEMANTICS Q-14, Q-4, R-6).

It teaches whether such a write is allowed, whether the bucket keeps versions or encrypts, and whether an ETag is the
MD5. A push teaches the same, and takes back what it contradicts. Nothing is guessed: what was not learned is asked.
"""

import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from s3d.api import AnyHeaders, Body, BytesBody, Call, Outcome, Reply, read_all
from s3d.client import Answer
from s3d.errors import S3Error, Unavailable
from s3d.layers.queue.buckets import Bucket
from s3d.layers.queue.multipart import completion
from s3d.layers.queue.parts import Parts
from s3d.layers.queue.rows import holds, lanes, shapes, views
from s3d.layers.queue.rows.changes import Change
from s3d.layers.queue.rows.shapes import DOUBTED, PROVEN, Shape
from s3d.layers.queue.serve import forward
from s3d.protocol import answers, decode
from s3d.protocol.model import OPERATIONS
from s3d.store.db import StoreFailed

log = logging.getLogger(__name__)

FIRST = "first of its shape"
CONTRARY = frozenset(
    "AccessDenied AllAccessDisabled AccountProblem AccessControlListNotSupported InvalidStorageClass "
    "NotImplemented".split()
)
"""Errors that say of a shape that it is not allowed or not known after all."""
KMS = "aws:kms"
LARGEST_DOCUMENT = 8 << 20


@dataclass(slots=True)
class Watched(Body):
    """A body on its way through: whether its first block was asked for, and its MD5 once it is read whole."""

    body: Body
    keep: bool = False
    """Whether its bytes are kept, too."""
    started: bool = False
    etag: str = ""
    data: bytearray = field(default_factory=bytearray)

    @property
    def length(self) -> int | None:
        """Length in bytes."""
        return self.body.length

    @property
    def digests(self) -> Mapping[str, str]:
        """The digests of the body, once it is read whole."""
        return self.body.digests

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the body, once."""
        self.started = True
        md5 = hashlib.md5(usedforsecurity=False)
        async for block in self.body.chunks(start, end):
            md5.update(block)
            if self.keep and len(self.data) <= LARGEST_DOCUMENT:
                self.data += block
            yield block
        self.etag = md5.hexdigest()

    async def aclose(self) -> None:
        """Let go of the body, but where nobody has begun with it: the queue may still take it."""
        if self.started:
            await self.body.aclose()


async def first(parts: Parts, call: Call, op: str, members: Mapping[str, str]) -> Reply | None:
    """Send a write through where its shape is to be judged by the remote; None where the queue is to take it.

    Raises S3Error where it was sent and failed, and Unavailable where it cannot be judged and the settings refuse that.
    """
    shape = shapes.shape_of(call.bucket, call.identity, op, members)
    if is_proven(parts, shape) or not asks(parts, call, shape, op, members):
        return None
    body = Watched(call.body) if call.body is not None else None
    ours = (lambda: body.etag) if body is not None else None
    reply = await sent(parts, forward.through(parts, replace(call, body=body), FIRST, ours=ours), body)
    if reply is not None:
        await judged(parts, shape, reply, body.etag if body else "")
    return reply


async def begin(parts: Parts, call: Call, members: Mapping[str, str]) -> Reply | None:
    """Send the beginning of an upload through where its shape is to be judged: then all of it is the remote's."""
    shape = shapes.shape_of(call.bucket, call.identity, "complete", members)
    if is_proven(parts, shape) or not asks(parts, call, shape, "complete", members):
        return None
    reply = await sent(parts, parts.inner(call), None)
    if reply is not None and reply.status < 300:
        document = await read_all(reply.body, LARGEST_DOCUMENT)
        reply.body = BytesBody(document)
        parts.shapes.begun(decode.response(call.operation, reply.status, reply.headers, document)["UploadId"], shape)
    return reply


async def first_tags(
    parts: Parts, call: Call, members: Mapping[str, str], through: Callable[[], Awaitable[Reply]]
) -> Reply | None:
    """The same for tags of a pending put: it is delivered first."""
    shape = shapes.shape_of(call.bucket, call.identity, "tag", members)
    # They would hold the put.
    if is_proven(parts, shape) or not asks(parts, call, shape, "put", members):
        return None
    reply = await sent(parts, through(), None)
    if reply is not None:
        await judged(parts, shape, reply, "")
    return reply


async def complete(parts: Parts, call: Call) -> Reply:
    """Complete an upload of the remote's."""
    upload = call.params.get("UploadId", "")
    shape = parts.shapes.of_upload(upload)
    if shape is None or call.body is None:
        return await forward.through(parts, call, call.operation)
    body = Watched(call.body, keep=True)
    reply = await forward.through(parts, replace(call, body=body), FIRST)
    if reply.status < 300:
        document = await read_all(reply.body, LARGEST_DOCUMENT)
        reply.body = BytesBody(document)
        headers = reply.headers.copy()
        headers["ETag"] = decode.response(call.operation, reply.status, headers, document.lstrip()).get("ETag", "")
        parts.shapes.ended(upload)
        await learn(parts, shape, headers, await etag_of(parts, bytes(body.data)))
    return reply


def first_of_bulk(parts: Parts, call: Call, members: Mapping[str, str]) -> Shape | None:
    """The shape of a bulk delete's keys where the remote is to judge it; None where the queue is to take them."""
    shape = shapes.shape_of(call.bucket, call.identity, "delete", members)
    return None if is_proven(parts, shape) or not asks(parts, call, shape, "delete", members) else shape


async def learn_of_bulk(parts: Parts, shape: Shape, result: Mapping[str, Any]) -> None:
    """Learn from the answer to a bulk delete."""
    deleted = result.get("Deleted") or ()
    versions = [o.get("DeleteMarkerVersionId") or o.get("VersionId") for o in deleted if o.get("Key")]
    if versions:
        headers = Reply().headers
        headers["x-amz-version-id"] = next((version for version in versions if version), "null")
        await learn(parts, shape, headers, "")


async def delivered(parts: Parts, change: Change, answer: Answer) -> None:
    """Learn from a push that succeeded."""
    headers = answer.headers
    await learn(parts, shapes.of_change(change), headers, change.etag if change.op in ("put", "complete") else "")


async def refused(parts: Parts, change: Change, error: S3Error) -> None:
    """Learn from a push that was refused."""
    try:
        if error.code in CONTRARY:
            await parts.shapes.learn(shapes.of_change(change), DOUBTED)
        elif error.code == "NoSuchBucket":
            await parts.shapes.forget(change.bucket)
    except StoreFailed as failure:
        log.error("what the remote showed of bucket %s cannot be kept: %s", change.bucket, failure)


async def judged(parts: Parts, shape: Shape, reply: Reply, etag: str) -> None:
    """Learn from the answer to a write that was sent through; of one that was refused, that the bucket may be gone."""
    if reply.status < 300:
        await learn(parts, shape, reply.headers, etag)
    elif reply.outcome is Outcome.REFUSED and reply.status == 404:
        await parts.buckets.forget(shape.bucket)


async def learn(parts: Parts, shape: Shape, headers: AnyHeaders, etag: str) -> None:
    """Learn from a success; `etag` is what it has to show, "" where it shows none."""
    version, shown = headers.get("x-amz-version-id", "null"), answers.etag_of(headers.get("ETag", ""))
    encryption = headers.get("x-amz-server-side-encryption", "")
    found = Bucket(shape.bucket)
    if version != "null":
        found = Bucket(shape.bucket, "versioned", f"x-amz-version-id {version}")
    if etag and shown not in ("", etag):
        parts.metrics.etag_mismatch.inc()
        log.warning("bucket %s: where the ETag must be %s, the remote shows %s", shape.bucket, etag, shown)
        found = Bucket(shape.bucket, "etag", f"{shown} where it must be {etag}")
    if encryption.startswith(KMS):
        found = Bucket(shape.bucket, "encrypted", encryption)
    try:
        await parts.buckets.passed(shape.bucket)
        if found.through:
            await parts.buckets.learn(found)
        await parts.shapes.learn(shape, DOUBTED if parts.buckets.through(found) else PROVEN)
    except StoreFailed as error:
        log.error("what the remote showed of bucket %s cannot be kept: %s", shape.bucket, error)


def is_proven(parts: Parts, shape: Shape) -> bool:
    """Whether the queue may take a shape: the remote has judged it, or the settings vouch for plain writes (R-6)."""
    verdict = parts.shapes.verdict(shape)
    return verdict == PROVEN or (not verdict and not shape.members and parts.buckets.named(shape.bucket))


def asks(parts: Parts, call: Call, shape: Shape, op: str, members: Mapping[str, str]) -> bool:
    """Whether the remote can be asked about a shape that is not proven, by this write.

    Raises Unavailable where it is away and the settings refuse the write for that.
    """
    if holds.rule_now(parts.db, shape.bucket, op, members) or (call.key and is_stuck(parts, call)):
        return False
    if parts.health.away:
        unproven(parts)
        return False
    return True


async def sent(parts: Parts, answer: Awaitable[Reply], body: Watched | None) -> Reply | None:
    """Wait for an answer; None where nothing of the request was sent, so that the queue may still take it."""
    try:
        return await answer
    except S3Error as error:
        if error.unknown or (body is not None and body.started):
            raise
        unproven(parts)
        return None


def unproven(parts: Parts) -> None:
    """Let the queue take a write of a shape that nobody has judged. Raises Unavailable where the settings refuse it."""
    if parts.settings.write_queue.unproven == "Refuse":
        raise Unavailable(
            "No write of this shape was ever answered by the remote, which cannot be asked now",
            hint="S3D_WRITE_QUEUE_UNPROVEN=Queue takes such writes while the remote is away",
        )


def is_stuck(parts: Parts, call: Call) -> bool:
    """Whether something on the key will not move by itself: a write takes the key, a turn would wait in vain (Q-9)."""
    change = views.obstacle(parts.db, call.bucket, call.key, views.newest(parts.db))
    if change is None:
        return False
    return change.state in ("held", "parked", "quarantined") or any(
        lane.state == "paused" and lanes.key_of(lane) == lanes.key_of(change) for lane in lanes.shut(parts.db)
    )


async def etag_of(parts: Parts, document: bytes) -> str:
    """The ETag of what a Complete makes; "" where the parts' ETags are no MD5s, or the document is not understood."""
    try:
        value, _ = await parts.documents.understood(OPERATIONS["CompleteMultipartUpload"], document)
        listed = completion.of_document(value)
    except S3Error:
        return ""
    try:
        return completion.joined_etag([str(part["ETag"]).strip().strip('"') for part in listed])
    except ValueError:
        return ""
