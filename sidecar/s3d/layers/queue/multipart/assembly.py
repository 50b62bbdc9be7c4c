"""Puts uploads together at the remote, with the client's numbers and boundaries: so the ETag stays (SEMANTICS Q-4).

The remote's id is in the table before the first byte goes there, and a part that the remote has is noted, so that an
attempt goes on where the last one ended. Nothing is begun there that is not finished or aborted by us. Only Complete
changes the object: whatever happens before it is a failed attempt, and never one in doubt.
"""

import asyncio
import email.utils
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from multidict import CIMultiDict

from s3d.api import BytesBody, Call, Headers, Wire
from s3d.client import Answer, Client
from s3d.clock import Clock
from s3d.errors import CorruptBody, NotS3, S3Error, Unavailable
from s3d.layers.queue import withheld
from s3d.layers.queue.capacity import Capacity
from s3d.layers.queue.multipart import concatenated
from s3d.layers.queue.multipart.completion import ELEMENTS
from s3d.layers.queue.rows import uploads
from s3d.layers.queue.rows.changes import Change
from s3d.layers.queue.rows.states import State, UploadState
from s3d.layers.queue.rows.uploads import OrphanUpload, Part, Upload
from s3d.layers.queue.rules.allowlist import CONTENT, OWNER, PAYER
from s3d.layers.queue.staging import Staging
from s3d.protocol import checksums, encode
from s3d.protocol.headers import METADATA
from s3d.store.bodies import Bodies
from s3d.store.db import Database

log = logging.getLogger(__name__)

MAX_PARTS_AT_ONCE = 4
"""Parts of one upload that are sent at once."""
CLOCK_GRACE = 2.0
"""Seconds by which the remote's stamps, which count whole seconds, may be off."""
PARTS_GONE = frozenset(["InvalidPart", "InvalidPartOrder"])
NOT_THE_STORES = "a part was answered with an ETag that the remote does not know"


@dataclass(frozen=True, slots=True)
class Context:
    """What an upload is put together with."""

    db: Database
    clock: Clock
    bodies: Bodies
    client: Client
    capacity: Capacity
    staging: Staging


async def push(context: Context, change: Change, condition: Mapping[str, str]) -> Answer:
    """Push a completed upload; `condition` are headers of its Complete.

    Raises CorruptBody and S3Error; after an Unavailable that was `sent` the object may be there.
    """
    upload_id = change.upload or ""
    upload = uploads.find(context.db, upload_id)
    if upload is None or upload.state == UploadState.QUARANTINED:
        raise CorruptBody("its upload is missing, or cannot be read")
    if upload.state == UploadState.DELIVERED:
        if change.state == State.IN_DOUBT:
            return Answer(200, CIMultiDict({"ETag": f'"{change.etag}"'}))
        # It was settled, and an older change of the key arrived after it.
        await context.db.write(lambda db: uploads.lost(db, upload_id, whole=True))
        upload = uploads.find(context.db, upload_id) or upload
    # Also after a part that stayed unanswered, which costs a HEAD and nothing else.
    in_doubt = change.state == State.IN_DOUBT
    for again in (False, True):
        upload = await begin(context, upload)
        try:
            await send(context, upload, drop=False)
            answer = await complete(context, upload, change, condition)
        except S3Error as error:
            if error.code in PARTS_GONE:
                sent = uploads.parts_of(context.db, upload_id)
                await context.db.write(lambda db: uploads.lost(db, upload_id, whole=False))
                # Somebody else than the store may have answered a part: nothing against the object.
                if any(part.remote_etag != part.etag for part in sent):
                    raise _failed(NotS3(NOT_THE_STORES, answered=200)) from error
            if error.code != "NoSuchUpload":
                raise
            if in_doubt and await is_there(context, change):
                answer = Answer(200, CIMultiDict({"ETag": f'"{change.etag}"'}))
            else:
                # Another's clean-up took it, or an earlier Complete of ours was overwritten since: from the start.
                await context.db.write(lambda db: uploads.lost(db, upload_id, whole=True))
                if again:
                    raise
                upload = uploads.find(context.db, upload_id) or upload
                continue
        await context.db.write(lambda db: uploads.delivered(db, upload_id))
        return answer
    raise AssertionError("the second attempt returns or raises")


