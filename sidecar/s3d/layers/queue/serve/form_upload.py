"""A browser's form POST, which becomes a PutObject (SEMANTICS A-1, R-3).

The form's file has no length before its end, so it is received first and put then; its bytes are written once. Where
they must not touch the disk (SSE-C), where they are more than the queue holds and where there is no queue, the file
must be the form's last part, and is streamed to the remote. With no keys set the signature is not looked at; the policy
is judged nevertheless.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from multidict import CIMultiDict

from s3d.api import S3, Body, BytesBody, Call, Headers, Reply, Wire
from s3d.errors import S3Error, Unavailable
from s3d.layers.queue import entry
from s3d.layers.queue.capacity import Capacity
from s3d.layers.queue.rows import account
from s3d.layers.queue.rules import allowlist, limits, tags
from s3d.layers.queue.serve import forward, writes
from s3d.protocol import checksums, decode, encode, forms
from s3d.protocol.headers import TAGGING
from s3d.protocol.model import OPERATIONS
from s3d.store.bodies import Bodies, Stored

# Fields that are headers of a PutObject, besides all of x-amz-*.
AS_HEADERS = allowlist.CONTENT | {"content-md5"}
CUSTOMER = "x-amz-server-side-encryption-customer-"
# Fields of x-amz-* that sign the form.
SIGNING = frozenset("algorithm credential date signature security-token".split())
FIELD = re.compile(rf"x-amz-(?!({'|'.join(SIGNING)})$).+")


@dataclass(frozen=True, slots=True)
class Context:
    """What forms are received and put with."""

    bodies: Bodies
    capacity: Capacity
    entry: entry.Context
    writes: writes.Context


async def post(context: Context, call: Call) -> Reply:
    """Answer a form POST to a bucket."""
    form, put = await read(call)
    # Before the file is received, whose size nobody has said.
    await entry.check(context.entry, writes.put_of(context.writes, put, 0))
    most = length_of(call)
    if is_secret(put) or not context.capacity.holds(most + account.ROW_BYTES):
        put.body = streamed(call, form, put)
        return done(form.fields, call, put, await writes.put(context.writes, put))
    async with context.capacity.take(0, most, files=0) as room:
        stored = await context.bodies.receive(incoming(form, put), came=room.grow)
        try:
            put.body = open_stored(context, stored)
            reply = await writes.put(context.writes, put, room)
        finally:
            if put.body is not None:
                await put.body.aclose()
            if stored.id is not None:
                await asyncio.shield(context.bodies.delete(stored.id))
    return done(form.fields, call, put, reply)


def is_secret(put: Call) -> bool:
    """Whether neither key nor clear bytes may touch the disk (SSE-C)."""
    return any(name.lower().startswith(CUSTOMER) for name in put.wire.headers)


def without_queue(inner: S3) -> S3:
    """Where there is no queue: forms become puts that are streamed, everything else goes inward.

    The remote never gets the form itself, whose signature is by a key that it need not know (A-1).
    """
    lacks: set[str] = set()

    async def serve(call: Call) -> Reply:
        if call.operation or not forms.is_form(call.wire):
            reply = await forward.without_queue(inner, call, lacks)
            return await forward.addressed(call, forward.promised(call, reply))
        try:
            form, put = await read(call)
            put.body = streamed(call, form, put)
            return done(form.fields, call, put, await inner(put))
        except Unavailable:
            raise
        except S3Error as error:
            return encode.refusal(call, error)

    return serve


async def read(call: Call) -> tuple[forms.Form, Call]:
    """Read and judge a form up to its file; with it the put that it asks for, which has no body yet."""
    wire = call.wire
    if call.body is None or call.key or not call.bucket:
        raise S3Error("MethodNotAllowed", "A form is posted to a bucket", status=405)
    # Of a page that is loaded anew, Cache-Control is about the page.
    if strange := decode.unknown_members(wire, None, allowlist.FRAMING | {"content-type", "cache-control"}):
        raise S3Error(
            "NotImplemented",
            f"A form with {strange[0]} beside it is not understood",
            status=501,
            hint="upload with PUT",
        )
    form = await forms.read(call.body, wire.headers.get("Content-Type", ""))
    allowed(form, call.bucket, datetime.now(UTC))
    key = form.fields.get("key", "")
    if not key:
        raise S3Error(
            "InvalidArgument",
            "Bucket POST must contain a field named 'key'. If it is specified, please check the order of the fields.",
            details={"ArgumentName": "key"},
        )
    named = {"Bucket": call.bucket, "Key": key}
    wire = Wire("PUT", encode.path(named), "", headers_of(form.fields))
    put = replace(call, operation="PutObject", params=named, wire=wire, body=None)
    limits.check(key, 0, allowlist.kept(put.wire))
    return form, put


def incoming(form: forms.Form, put: Call) -> Body:
    """The file, verified by what the form says of it."""
    return checksums.incoming(form.file, put.wire, names=())


def length_of(call: Call) -> int:
    """The length of a whole form, in bytes."""
    return (call.body.length if call.body else None) or 0


def streamed(call: Call, form: forms.Form, put: Call) -> Body:
    """The file with a length: it must be the last part of its form."""
    form.file.length = form.file.presumed(length_of(call))
    return incoming(form, put)


def done(fields: Mapping[str, str], call: Call, put: Call, reply: Reply) -> Reply:
    """The answer to the form; the remote's own where it refused the put."""
    return reply if reply.status >= 300 else answer(fields, call.wire, put.bucket, put.key, reply)


