"""CompleteMultipartUpload: one change of all parts in one transaction (SEMANTICS Q-16), or the remote makes the object.

What only the remote can judge is judged there: the upload spills, and the call is sent on once all parts are there.
"""

import asyncio
import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import apsw

from s3d.api import BytesBody, Call, Reply, read_all
from s3d.client import DOCUMENT_LIMIT
from s3d.errors import S3Error, slow_down
from s3d.layers.queue import entry
from s3d.layers.queue.documents import Document
from s3d.layers.queue.entry import Write
from s3d.layers.queue.multipart import completion, spill
from s3d.layers.queue.remote_facts import probing
from s3d.layers.queue.rows import uploads
from s3d.layers.queue.rows.states import Op, UploadState
from s3d.layers.queue.rows.subjects import Content
from s3d.layers.queue.rows.uploads import Upload
from s3d.layers.queue.rules import allowlist
from s3d.layers.queue.rules.decide import PROBE, Decision
from s3d.layers.queue.serve import fitting, forward, multipart_calls, writes
from s3d.layers.queue.serve.multipart_calls import Context
from s3d.protocol import decode, encode
from s3d.protocol.model import OPERATIONS

MAX_DOCUMENT = 8 << 20
"""Bytes of a Complete; 10,000 parts with their checksums fit into it."""
SPILLED = "an upload that the remote must complete"


async def complete(context: Context, call: Call) -> Reply:
    """Answer CompleteMultipartUpload."""
    upload = uploads.find(context.db, call.params.get("UploadId", ""))
    if upload is not None:
        multipart_calls.check_owner(upload, call)
    if upload is None:
        write = multipart_calls.of_remote(context, call, lambda decision: complete_of_remote(context, call, decision))
        return await entry.serve(context.entry, write)
    if upload.answer and (upload.bucket, upload.key) == (call.bucket, call.key):
        return answered(context, upload, upload.answer)
    multipart_calls.check_open(upload, call)
    async with context.documents.read(call, OPERATIONS["CompleteMultipartUpload"], MAX_DOCUMENT) as document:
        return await complete_as(context, upload, document)


async def complete_of_remote(context: Context, call: Call, decision: Decision) -> Reply:
    """Complete an upload of the remote's. Where that was the first of its profile, the answer teaches."""
    profile = context.facts.profiles.of_upload(call.params.get("UploadId", ""))
    if profile is None or call.body is None:
        return await forward.through(context.forward, call, decision)
    send = functools.partial(forward.through, context.forward, decision=PROBE)
    return await probing.complete(context.facts, call, profile, send, functools.partial(etag_of, context))


async def etag_of(context: Context, document: bytes) -> str:
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


async def complete_as(context: Context, upload: Upload, document: Document) -> Reply:
    """Make an object of the parts that a document names."""
    call = document.call
    listed = completion.of_document(document.value)
    wire = call.wire
    strange = allowlist.unsupported(wire, call.operation) or document.unknown
    unsupported = next(iter(strange), "" if allowlist.plain_parts(listed) else "a part's member")
    here = upload.state == UploadState.OPEN and completion.can_judge(upload, wire.headers)
    facts = entry.facts(context.entry, call, unsupported=unsupported, at_remote="" if here else SPILLED)

    async def take() -> Reply:
        made = await complete_here(context, upload, call, listed)
        return made or await entry.serve(context.entry, replace(write, facts=facts._replace(at_remote=SPILLED)))

    write = Write(
        call=call,
        facts=facts,
        take=take,
        fits=lambda: fitting.check(context.fitting, call, 1),
        send=lambda decision: complete_there(context, upload, call, listed, decision),
        content=Content(upload.members),
    )
    return await entry.serve(context.entry, write)


async def complete_here(context: Context, upload: Upload, call: Call, listed: list[Mapping[str, Any]]) -> Reply | None:
    """Queue the object, its parts and the end of its upload in one transaction.

    None where it has spilled meanwhile.
    """
    wire = call.wire
    made = completion.judge(upload, uploads.parts_of(context.db, upload.id), listed, wire.headers)
    answer = {**made.result, "Location": forward.address_of(wire)}
    kept = {name: value for name, value in upload.members.items() if name != "x-amz-checksum-algorithm"}
    kept |= allowlist.kept_of_delete(wire)
    new = writes.new(
        context.writes,
        call,
        Op.COMPLETE,
        members={**kept, **made.members},
        size=made.size,
        etag=made.etag,
        upload=upload.id,
    )

    def close(db: apsw.Connection) -> None:
        uploads.close(db, upload.id, made.parts, answer, new.now, UploadState.COMPLETE)

    try:
        with multipart_calls.still_open(upload):
            await writes.enqueue(context.writes, [new], first=close)
    except S3Error as error:
        again = uploads.find(context.db, upload.id)
        if error.code != "NoSuchUpload" or again is None:
            raise
        return answered(context, again, again.answer) if again.answer else None
    context.staging.wake()
    return answered(context, upload, answer)


async def complete_there(
    context: Context, upload: Upload, call: Call, listed: list[Mapping[str, Any]], decision: Decision
) -> Reply:
    """Let the remote make the object, in its key's turn, once it has all parts (R-5)."""
    try:
        async with asyncio.timeout(context.gateway.barrier_timeout):
            upload = await spill.spill(context.spill, upload.id)
    except TimeoutError:
        raise slow_down(
            "This upload is on its way to the remote, which must decide it",
            hint="its parts go on travelling; complete it again",
        ) from None
    document = completion.renamed(upload, uploads.parts_of(context.db, upload.id), listed)
    call = replace(spill.translated(call, upload), body=BytesBody(document))
    call = replace(call, wire=completion.without_digest(call.wire))
    reply = await forward.through(context.forward, call, decision, Content(upload.members))
    document = await read_all(reply.body, DOCUMENT_LIMIT)
    reply.body = BytesBody(document)
    if reply.status >= 300:
        return reply
    result = decode.response(call.operation, reply.status, reply.headers, document.lstrip())
    kept = {name: value for name, value in result.items() if isinstance(value, str)}
    # The object is made: that is the answer, also while the local dir takes no note of it.
    with multipart_calls.still_open(upload):
        await context.owed.make(
            lambda db: uploads.close(db, upload.id, (), kept, context.clock.now(), UploadState.FINISHED),
            context.staging.wake,
        )
    return reply


def answered(context: Context, upload: Upload, answer: Mapping[str, Any]) -> Reply:
    """The answer to Complete, also when it is asked again."""
    return encode.reply(
        "CompleteMultipartUpload", answer, writes.acknowledged(context.writes, upload.bucket, upload.members)
    )