async def begin(context: Context, upload: Upload) -> Upload:
    """Give an upload its counterpart at the remote, by the headers that its Create came with."""
    if upload.remote is not None:
        return upload
    remote = await adopt(context, upload) if upload.asked_at is not None else None
    if remote is None:
        await context.db.write(lambda db: uploads.ask(db, upload.id, context.clock.now()))
        client = context.client.acting(upload.identity)
        wire = Wire("POST", encode.path(named(upload)), "uploads", CIMultiDict(upload.members))
        try:
            begun_there = await client.send(Call("CreateMultipartUpload", named(upload), wire))
        except S3Error as error:
            if not error.unknown:
                await context.db.write(lambda db: uploads.unasked(db, upload.id))
            raise _failed(error) from error
        remote = str(begun_there.result["UploadId"])
    begun = remote
    await context.db.write(lambda db: uploads.begun(db, upload.id, begun))
    return uploads.find(context.db, upload.id) or upload


async def adopt(context: Context, upload: Upload) -> str | None:
    """The remote's upload that a request without an answer began; None where there is none, or it cannot be told.

    It has our key, began since we asked by the remote's own clock, has no part and is nobody's that we know. With
    several such nothing is adopted: another's upload is never taken.
    """
    client = context.client.acting(upload.identity)
    try:
        answer = await client.ask("ListMultipartUploads", {"Bucket": upload.bucket, "Prefix": upload.key}, fresh=True)
    except Unavailable:
        raise
    except S3Error as error:
        log.warning("whether %s/%s has an upload that we began cannot be told: %s", upload.bucket, upload.key, error)
        return None
    asked_at = context.clock.wall_of(upload.asked_at or 0.0)
    since = asked_at + _ahead(answer.headers, context.clock.wall()) - CLOCK_GRACE
    found: list[str] = []
    for one in answer.result.get("Uploads", ()):
        at = one.get("Initiated")
        if one.get("Key") != upload.key or at is None or at.timestamp() < since:
            continue
        if uploads.is_remotes(context.db, upload.bucket, one["UploadId"]):
            continue
        listed = {"Bucket": upload.bucket, "Key": upload.key, "UploadId": one["UploadId"], "MaxParts": 1}
        if not (await client.ask("ListParts", listed, fresh=True)).result.get("Parts"):
            found.append(one["UploadId"])
    if len(found) > 1:
        log.warning("%d uploads of %s/%s could be the one that we began", len(found), upload.bucket, upload.key)
    return found[0] if len(found) == 1 else None


def _ahead(headers: Headers, now: float) -> float:
    """Seconds by which the remote's clock is ahead of ours, so far as its answer says."""
    try:
        return email.utils.parsedate_to_datetime(headers.get("Date", "")).timestamp() - now
    except (TypeError, ValueError):
        return 0.0


async def send(context: Context, upload: Upload, *, drop: bool) -> None:
    """Send the parts that the remote does not have, some at once; with `drop` their bytes go from here.

    Raises the worst of what the parts met.
    """
    todo = iter([part for part in uploads.parts_of(context.db, upload.id) if part.remote_etag is None])
    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(MAX_PARTS_AT_ONCE):
                tasks.create_task(_send_some(context, upload, todo, drop=drop))
    except BaseExceptionGroup as group:
        raise worst(group.exceptions) from None


async def _send_some(context: Context, upload: Upload, todo: Iterator[Part], *, drop: bool) -> None:
    for part in todo:
        async with context.staging.alone(f"{upload.id} {part.number}"), context.staging.slots:
            await _send_one(context, upload, part.number, drop=drop)


async def _send_one(context: Context, upload: Upload, number: int, *, drop: bool) -> None:
    part = uploads.part_of(context.db, upload.id, number)
    if part is None or part.remote_etag is not None:
        return
    if drop:
        # Of an upload that is still open: the bucket's tags may say something else than when it began to spill.
        withheld.stop_upload(context.db, upload)
    headers: Headers = CIMultiDict(part.sums)
    headers["Content-MD5"] = checksums.content_md5(part.etag)
    query = f"partNumber={number}&uploadId={quote(upload.remote or '', safe='-_.~')}"
    async with concatenated.opened(context.bodies, part) as body:
        call = Call("UploadPart", named(upload), Wire("PUT", encode.path(named(upload)), query, headers), body)
        try:
            answer = await context.client.acting(upload.identity).send(call)
        except S3Error as error:
            raise _failed(error) from error
    # As the remote writes it, since that is what it is told at the end.
    etag = answer.headers.get("ETag", "").removeprefix("W/").strip('"')
    if drop and etag != part.etag and not await _is_listed(context, upload, number, etag):
        raise _failed(NotS3(NOT_THE_STORES, answered=answer.status))
    await context.db.write(lambda db: uploads.part_delivered(db, upload.id, part, etag, drop=drop))
    if drop:
        context.capacity.freed()
        context.staging.wake()


