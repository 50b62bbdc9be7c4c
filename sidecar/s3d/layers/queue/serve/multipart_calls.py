"""Multipart uploads, staged here (SEMANTICS Q-16): begun, filled, completed and aborted without the remote.

A part is on stable storage before its 200; Complete makes one change of them in one transaction. An id that is not ours
belongs to the remote, and so does what only the remote can judge: then the upload spills and its calls are sent on.
"""

import asyncio
import contextlib
import functools
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import apsw
from multidict import CIMultiDict

from s3d.api import S3, Body, BytesBody, Call, Reply, Wire, read_all
from s3d.client import DOCUMENT_LIMIT, Client
from s3d.clock import Clock
from s3d.errors import S3Error, slow_down
from s3d.layers.queue import entry, withheld
from s3d.layers.queue.capacity import Capacity
from s3d.layers.queue.documents import Document, Documents
from s3d.layers.queue.entry import Write
from s3d.layers.queue.multipart import assembly, completion, spill
from s3d.layers.queue.owed import Owed
from s3d.layers.queue.remote_facts import probing, write_profiles
from s3d.layers.queue.remote_facts.facts import RemoteFacts
from s3d.layers.queue.rows import account, holds, states, uploads
from s3d.layers.queue.rows.states import Op, UploadState
from s3d.layers.queue.rows.uploads import Part, Upload
from s3d.layers.queue.rules import allowlist, limits
from s3d.layers.queue.rules.decide import PROBE, Decision
from s3d.layers.queue.rules.upload_errors import invalid_part, no_such_upload
from s3d.layers.queue.serve import fitting, forward, overlay, reads, writes
from s3d.layers.queue.staging import Staging
from s3d.layers.queue.turns import Turns
from s3d.protocol import checksums, decode, encode
from s3d.protocol.headers import TAGGING
from s3d.protocol.model import OPERATIONS, integer, saturated
from s3d.settings import Gateway, WriteQueue
from s3d.store.bodies import Bodies
from s3d.store.db import Database
from s3d.store.failures import StoreFull

MAX_DOCUMENT = 8 << 20
"""Bytes of a Complete; 10,000 parts with their checksums fit into it."""
SPILLED = "an upload that the remote must complete"
COPY_RANGE = re.compile(r"bytes=([0-9]+)-([0-9]+)")


@dataclass(frozen=True, slots=True)
class Context:
    """What uploads are staged with."""

    settings: WriteQueue
    gateway: Gateway
    db: Database
    clock: Clock
    bodies: Bodies
    inner: S3
    client: Client
    capacity: Capacity
    documents: Documents
    facts: RemoteFacts
    owed: Owed
    staging: Staging
    turns: Turns
    entry: entry.Context
    fitting: fitting.Context
    forward: forward.Context
    reads: reads.Context
    spill: spill.Context
    writes: writes.Context


@dataclass(frozen=True, slots=True)
class Stretch:
    """What a part is copied from."""

    bucket: str
    key: str
    etag: str = ""
    """With its quotes."""
    range: str | None = None
    """As a GET asks for it; None for the whole object."""
    size: int = 0


async def create(context: Context, call: Call) -> Reply:
    """Answer CreateMultipartUpload."""
    wire = call.wire
    unsupported = next(iter(allowlist.unsupported(wire, "CreateMultipartUpload")), "")
    members = {} if unsupported else allowlist.kept(wire)
    members.pop("x-amz-content-sha256", None)
    invalid = limits.broken(call.key, 0, members) or completion.unpromised(wire.headers)
    profile = write_profiles.profile_of(call.bucket, call.identity, Op.COMPLETE, members)

    async def send(_: Decision) -> Reply:
        return await let_go(context, call, await context.inner(call))

    async def probe() -> Reply | None:
        reply = await probing.begin(context.facts, call, profile, context.inner)
        return None if reply is None else await let_go(context, call, reply)

    write = Write(
        call=call,
        facts=entry.facts(context.entry, call, unsupported=unsupported, invalid=invalid),
        take=lambda: begin(context, call, members),
        fits=lambda: fitting.check(context.fitting, call, 1),
        send=send,
        probe=probe,
        profile=profile,
    )
    return await entry.serve(context.entry, write)


