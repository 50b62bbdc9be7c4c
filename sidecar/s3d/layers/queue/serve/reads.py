"""Reads of one object: answered from its pending change, else from inside (SEMANTICS R-1, R-2, D-4, D-11).

A pending body is verified before its first byte is given out after a start; what is damaged is 503, and quarantined by
the read that meets it.
"""

import functools
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from s3d.api import S3, Body, BytesBody, Call, Reply, Send
from s3d.errors import CorruptBody, S3Error
from s3d.layers.queue.push import change_body
from s3d.layers.queue.push.change_body import open_change
from s3d.layers.queue.remote_facts.facts import RemoteFacts
from s3d.layers.queue.rows import lookups, transitions, uploads
from s3d.layers.queue.rows.changes import Change
from s3d.layers.queue.rules import allowlist, tags
from s3d.layers.queue.serve import overlay
from s3d.layers.queue.turns import Turns
from s3d.metrics import Metrics
from s3d.store.db import Database

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Context:
    """What reads are answered from."""

    db: Database
    inner: S3
    metrics: Metrics
    facts: RemoteFacts
    turns: Turns
    content: change_body.Context


async def get(context: Context, call: Call) -> Reply:
    """Answer GetObject and HeadObject."""
    change = lookups.visible(context.db, call.bucket, call.key)
    if change is None:
        before = context.facts.seen_etags.of(call.bucket, call.key)
        reply = await context.inner(call)
        context.facts.seen_etags.read(call, reply, before)
        return reply
    if change.identity != call.identity:
        return await delivered(context, call)
    if change.op == "tag":
        return tagged(await context.inner(call), change)
    if allowlist.unsupported(call.wire, call.operation):
        return await delivered(context, call)
    check_there(change)
    params = call.params
    if "If-Range" in call.wire.headers:
        params = {**params, "IfRange": call.wire.headers["If-Range"]}
    try:
        members = uploads.parts_of(context.db, change.upload) if change.upload and "PartNumber" in params else ()
        encryption = context.facts.buckets.encryption(call.bucket)
        reply = overlay.answer(
            call.operation, params, change, lambda: open_change(context.content, change), members, encryption
        )
        if not isinstance(reply.body, BytesBody):
            # It is open already: a delivery that ends meanwhile does not take it away. What comes with its row was
            # verified as it was opened.
            await verified(reply.body)
    except CorruptBody as error:
        await damaged(context, change, error)
        return await get(context, call)
    if reply.body is not None and not isinstance(reply.body, BytesBody):
        reply.body = Guarded(context, change, reply.body)
    return reply


async def delivered(context: Context, call: Call) -> Reply:
    """Have the remote answer, when what is pending is delivered: only it can, or only it knows who may read another
    identity's object (A-8)."""
    await context.turns.barrier(call.bucket, call.key)
    return await context.inner(call)


async def verified(body: Body | None) -> None:
    """Have a body verified; one that is not given out is closed. Raises CorruptBody and StoreFailed."""
    if body is None:
        return
    try:
        await body.verify()
    except BaseException:
        await body.aclose()
        raise


@dataclass(slots=True)
class Guarded(Body):
    """A pending body on its way to a client: damage that it shows only now is an error of S3's, and quarantines it."""

    context: Context
    change: Change
    body: Body
    replayable: bool = True

    @property
    def length(self) -> int | None:
        """Length in bytes."""
        return self.body.length

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the blocks. Raises S3Error (503) and StoreFailed."""
        try:
            async for block in self.body.chunks(start, end):
                yield block
        except CorruptBody as error:
            raise await self._refusal(error) from error

    @property
    def digests(self) -> Mapping[str, str]:
        """Those of the body."""
        return self.body.digests

    @property
    def send(self) -> Send | None:
        """Sends the body to a socket, where it lies in a file."""
        return None if self.body.send is None else functools.partial(self._send, self.body.send)

    async def _send(self, send: Send, socket: int, start: int = 0, end: int | None = None) -> None:
        try:
            await send(socket, start, end)
        except CorruptBody as error:
            raise await self._refusal(error) from error

    async def _refusal(self, error: CorruptBody) -> S3Error:
        await damaged(self.context, self.change, error)
        return unreadable(str(error))

    async def verify(self, start: int = 0, end: int | None = None) -> None:
        """Check the body. Raises CorruptBody and StoreFailed."""
        await self.body.verify(start, end)

    async def aclose(self) -> None:
        """Let go of the body."""
        await self.body.aclose()


async def attributes(context: Context, call: Call) -> Reply:
    """Answer GetObjectAttributes."""
    change = lookups.visible(context.db, call.bucket, call.key)
    if change is None or (change.op == "tag" and change.identity == call.identity):
        return await context.inner(call)
    answer = None
    if change.identity == call.identity and not allowlist.unsupported(call.wire, call.operation):
        check_there(change)
        if change.op == "put":
            answer = overlay.attributes(call.params.get("ObjectAttributes", ()), change)
    return await delivered(context, call) if answer is None else answer


def tagged(reply: Reply, change: Change) -> Reply:
    """The remote's answer for an object whose tags are pending: it shows how many they will be."""
    if reply.status < 300:
        reply.headers.popall("x-amz-tagging-count", None)
        if number := tags.count(change.members):
            reply.headers["x-amz-tagging-count"] = str(number)
    return reply


def check_there(change: Change) -> None:
    """Raise the S3Error of a read that meets a pending delete, or a change whose body is bad (D-4)."""
    if change.state == "quarantined":
        raise unreadable(change.reason)
    if change.op == "delete":
        raise S3Error("NoSuchKey", "The specified key does not exist.", status=404, details={"Key": change.key})


def unreadable(reason: str) -> S3Error:
    """The 503 of an object whose pending body is bad."""
    return S3Error(
        "ServiceUnavailable",
        f"The newest version of this object is damaged on the local dir: {reason}",
        status=503,
        hint="put the object again, or see `s3d status bucket/key`",
    )


async def damaged(context: Context, change: Change, error: CorruptBody) -> None:
    """Quarantine a change whose body is bad, unless it was settled meanwhile and its body went with it."""
    again = lookups.visible(context.db, change.bucket, change.key)
    if again is not None and again.seq == change.seq and again.state != "quarantined":
        log.error("change %d is quarantined: %s", change.seq, error)
        context.metrics.quarantined.inc()
        await context.db.write(lambda db: transitions.quarantine(db, change.seq, str(error)))
