"""CopyObject: queued from a pending put as a put of the same bytes (SEMANTICS Q-19).

Any other source (of the remote, of a multipart upload, of a version) is a barrier, and the copy is forwarded in its
destination's turn. What S3 does not copy is not copied: ACL, storage class, encryption and redirect are the request's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from multidict import CIMultiDict

from s3d.api import Call, Headers, Reply, Wire
from s3d.clock import Clock
from s3d.errors import CorruptBody, S3Error
from s3d.layers.queue import entry, withheld
from s3d.layers.queue.entry import Write
from s3d.layers.queue.push.change_body import open_body
from s3d.layers.queue.rows import lookups
from s3d.layers.queue.rows.changes import Change
from s3d.layers.queue.rules import allowlist
from s3d.layers.queue.serve import forward, overlay, reads, writes
from s3d.layers.queue.serve.reads import check_there, damaged
from s3d.protocol import conditions, decode, encode
from s3d.protocol.headers import METADATA, TAGGING
from s3d.protocol.model import OPERATIONS
from s3d.store.bodies import Bodies
from s3d.store.db import Database

CONDITIONS = ("IfMatch", "IfNoneMatch", "IfModifiedSince", "IfUnmodifiedSince")
# What of a request may be the only thing that a copy onto itself changes.
CHANGING = allowlist.SHOWN
# Nothing of these is copied: the request says it, or nobody does.
OWN = allowlist.GRANTS | allowlist.SHOWN | {allowlist.OWNER, allowlist.PAYER}
THERE = "a copy of an object of the remote"


@dataclass(frozen=True, slots=True)
class Context:
    """What copies are made with."""

    db: Database
    clock: Clock
    bodies: Bodies
    entry: entry.Context
    forward: forward.Context
    reads: reads.Context
    writes: writes.Context


async def copy(context: Context, call: Call) -> Reply:
    """Answer CopyObject. What of it the queue can do is a put, whose fate is decided like that of any other."""
    source = decode.copy_source(call.params.get("CopySource"))
    if source is None:
        return await forward.after(context.forward, call)
    unsupported = next(iter(allowlist.unsupported(call.wire, "CopyObject")), "")
    if not unsupported and "?" in call.params["CopySource"]:
        unsupported = "versionId of the source"
    there = source_of(context, call, source) is None
    # Before the source is delivered: then only the remote knows its tags.
    content = withheld.content_of(context.db, context.forward.staging, call, source)
    write = Write(
        call=call,
        facts=entry.facts(context.entry, call, unsupported=unsupported, at_remote=THERE if there else ""),
        take=lambda: take(context, call, source),
        send=lambda decision: forward.behind(context.forward, call, source, decision, content),
        content=content,
    )
    return await entry.serve(context.entry, write)


def source_of(context: Context, call: Call, source: tuple[str, str]) -> Change | None:
    """The pending put or delete of a copy's source; None where only the remote can make the copy. Whether an identity
    may read what another one has written only the remote knows (A-8)."""
    change = lookups.visible(context.db, *source)
    if change is None or change.op not in ("put", "delete") or change.identity != call.identity:
        return None
    return change


async def take(context: Context, call: Call, source: tuple[str, str]) -> Reply:
    """Make a copy of a pending put."""
    change = source_of(context, call, source)
    if change is None:
        # It is delivered, or another, since the bucket was looked at.
        return await copy(context, call)
    check_there(change)
    judge(call.params, change)
    wire = call.wire
    asked = allowlist.kept(wire)
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
        reply = await put(context, call, change, Wire("PUT", wire.path, "", headers))
    except CorruptBody as error:
        await damaged(context.reads, change, error)
        return await copy(context, call)
    return reply if reply.status >= 300 else answer(context, call, reply)


def judge(params: Mapping[str, Any], change: Change) -> None:
    """Judge the conditions on the source. Raises S3Error PreconditionFailed."""
    asked = {name: params.get(f"CopySource{name}") for name in CONDITIONS}
    if overlay.judge(asked, change) is not None:
        raise conditions.failed("x-amz-copy-source-If-None-Match")


def members(source: Mapping[str, str], asked: Mapping[str, str], *, metadata: bool, tagging: bool) -> Headers:
    """The headers of the put that makes the copy; `metadata` and `tagging` say whether the request replaces them."""
    described = asked if metadata else source
    headers: Headers = CIMultiDict()
    for name, value in described.items():
        if name in allowlist.CONTENT or name.startswith(METADATA):
            headers[name] = value
    # Of the bytes, which are the same.
    for name, value in source.items():
        if name in allowlist.CHECKSUMS or name in ("x-amz-content-sha256", "x-amz-sdk-checksum-algorithm"):
            headers[name] = value
    headers.update((name, value) for name, value in asked.items() if name in OWN)
    if tagged := (asked if tagging else source).get(TAGGING):
        headers[TAGGING] = tagged
    return headers


async def put(context: Context, call: Call, change: Change, wire: Wire) -> Reply:
    """Queue the put. Raises CorruptBody where the source's bytes are bad."""
    body = open_body(context.bodies, change)
    try:
        named = {"Bucket": call.bucket, "Key": call.key}
        return await writes.put(
            context.writes, replace(call, operation="PutObject", params=named, body=body, wire=wire)
        )
    finally:
        await body.aclose()


def answer(context: Context, call: Call, put: Reply) -> Reply:
    """Turn the answer to the put into that of the copy."""
    made = lookups.visible(context.db, call.bucket, call.key)
    known = OPERATIONS["PutObject"].response_headers
    result: dict[str, Any] = {
        "ETag": put.headers.get("ETag"),
        "LastModified": datetime.fromtimestamp(int(made.acked_at if made else context.clock.wall()), UTC),
    }
    headers: Headers = CIMultiDict()
    for name, value in put.headers.items():
        low = name.lower()
        if low in allowlist.CHECKSUMS or low == "x-amz-checksum-type":
            result[known[low].name] = value
        elif low.startswith(("x-amz-server-side-encryption", "x-s3d-")) or low == "x-amz-version-id":
            headers[name] = value
    return encode.reply("CopyObject", {"CopyObjectResult": result}, headers)