async def begin(context: Context, call: Call, members: dict[str, str]) -> Reply:
    """Begin an upload here."""
    wire = call.wire
    algorithm, kind = completion.promised(wire.headers)
    if algorithm:
        members["x-amz-checksum-algorithm"] = algorithm.upper()
        if "x-amz-checksum-type" in wire.headers:
            members["x-amz-checksum-type"] = kind
    began_at, now = context.clock.wall(), context.clock.now()
    upload = Upload(
        secrets.token_urlsafe(48),
        call.bucket,
        call.key,
        call.identity,
        UploadState.OPEN,
        members,
        algorithm,
        kind,
        began_at,
        now,
    )
    async with context.capacity.take(account.of_row(call.bucket, call.key, members)):
        if uploads.open_ones(context.db) >= context.settings.max_uploads:
            raise too_many_uploads(context.settings.max_uploads)
        await context.db.write(lambda db: uploads.begin(db, upload), short=True)
    result = {"Bucket": call.bucket, "Key": call.key, "UploadId": upload.id}
    if algorithm:
        result |= {"ChecksumAlgorithm": algorithm.upper(), "ChecksumType": kind}
    return encode.reply(call.operation, result, writes.acknowledged(context.writes, call.bucket, members))


def too_many_uploads(most: int) -> S3Error:
    """The answer to an upload that is one too many."""
    return slow_down(
        f"There are {most} open uploads already",
        hint="complete or abort them; the limit is S3D_WRITE_QUEUE_MAX_UPLOADS",
    )


async def let_go(context: Context, call: Call, reply: Reply) -> Reply:
    """Note an upload that was begun at the remote with tags that let it leave: its parts do not say so again."""
    if reply.status < 300 and holds.own_of(withheld.tags_of(context.db, call).get(TAGGING, "")) is not None:
        document = await read_all(reply.body, DOCUMENT_LIMIT)
        reply.body = BytesBody(document)
        context.staging.let_go(decode.response(call.operation, reply.status, reply.headers, document)["UploadId"])
    return reply


async def upload_part(context: Context, call: Call) -> Reply:
    """Answer UploadPart."""
    upload = ours(context, call)
    if upload is None:
        return await entry.serve(context.entry, of_remote(context, call, lambda _: context.inner(call)))
    number = number_of(call)
    wire = call.wire
    sent = completion.sent_algorithm(wire.headers)
    completion.check_algorithm(upload, sent)
    body = call.body
    size = None if body is None else body.length
    write = part_of(
        context,
        call,
        upload,
        unsupported=next(iter(allowlist.unsupported(wire, "UploadPart")), ""),
        invalid=limits.no_length() if size is None else limits.broken("", size, {}),
        size=account.ROW + (size or 0),
        take=lambda: take_part(context, call, upload, number, sent),
        send=lambda _: through(context, upload, call, number),
    )
    return await entry.serve(context.entry, write)


def of_remote(context: Context, call: Call, send: Callable[[Decision], Awaitable[Reply]]) -> Write:
    """A write to an upload of the remote's."""
    return Write(call=call, facts=entry.facts(context.entry, call, at_remote="an upload of the remote"), send=send)


def part_of(
    context: Context,
    call: Call,
    upload: Upload,
    *,
    take: Callable[[], Awaitable[Reply]],
    send: Callable[[Decision], Awaitable[Reply]],
    **said: Any,
) -> Write:
    """A part of an upload that is ours. What its bucket and its kind are was judged when it began."""
    at_remote = "" if upload.state == UploadState.OPEN else "an upload that goes to the remote"
    facts = entry.facts(context.entry, call, at_remote=at_remote, bucket="", **said)
    return Write(call=call, facts=facts, take=take, send=send, tags=upload.members)


async def take_part(context: Context, call: Call, upload: Upload, number: int, sent: str) -> Reply:
    """Take one part."""
    if call.body is None:
        raise limits.no_length()
    part = await receive(context, upload, number, call.body, sent, travelling(call.wire))
    headers = writes.acknowledged(context.writes, upload.bucket, upload.members)
    headers["ETag"] = f'"{part.etag}"'
    headers.update((name, value) for name, value in part.sums.items() if name in allowlist.CHECKSUMS)
    return Reply(200, headers, source="queue")


