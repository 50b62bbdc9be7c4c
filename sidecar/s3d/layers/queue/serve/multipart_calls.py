"""Multipart uploads, staged here (SEMANTICS Q-16): begun, filled, completed and aborted without the remote.

A part is on stable storage before its 200. An id that is not ours belongs to the remote, and so does what only the
remote can judge: then the upload spills and its calls are sent on. UploadPartCopy and Complete are next door.
"""

import contextlib
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from multidict import CIMultiDict

from s3d.api import S3, Body, BytesBody, Call, Reply, Wire, read_all
from s3d.client import DOCUMENT_LIMIT, Client
from s3d.clock import Clock
from s3d.errors import S3Error, slow_down
from s3d.layers.queue import consent, entry, withheld
from s3d.layers.queue.capacity import Capacity
from s3d.layers.queue.documents import Documents
from s3d.layers.queue.entry import Write
from s3d.layers.queue.multipart import assembly, completion, spill
from s3d.layers.queue.owed import Owed
from s3d.layers.queue.remote_facts import probing, write_profiles
from s3d.layers.queue.remote_facts.facts import RemoteFacts
from s3d.layers.queue.rows import account, holds, states, uploads
from s3d.layers.queue.rows.states import Op, UploadState
from s3d.layers.queue.rows.subjects import Content
from s3d.layers.queue.rows.uploads import Part, Upload
from s3d.layers.queue.rules import allowlist, limits
from s3d.layers.queue.rules.decide import Decision
from s3d.layers.queue.rules.upload_errors import invalid_part, no_such_upload
from s3d.layers.queue.serve import fitting, forward, reads, writes
from s3d.layers.queue.staging import Staging
from s3d.layers.queue.turns import Turns
from s3d.protocol import checksums, conditions, decode, encode
from s3d.protocol.headers import TAGGING
from s3d.protocol.model import integer
from s3d.settings import Gateway, WriteQueue
from s3d.store.bodies import Bodies
from s3d.store.db import Database
from s3d.store.failures import StoreFull


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
        facts=entry.facts(context.entry, call, profile, unsupported=unsupported, invalid=invalid),
        take=lambda: begin(context, call, members),
        fits=lambda: fitting.check(context.fitting, call, 1),
        send=send,
        probe=probe,
        asked=Content(members),
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
    """Note what an upload was begun with at the remote, where that let it leave: its parts do not say so again."""
    content = withheld.content_of(context.db, context.staging, call)
    is_asked_for = holds.own_of(content.members.get(TAGGING, "")) is not None or consent.is_told(context.db)
    if reply.status < 300 and is_asked_for:
        document = await read_all(reply.body, DOCUMENT_LIMIT)
        reply.body = BytesBody(document)
        upload_id = decode.response(call.operation, reply.status, reply.headers, document)["UploadId"]
        context.staging.begun(upload_id, content)
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
        size=account.ROW_BYTES + (size or 0),
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
    return Write(call=call, facts=facts, take=take, send=send, content=Content(upload.members))


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
        part = Part(number, size, etag, sums, context.clock.wall(), remote_etag=etag)
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


async def abort(context: Context, call: Call) -> Reply:
    """Drop an upload; what the remote holds of it is dropped in the background."""
    upload = ours(context, call)
    if upload is None:
        context.facts.profiles.ended(call.params.get("UploadId", ""))
        return await context.inner(call)
    moment = call.params.get("IfMatchInitiatedTime")
    if moment is not None and int(moment.timestamp()) != int(upload.began_at):
        raise conditions.failed("x-amz-if-match-initiated-time")
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
