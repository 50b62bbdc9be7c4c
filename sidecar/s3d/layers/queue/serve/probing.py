"""Writes by which the remote is asked: the first of a profile goes through, and its answer teaches (SEMANTICS
Q-14, R-6).

Nothing is guessed: what was not learned is asked. A write of which nothing could be sent may still be queued.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass, field, replace

from s3d.api import Body, BytesBody, Call, Reply, read_all
from s3d.errors import S3Error
from s3d.layers.queue.context import QueueContext
from s3d.layers.queue.multipart import completion
from s3d.layers.queue.rows.write_profiles import WriteProfile
from s3d.layers.queue.rules.decide import PROBE, Decision
from s3d.layers.queue.serve import forward
from s3d.protocol import decode
from s3d.protocol.model import OPERATIONS

MAX_DOCUMENT = 8 << 20


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
            if self.keep and len(self.data) <= MAX_DOCUMENT:
                self.data += block
            yield block
        self.etag = md5.hexdigest()

    async def aclose(self) -> None:
        """Let go of the body, but where nobody has begun with it: the queue may still take it."""
        if self.started:
            await self.body.aclose()


async def first(context: QueueContext, call: Call, profile: WriteProfile) -> Reply | None:
    """Send a put or a delete through, and learn from the answer; None where nothing of it was sent."""
    body = Watched(call.body) if call.body is not None else None
    ours = (lambda: body.etag) if body is not None else None
    reply = await sent(forward.through(context, replace(call, body=body), PROBE, ours=ours), body)
    if reply is not None:
        await context.learning.judged(profile, reply, body.etag if body else "")
    return reply


async def begin(context: QueueContext, call: Call, profile: WriteProfile) -> Reply | None:
    """The same with the beginning of an upload: then all of it is the remote's."""
    reply = await sent(context.inner(call), None)
    if reply is not None and reply.status < 300:
        document = await read_all(reply.body, MAX_DOCUMENT)
        reply.body = BytesBody(document)
        context.profiles.begun(
            decode.response(call.operation, reply.status, reply.headers, document)["UploadId"], profile
        )
    return reply


async def first_tags(context: QueueContext, profile: WriteProfile, through: Awaitable[Reply]) -> Reply | None:
    """The same with tags of a pending put: it is delivered first."""
    reply = await sent(through, None)
    if reply is not None:
        await context.learning.judged(profile, reply, "")
    return reply


async def complete(context: QueueContext, call: Call, decision: Decision) -> Reply:
    """Complete an upload of the remote's."""
    upload = call.params.get("UploadId", "")
    profile = context.profiles.of_upload(upload)
    if profile is None or call.body is None:
        return await forward.through(context, call, decision)
    body = Watched(call.body, keep=True)
    reply = await forward.through(context, replace(call, body=body), PROBE)
    if reply.status < 300:
        document = await read_all(reply.body, MAX_DOCUMENT)
        reply.body = BytesBody(document)
        headers = reply.headers.copy()
        headers["ETag"] = decode.response(call.operation, reply.status, headers, document.lstrip()).get("ETag", "")
        context.profiles.ended(upload)
        await context.learning.learn(profile, headers, await etag_of(context, bytes(body.data)))
    return reply


async def sent(answer: Awaitable[Reply], body: Watched | None) -> Reply | None:
    """Wait for an answer; None where nothing of the request was sent, so that the queue may still take it."""
    try:
        return await answer
    except S3Error as error:
        if error.unknown or (body is not None and body.started):
            raise
        return None


async def etag_of(context: QueueContext, document: bytes) -> str:
    """The ETag of what a Complete makes; "" where the parts' ETags are no MD5s, or the document is not understood."""
    try:
        value, _ = await context.documents.understood(OPERATIONS["CompleteMultipartUpload"], document)
        listed = completion.of_document(value)
    except S3Error:
        return ""
    try:
        return completion.joined_etag([str(part["ETag"]).strip().strip('"') for part in listed])
    except ValueError:
        return ""
