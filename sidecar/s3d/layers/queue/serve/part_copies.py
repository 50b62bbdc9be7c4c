"""UploadPartCopy into an upload that is staged here (SEMANTICS Q-16): the source is read through the whole queue."""

import functools
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from s3d.api import Body, BytesBody, Call, Reply
from s3d.client import Client
from s3d.errors import S3Error
from s3d.layers.queue import entry
from s3d.layers.queue.multipart import completion
from s3d.layers.queue.rows.states import UploadState
from s3d.layers.queue.rows.uploads import Upload
from s3d.layers.queue.rules import allowlist, limits
from s3d.layers.queue.rules.decide import Decision
from s3d.layers.queue.serve import multipart_calls, reads, writes
from s3d.layers.queue.serve.multipart_calls import Context
from s3d.protocol import decode, encode
from s3d.protocol.model import saturated

COPY_RANGE = re.compile(r"bytes=([0-9]+)-([0-9]+)")


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


async def copy_part(context: Context, call: Call) -> Reply:
    """Answer UploadPartCopy."""
    source = decode.copy_source(call.params.get("CopySource", ""))
    upload = multipart_calls.ours(context, call)
    if upload is None or source is None:
        return await entry.serve(
            context.entry, multipart_calls.of_remote(context, call, lambda _: copy_there(context, call, source))
        )
    number = multipart_calls.number_of(call)
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
        return await multipart_calls.through(context, upload, call, number)

    write = multipart_calls.part_of(
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
        answer = await read.get_object(source.bucket, source.key, IfMatch=source.etag, Range=source.range, fresh=True)
        body = answer.body or body
        if body.length != source.size:
            await body.aclose()
            raise S3Error("InternalError", "The source of the copy changed while it was read", status=500)
    part = await multipart_calls.receive(context, upload, number, body, "", allowlist.kept_of_delete(call.wire))
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
        answer = await reader(context, call).head_object(bucket, key, fresh=True, **conditions)
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