async def receive(
    context: Context, upload: Upload, number: int, body: Body, sent: str, sums: Mapping[str, str]
) -> Part:
    """Put a part's bytes on stable storage, in the place of an older part of its number (D-2)."""
    size = body.length or 0
    digests = checksums.Digests({"md5", upload.algorithm} if upload.algorithm and not sent else {"md5"})
    async with context.capacity.take(account.of_row("", "", sums), size) as room:
        stored = await context.bodies.receive(body, digests.update, room.grow)
        sums = {**sums, **{name: value for name, value in body.digests.items() if name in allowlist.CHECKSUMS}}
        if upload.algorithm and not sent:
            sums[f"x-amz-checksum-{upload.algorithm}"] = checksums.to_base64(digests.digest(upload.algorithm))
        part = Part(number, size, digests.result("md5"), sums, context.clock.wall(), stored.id, inline=stored.inline)
        try:
            with still_open(upload):
                now = context.clock.now()
                await context.db.write(lambda db: uploads.store_part(db, upload.id, part, now), short=True)
        except (StoreFull, S3Error):
            # Nothing was committed. After any other failure the row may turn out to be stored: the body stays.
            if stored.id is not None:
                await context.bodies.delete(stored.id)
            raise
    context.staging.wake()
    await spill.relieve(context.spill)
    return part


async def through(context: Context, upload: Upload, call: Call, number: int) -> Reply:
    """Send a part on to the remote's upload, and note it."""
    size = call.body.length or 0 if call.body is not None else 0
    await context.db.write(lambda db: uploads.spill(db, upload.id))
    context.staging.wake()
    async with context.staging.alone(f"{upload.id} {number}"):
        reply = await spill.onward(context.spill, upload, call)
        if reply.status >= 300:
            return reply
        etag = reply.headers.get("ETag", "").strip('"')
        sums: dict[str, str] = {}
        if call.operation == "UploadPartCopy":
            document = await read_all(reply.body, DOCUMENT_LIMIT)
            reply.body = BytesBody(document)
            result = decode.response(call.operation, reply.status, reply.headers, document.lstrip())
            copied = result.get("CopyPartResult", {})
            etag = copied.get("ETag", "").strip('"')
            size = await size_at_remote(context, upload, call, number)
        else:
            verified = call.body.digests if call.body is not None else {}
            sums = {name: value for name, value in verified.items() if name in allowlist.CHECKSUMS}
        part = Part(number, size, etag, sums, context.clock.wall(), landed=etag)
        with still_open(upload):
            await context.db.write(lambda db: uploads.store_part(db, upload.id, part, context.clock.now()))
    return reply


async def size_at_remote(context: Context, upload: Upload, call: Call, number: int) -> int:
    """The size of a part that only the remote has seen."""
    found = uploads.find(context.db, upload.id)
    params = {
        **assembly.named(upload),
        "UploadId": found.remote if found else None,
        "PartNumberMarker": number - 1,
        "MaxParts": 1,
    }
    listed = (await context.client.acting(upload.identity, call.trace).ask("ListParts", params, fresh=True)).result
    return next((int(part["Size"]) for part in listed.get("Parts", ()) if part["PartNumber"] == number), 0)


async def copy_part(context: Context, call: Call) -> Reply:
    """Answer UploadPartCopy."""
    source = decode.copy_source(call.params.get("CopySource", ""))
    upload = ours(context, call)
    if upload is None or source is None:
        return await entry.serve(context.entry, of_remote(context, call, lambda _: copy_there(context, call, source)))
    number = number_of(call)
    unsupported = next(iter(allowlist.unsupported(call.wire, "UploadPartCopy")), "")
    if not unsupported and "versionId=" in str(call.params.get("CopySource", "")):
        unsupported = "versionId of the source"
    stretch = Stretch(*source)
    if not unsupported and upload.state == UploadState.OPEN:
        etag, size = await look_at(context, call, *source)
        start, end = copied_range(call.params.get("CopySourceRange"), size)
        stretch = Stretch(*source, etag, None if (start, end) == (0, size) else f"bytes={start}-{end - 1}", end - start)

    async def send(_: Decision) -> Reply:
        await context.turns.barrier(*source)
        return await through(context, upload, call, number)

    write = part_of(
        context,
        call,
        upload,
        unsupported=unsupported,
        size=stretch.size,
        take=lambda: take_copied(context, call, upload, number, stretch),
        send=send,
    )
    return await entry.serve(context.entry, write)


async def copy_there(context: Context, call: Call, source: tuple[str, str] | None) -> Reply:
    """Have the remote copy into an upload of its own, when the source is there (R-3)."""
    if source is not None:
        await context.turns.barrier(*source)
    return await context.inner(call)


