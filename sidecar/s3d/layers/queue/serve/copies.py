"""CopyObject: queued from a pending put as a put of the same bytes (SEMANTICS Q-19).

Any other source (of the remote, of a multipart upload, of a version) is a barrier, and the copy is forwarded in its
destination's turn. What S3 does not copy is not copied: ACL, storage class, encryption and redirect are the request's.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from multidict import CIMultiDict

from s3d.api import Call, Headers, Reply, Wire
from s3d.errors import CorruptBody, S3Error
from s3d.layers.queue.parts import Parts
from s3d.layers.queue.push.content import open_body
from s3d.layers.queue.rows import views
from s3d.layers.queue.rows.changes import Change
from s3d.layers.queue.rules import tags, understood
from s3d.layers.queue.serve import forward, overlay, writes
from s3d.layers.queue.serve.reads import check_there, damaged
from s3d.protocol import encode
from s3d.protocol.model import OPERATIONS

CONDITIONS = ("IfMatch", "IfNoneMatch", "IfModifiedSince", "IfUnmodifiedSince")
# What of a request may be the only thing that a copy onto itself changes.
CHANGING = understood.SHOWN
# Nothing of these is copied: the request says it, or nobody does.
OWN = understood.GRANTS | understood.SHOWN | {understood.OWNER, understood.PAYER}


async def copy(parts: Parts, call: Call) -> Reply:
    """Answer CopyObject."""
    source = forward.copy_source(call.params.get("CopySource"))
    wire = call.wire
    if source is None or "?" in call.params["CopySource"] or understood.foreign(wire, "CopyObject"):
        return await forward.after(parts, call)
    change = views.visible(parts.db, *source)
    if change is None or change.op not in ("put", "delete") or await _goes_through(parts, call.bucket):
        return await forward.after(parts, call)
    check_there(change)
    judge(call.params, change)
    asked = understood.kept(wire)
    metadata = call.params.get("MetadataDirective") == "REPLACE"
    if source == (call.bucket, call.key) and not metadata and not asked.keys() & CHANGING:
        raise S3Error(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without changing the "
            "object's metadata, storage class, website redirect location or encryption attributes.",
        )
    headers = members(
        change.members, asked, metadata=metadata, tagging=call.params.get("TaggingDirective") == "REPLACE"
    )
    try:
        reply = await put(parts, call, change, Wire("PUT", wire.path, "", headers))
    except CorruptBody as error:
        await damaged(parts, change, error)
        return await copy(parts, call)
    return reply if reply.status >= 300 else answer(parts, call, reply)


async def _goes_through(parts: Parts, bucket: str) -> bool:
    return bool(parts.buckets.through(await parts.buckets.get(bucket)))


def judge(params: Mapping[str, Any], change: Change) -> None:
    """Judge the conditions on the source. Raises S3Error PreconditionFailed."""
    conditions = {name: params.get(f"CopySource{name}") for name in CONDITIONS}
    if overlay.judge(conditions, change) is not None:
        raise overlay.failed("x-amz-copy-source-If-None-Match")


def members(source: Mapping[str, str], asked: Mapping[str, str], *, metadata: bool, tagging: bool) -> Headers:
    """The headers of the put that makes the copy; `metadata` and `tagging` say whether the request replaces them."""
    described = asked if metadata else source
    headers: Headers = CIMultiDict()
    for name, value in described.items():
        if name in understood.CONTENT or name.startswith(understood.METADATA):
            headers[name] = value
    # Of the bytes, which are the same.
    for name, value in source.items():
        if name in understood.CHECKSUMS or name in ("x-amz-content-sha256", "x-amz-sdk-checksum-algorithm"):
            headers[name] = value
    headers.update((name, value) for name, value in asked.items() if name in OWN)
    if tagged := (asked if tagging else source).get(tags.TAGGING):
        headers[tags.TAGGING] = tagged
    return headers


async def put(parts: Parts, call: Call, change: Change, wire: Wire) -> Reply:
    """Queue the put. Raises CorruptBody where the source's bytes are bad."""
    body = open_body(parts.bodies, change)
    try:
        named = {"Bucket": call.bucket, "Key": call.key}
        return await writes.put(parts, replace(call, operation="PutObject", params=named, body=body, wire=wire))
    finally:
        await body.aclose()


def answer(parts: Parts, call: Call, put: Reply) -> Reply:
    """Turn the answer to the put into that of the copy."""
    made = views.visible(parts.db, call.bucket, call.key)
    known = OPERATIONS["PutObject"].response_headers
    result: dict[str, Any] = {
        "ETag": put.headers.get("ETag"),
        "LastModified": datetime.fromtimestamp(int(made.acked_at if made else parts.clock.wall()), UTC),
    }
    headers: Headers = CIMultiDict()
    for name, value in put.headers.items():
        low = name.lower()
        if low in understood.CHECKSUMS or low == "x-amz-checksum-type":
            result[known[low].name] = value
        elif low.startswith("x-amz-server-side-encryption") or low in ("x-amz-version-id", "x-s3d-durability"):
            headers[name] = value
    return encode.reply("CopyObject", {"CopyObjectResult": result}, headers)