async def _is_listed(context: Context, upload: Upload, number: int, etag: str) -> bool:
    """Whether the remote lists a part of an upload with an ETag."""
    params = {**named(upload), "UploadId": upload.remote, "PartNumberMarker": number - 1, "MaxParts": 1}
    there = await context.client.acting(upload.identity).ask("ListParts", params, fresh=True)
    return any(
        one["PartNumber"] == number and one["ETag"].removeprefix("W/").strip('"') == etag
        for one in there.result.get("Parts", ())
    )


async def complete(context: Context, upload: Upload, change: Change, condition: Mapping[str, str]) -> Answer:
    """Ask the remote to make the object. Whatever stays unanswered is in doubt."""
    listed: list[dict[str, Any]] = []
    for part in uploads.parts_of(context.db, upload.id):
        one: dict[str, Any] = {"PartNumber": part.number, "ETag": f'"{part.remote_etag}"'}
        value = part.sums.get(f"x-amz-checksum-{upload.algorithm}")
        if value is not None:
            one[ELEMENTS[f"x-amz-checksum-{upload.algorithm}"]] = value
        listed.append(one)
    params = {**named(upload), "UploadId": upload.remote, "MultipartUpload": {"Parts": listed}}
    wire, document = encode.request("CompleteMultipartUpload", params)
    headers: Headers = CIMultiDict({**wire.headers, **condition})
    headers.update((name, change.members[name]) for name in (OWNER, PAYER) if name in change.members)
    if upload.kind == "FULL_OBJECT":
        name = f"x-amz-checksum-{upload.algorithm}"
        if name in change.members:
            headers[name] = change.members[name]
            headers["x-amz-checksum-type"] = upload.kind
    call = Call("CompleteMultipartUpload", named(upload), replace(wire, headers=headers), BytesBody(document))
    result = (await context.client.acting(upload.identity).send(call)).result
    return Answer(200, CIMultiDict({"ETag": str(result.get("ETag", ""))}), result)


async def is_there(context: Context, change: Change) -> bool:
    """Whether the remote shows the object that a Complete without an answer may have made: by ETag, size, and all the
    headers that a HEAD shows."""
    try:
        there = await context.client.acting(change.identity).head_object(change.bucket, change.key, fresh=True)
    except S3Error as error:
        if error.status == 404:
            return False
        raise
    if there.etag != change.etag or there.result.get("ContentLength") != change.size:
        return False
    return all(
        there.headers.get(name, "") == value
        for name, value in change.members.items()
        if name in CONTENT or name.startswith(METADATA)
    )


async def abort(context: Context, upload: Upload) -> None:
    """Make the remote drop what it holds of an upload. That it has nothing is what was wanted."""
    remote = upload.remote
    if remote is None and upload.asked_at is not None:
        remote = await adopt(context, upload)
    if remote is not None:
        await drop(context, OrphanUpload(upload.bucket, remote, upload.key, upload.identity))
    await context.db.write(lambda db: uploads.rid(db, upload.id))


async def abort_orphan(context: Context, orphan: OrphanUpload) -> None:
    """Make the remote drop an upload that nobody goes on with."""
    await drop(context, orphan)
    await context.db.write(lambda db: uploads.orphan_aborted(db, orphan))


async def drop(context: Context, orphan: OrphanUpload) -> None:
    """Abort an upload at the remote."""
    params = {"Bucket": orphan.bucket, "Key": orphan.key, "UploadId": orphan.remote}
    try:
        await context.client.acting(orphan.identity).ask("AbortMultipartUpload", params)
    except S3Error as error:
        # A bucket that is not there may be back, and its uploads with it.
        if error.code != "NoSuchUpload":
            raise


def _failed(error: S3Error) -> S3Error:
    """An error before Complete: whether its request arrived says nothing of the object."""
    error.unknown = False
    return error


def worst(errors: Sequence[BaseException]) -> BaseException:
    """The error that says most: a bug or a bad body, then a refusal, then that the remote did not answer."""
    return min(errors, key=lambda error: isinstance(error, S3Error) + isinstance(error, Unavailable))


def named(upload: Upload) -> dict[str, str]:
    """The members that name an upload's object."""
    return {"Bucket": upload.bucket, "Key": upload.key}