async def take_copied(context: Context, call: Call, upload: Upload, number: int, source: Stretch) -> Reply:
    """Take one part from another object, which is read through the whole queue."""
    body: Body = BytesBody(b"")
    if source.size:
        read = reader(context, call)
        answer = await read.get_object(source.bucket, source.key, IfMatch=source.etag, Range=source.range)
        body = answer.body or body
        if body.length != source.size:
            await body.aclose()
            raise S3Error("InternalError", "The source of the copy changed while it was read", status=500)
    part = await receive(context, upload, number, body, "", allowlist.kept_of_delete(call.wire))
    copied: dict[str, Any] = {"ETag": f'"{part.etag}"', "LastModified": datetime.fromtimestamp(int(part.at), UTC)}
    copied |= completion.elements(part.sums)
    headers = writes.acknowledged(context.writes, upload.bucket, upload.members)
    return encode.reply(call.operation, {"CopyPartResult": copied}, headers)


def reader(context: Context, call: Call) -> Client:
    """The client of a call that reads an object as its own client would: what is pending, else the remote's."""
    return Client(functools.partial(reads.get, context.reads), "queue").acting(call.identity, call.trace)


async def look_at(context: Context, call: Call, bucket: str, key: str) -> tuple[str, int]:
    """ETag (with its quotes) and size of a copy's source, its conditions judged."""
    names = ("IfMatch", "IfNoneMatch", "IfModifiedSince", "IfUnmodifiedSince")
    conditions: dict[str, Any] = {name: call.params.get(f"CopySource{name}") for name in names}
    try:
        answer = await reader(context, call).head_object(bucket, key, **conditions)
    except S3Error as error:
        if error.status == 404:
            raise S3Error("NoSuchKey", "The specified key does not exist.", status=404, details={"Key": key}) from error
        if error.status not in (304, 412):
            raise
        raise S3Error(
            "PreconditionFailed", "At least one of the pre-conditions you specified did not hold", status=412
        ) from error
    return answer.headers["ETag"], int(answer.result.get("ContentLength", 0))


def copied_range(text: str | None, size: int) -> tuple[int, int]:
    """The stretch of a source of `size` bytes that is copied. Raises S3Error InvalidArgument or InvalidRange."""
    if text is None:
        return 0, size
    match = COPY_RANGE.fullmatch(text.strip())
    first, last = map(saturated, match.groups()) if match is not None else (1, 0)
    if last < first:
        raise S3Error(
            "InvalidArgument",
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the "
            "zero-based offsets of the first and last bytes to copy",
            details={"ArgumentName": "x-amz-copy-source-range", "ArgumentValue": text},
        )
    start, end = first, last + 1
    if end > size:
        raise S3Error(
            "InvalidRange",
            f"The specified copy range is invalid for the source object size: {size}",
            status=416,
            details={"RangeRequested": text},
        )
    if end - start > limits.MAX_PUT:
        raise limits.too_large(end - start)
    return start, end


async def complete(context: Context, call: Call) -> Reply:
    """Answer CompleteMultipartUpload."""
    upload = uploads.find(context.db, call.params.get("UploadId", ""))
    if upload is not None:
        check_owner(upload, call)
    if upload is None:
        write = of_remote(context, call, lambda decision: complete_of_remote(context, call, decision))
        return await entry.serve(context.entry, write)
    if upload.answer and (upload.bucket, upload.key) == (call.bucket, call.key):
        return answered(context, upload, upload.answer)
    check_open(upload, call)
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
        tags=upload.members,
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
        with still_open(upload):
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
    reply = await forward.through(context.forward, call, decision, upload.members)
    document = await read_all(reply.body, DOCUMENT_LIMIT)
    reply.body = BytesBody(document)
    if reply.status >= 300:
        return reply
    result = decode.response(call.operation, reply.status, reply.headers, document.lstrip())
    kept = {name: value for name, value in result.items() if isinstance(value, str)}
    # The object is made: that is the answer, also while the local dir takes no note of it.
    with still_open(upload):
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


