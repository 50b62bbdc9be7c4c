"""Writes by which the remote is asked: the first of a shape goes through, and its answer teaches (SEMANTICS Q-14, R-6).

Nothing is guessed: what was not learned is asked. A write of which nothing could be sent may still be queued.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass, field, replace

from s3d.api import Body, BytesBody, Call, Reply, read_all
from s3d.errors import S3Error
from s3d.layers.queue.multipart import completion
from s3d.layers.queue.parts import Parts
from s3d.layers.queue.rows.shapes import Shape
from s3d.layers.queue.rules.decide import PROBE, Decision
from s3d.layers.queue.serve import forward
from s3d.protocol import decode
from s3d.protocol.model import OPERATIONS

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


async def first(parts: Parts, call: Call, shape: Shape) -> Reply | None:
    """Send a put or a delete through, and learn from the answer; None where nothing of it was sent."""
    body = Watched(call.body) if call.body is not None else None
    ours = (lambda: body.etag) if body is not None else None
    reply = await sent(forward.through(parts, replace(call, body=body), PROBE, ours=ours), body)
    if reply is not None:
        await parts.learning.judged(shape, reply, body.etag if body else "")
    return reply


async def begin(parts: Parts, call: Call, shape: Shape) -> Reply | None:
    """The same with the beginning of an upload: then all of it is the remote's."""
    reply = await sent(parts.inner(call), None)
    if reply is not None and reply.status < 300:
        document = await read_all(reply.body, LARGEST_DOCUMENT)
        reply.body = BytesBody(document)
        parts.shapes.begun(decode.response(call.operation, reply.status, reply.headers, document)["UploadId"], shape)
    return reply


async def first_tags(parts: Parts, shape: Shape, through: Awaitable[Reply]) -> Reply | None:
    """The same with tags of a pending put: it is delivered first."""
    reply = await sent(through, None)
    if reply is not None:
        await parts.learning.judged(shape, reply, "")
    return reply


async def complete(parts: Parts, call: Call, decision: Decision) -> Reply:
    """Complete an upload of the remote's."""
    upload = call.params.get("UploadId", "")
    shape = parts.shapes.of_upload(upload)
    if shape is None or call.body is None:
        return await forward.through(parts, call, decision)
    body = Watched(call.body, keep=True)
    reply = await forward.through(parts, replace(call, body=body), PROBE)
    if reply.status < 300:
        document = await read_all(reply.body, LARGEST_DOCUMENT)
        reply.body = BytesBody(document)
        headers = reply.headers.copy()
        headers["ETag"] = decode.response(call.operation, reply.status, headers, document.lstrip()).get("ETag", "")
        parts.shapes.ended(upload)
        await parts.learning.learn(shape, headers, await etag_of(parts, bytes(body.data)))
    return reply


async def sent(answer: Awaitable[Reply], body: Watched | None) -> Reply | None:
    """Wait for an answer; None where nothing of the request was sent, so that the queue may still take it."""
    try:
        return await answer
    except S3Error as error:
        if error.unknown or (body is not None and body.started):
            raise
        return None


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
