"""Writes by which the remote is asked: the first of a profile goes through, and its answer teaches (SEMANTICS
Q-14, R-6).

Nothing is guessed: what was not learned is asked. A write of which nothing could be sent may still be queued.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from s3d.api import S3, Body, BytesBody, Call, Reply, read_all
from s3d.errors import S3Error
from s3d.layers.queue.remote_facts.facts import RemoteFacts
from s3d.layers.queue.remote_facts.write_profiles import WriteProfile
from s3d.protocol import decode

MAX_DOCUMENT = 8 << 20
Send = Callable[[Call, Callable[[], str] | None], Awaitable[Reply]]
"""Sends a write through; given what says, once its body is sent, which ETag the object must have."""


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


async def first(facts: RemoteFacts, call: Call, profile: WriteProfile, send: Send) -> Reply | None:
    """Send a put or a delete through, and learn from the answer; None where nothing of it was sent."""
    body = Watched(call.body) if call.body is not None else None
    reply = await sent(send(replace(call, body=body), (lambda: body.etag) if body is not None else None), body)
    if reply is not None:
        await facts.probed(profile, reply, body.etag if body else "")
    return reply


async def begin(facts: RemoteFacts, call: Call, profile: WriteProfile, inner: S3) -> Reply | None:
    """The same with the beginning of an upload: then all of it is the remote's."""
    reply = await sent(inner(call), None)
    if reply is not None and reply.status < 300:
        document = await read_all(reply.body, MAX_DOCUMENT)
        reply.body = BytesBody(document)
        facts.profiles.begun(
            decode.response(call.operation, reply.status, reply.headers, document)["UploadId"], profile
        )
    return reply


async def first_tags(facts: RemoteFacts, profile: WriteProfile, through: Awaitable[Reply]) -> Reply | None:
    """The same with tags of a pending put: it is delivered first."""
    reply = await sent(through, None)
    if reply is not None:
        await facts.probed(profile, reply, "")
    return reply


async def complete(
    facts: RemoteFacts, call: Call, profile: WriteProfile, send: S3, etag_of: Callable[[bytes], Awaitable[str]]
) -> Reply:
    """Complete an upload that `begin` has begun; `etag_of` gives the ETag of what a document makes, "" where nobody
    knows."""
    assert call.body is not None
    body = Watched(call.body, keep=True)
    reply = await send(replace(call, body=body))
    if reply.status < 300:
        document = await read_all(reply.body, MAX_DOCUMENT)
        reply.body = BytesBody(document)
        headers = reply.headers.copy()
        headers["ETag"] = decode.response(call.operation, reply.status, headers, document.lstrip()).get("ETag", "")
        facts.profiles.ended(call.params["UploadId"])
        await facts.succeeded(profile, headers, await etag_of(bytes(body.data)))
    return reply


async def sent(answer: Awaitable[Reply], body: Watched | None) -> Reply | None:
    """Wait for an answer; None where nothing of the request was sent, so that the queue may still take it."""
    try:
        return await answer
    except S3Error as error:
        if error.unknown or (body is not None and body.started):
            raise
        return None