async def abort(context: Context, call: Call) -> Reply:
    """Drop an upload; what the remote holds of it is dropped in the background."""
    upload = ours(context, call)
    if upload is None:
        context.facts.profiles.ended(call.params.get("UploadId", ""))
        return await context.inner(call)
    moment = call.params.get("IfMatchInitiatedTime")
    if moment is not None and int(moment.timestamp()) != int(upload.began_at):
        raise overlay.failed("x-amz-if-match-initiated-time")
    with still_open(upload):
        await context.db.write(lambda db: uploads.abort(db, upload.id, context.clock.now()))
    context.staging.wake()
    context.capacity.freed()
    return Reply(204, CIMultiDict({"x-s3d-durability": "local"}), source="queue")


async def list_parts(context: Context, call: Call) -> Reply:
    """List the parts of an upload."""
    upload = ours(context, call)
    if upload is None:
        return await context.inner(call)
    most = min(call.params.get("MaxParts", 1000), 1000)
    if most < 0:
        raise S3Error("InvalidArgument", "Argument max-parts must be an integer between 0 and 2147483647")
    marker = part_marker(call.params.get("PartNumberMarker", ""))
    found = uploads.parts_of(context.db, upload.id, after=marker, limit=most + 1)
    shown = found[:most]
    result: dict[str, Any] = {
        "Bucket": upload.bucket,
        "Key": upload.key,
        "UploadId": upload.id,
        "PartNumberMarker": marker,
        "NextPartNumberMarker": shown[-1].number if shown else 0,
        "MaxParts": most,
        "IsTruncated": len(found) > most > 0,
        "Parts": [
            {
                "PartNumber": part.number,
                "LastModified": datetime.fromtimestamp(part.at, UTC),
                "ETag": f'"{part.etag}"',
                "Size": part.size,
                **completion.elements(part.sums),
            }
            for part in shown
        ],
        "StorageClass": upload.members.get("x-amz-storage-class", "STANDARD"),
    }
    if upload.algorithm:
        result |= {"ChecksumAlgorithm": upload.algorithm.upper(), "ChecksumType": upload.kind}
    return encode.reply(call.operation, result)


def ours(context: Context, call: Call) -> Upload | None:
    """The open upload that a call names; None for an id that is not ours. Raises S3Error NoSuchUpload."""
    upload = uploads.find(context.db, call.params.get("UploadId", ""))
    if upload is None:
        return None
    check_open(upload, call)
    return upload


def check_owner(upload: Upload, call: Call) -> None:
    """Raise S3Error NoSuchUpload where another identity has begun an upload: it is nobody else's (A-8)."""
    if upload.identity != call.identity:
        raise no_such_upload(upload.id)


def check_open(upload: Upload, call: Call) -> None:
    """Raise S3Error NoSuchUpload where a call may not go on with an upload, ServiceUnavailable where it is damaged."""
    check_owner(upload, call)
    if upload.state == "quarantined":
        raise S3Error(
            "ServiceUnavailable",
            "This upload is damaged on the local dir",
            status=503,
            hint="begin another one; what is left of this one stays for S3D_WRITE_QUEUE_MAX_UPLOAD_AGE",
        )
    if upload.state not in states.OPEN or (upload.bucket, upload.key) != (call.bucket, call.key):
        raise no_such_upload(upload.id)


@contextlib.contextmanager
def still_open(upload: Upload) -> Iterator[None]:
    """Answer as S3 does where the tables say that an upload is not open any more, or a part of it is another one.

    Raises S3Error NoSuchUpload and InvalidPart.
    """
    try:
        yield
    except uploads.NotOpenError:
        raise no_such_upload(upload.id) from None
    except uploads.PartReplacedError as replaced:
        raise invalid_part(upload.id, replaced.number, replaced.etag) from None


def number_of(call: Call) -> int:
    """The part number of a call. Raises S3Error InvalidArgument."""
    number: int = call.params["PartNumber"]
    limits.check_part_number(number)
    return number


def part_marker(text: object) -> int:
    """The number that a list of parts starts after. Raises S3Error InvalidArgument."""
    try:
        return max(0, integer(str(text) or "0"))
    except ValueError:
        raise S3Error(
            "InvalidArgument",
            "Argument part-number-marker must be an integer between 0 and 2147483647",
            details={"ArgumentName": "part-number-marker", "ArgumentValue": str(text)},
        ) from None


def travelling(wire: Wire) -> dict[str, str]:
    """The headers that travel with a part, but for the checksums of its body."""
    value = wire.headers.get("x-amz-content-sha256", "")
    signed = {"x-amz-content-sha256": value} if len(value) == 64 else {}
    return signed | allowlist.kept_of_delete(wire)