def allowed(form: forms.Form, bucket: str, now: datetime) -> None:
    """Judge a form's policy, and set the bounds of its file. Raises S3Error."""
    signed = any(form.fields.get(name) for name in forms.SIGNATURES)
    if "policy" not in form.fields:
        if signed:
            raise missing("policy")
        form.file.largest = limits.MAX_PUT
        return
    if not signed:
        raise missing("signature")
    policy = forms.policy(form.fields["policy"])
    forms.judge(policy, form.fields, bucket, now)
    form.file.smallest = policy.smallest
    form.file.largest = limits.MAX_PUT if policy.largest is None else min(policy.largest, limits.MAX_PUT)


def headers_of(fields: Mapping[str, str]) -> Headers:
    """The headers of the PutObject that a form asks for."""
    headers: Headers = CIMultiDict()
    for name, value in fields.items():
        if name in AS_HEADERS or FIELD.fullmatch(name):
            headers[name] = value
    if "acl" in fields:
        headers["x-amz-acl"] = fields["acl"]
    if "tagging" in fields:
        document = decode.input_xml(OPERATIONS["PutObjectTagging"], fields["tagging"].encode())
        headers[TAGGING] = tags.to_header(tags.of_document(document))
    return headers


def open_stored(context: Context, stored: Stored) -> Body:
    """The file that was received."""
    if stored.id is None:
        return BytesBody(stored.inline or b"")
    return context.bodies.open(stored.id, stored.size)


def answer(fields: Mapping[str, str], wire: Wire, bucket: str, key: str, put: Reply) -> Reply:
    """The answer that the form asks for: a redirect, a document, or nothing (204)."""
    etag = put.headers.get("ETag", "")
    host = wire.headers.get("Host", "localhost")
    location = f"{wire.scheme}://{host}{wire.path.rstrip('/')}/{quote(key, safe='/-_.~')}"
    headers: Headers = CIMultiDict({"ETag": etag, "Location": location})
    for name, value in put.headers.items():
        if name.lower().startswith(("x-amz-server-side-encryption", "x-amz-version-id", "x-s3d-")):
            headers[name] = value
    redirect = fields.get("success_action_redirect") or fields.get("redirect") or ""
    if is_address(redirect):
        query = f"bucket={quote(bucket, safe='')}&key={quote(key, safe='')}&etag={quote(etag, safe='')}"
        headers["Location"] = f"{redirect}{'&' if '?' in redirect else '?'}{query}"
        return Reply(303, headers, source="queue")
    status = fields.get("success_action_status", "")
    if status != "201":
        return Reply(200 if status == "200" else 204, headers, source="queue")
    elements = {"Location": location, "Bucket": bucket, "Key": key, "ETag": etag}
    inner = "".join(f"<{name}>{encode.escape(value)}</{name}>" for name, value in elements.items())
    headers["Content-Type"] = "application/xml"
    document = f"{encode.PROLOGUE}<PostResponse>{inner}</PostResponse>".encode()
    return Reply(201, headers, BytesBody(document), source="queue")


def is_address(text: str) -> bool:
    """Whether a browser may be sent there; what is no address is as good as none."""
    try:
        url = urlsplit(text)
    except ValueError:
        return False
    return url.scheme in ("http", "https") and bool(url.netloc) and text.isascii() and text.isprintable()


def missing(name: str) -> S3Error:
    """The answer to a form with half of a signed policy."""
    return S3Error(
        "InvalidArgument", f"Bucket POST must contain a field named '{name}'", details={"ArgumentName": name}
    )
