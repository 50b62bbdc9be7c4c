"""What is not queued: it goes to the remote, at once, behind a barrier or in its key's turn (SEMANTICS R-3 to R-7).

Nothing is changed on the way but the signature. A call that changes what a queued write means makes its bucket unknown.
"""

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from multidict import CIMultiDict

from s3d.api import S3, BytesBody, Call, Outcome, Reply, Wire, read_all
from s3d.client import DOCUMENT_LIMIT, Client, document_of, error_of
from s3d.clock import Clock
from s3d.errors import S3Error, Unavailable
from s3d.layers.queue import entry, withheld
from s3d.layers.queue.entry import Write
from s3d.layers.queue.remote_facts import bucket_tags
from s3d.layers.queue.remote_facts.buckets import UNSETTLING
from s3d.layers.queue.remote_facts.facts import RemoteFacts
from s3d.layers.queue.remote_facts.store_traits import condition_of
from s3d.layers.queue.rows import lookups, uploads
from s3d.layers.queue.rows.subjects import Content
from s3d.layers.queue.rules.decide import Decision
from s3d.layers.queue.staging import Staging
from s3d.layers.queue.turns import Turn, Turns
from s3d.protocol import answers, decode, encode
from s3d.store.db import Database

REPLACING = frozenset(["PutObject", "CopyObject", "CompleteMultipartUpload", "DeleteObject"])
KEEPING = frozenset(
    "PutObjectTagging DeleteObjectTagging PutObjectAcl PutObjectRetention PutObjectLegalHold RestoreObject".split()
)
"""Writes after which the object's ETag is what it was."""
WRITING = frozenset(["PUT", "POST", "DELETE"])
READING = frozenset(["SelectObjectContent"])
"""What reads although its method says otherwise."""
LOCATION = re.compile(rb"<Location\b[^>]*>.*?</Location\s*>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Context:
    """What a call goes to the remote with."""

    db: Database
    clock: Clock
    inner: S3
    client: Client
    region: str
    facts: RemoteFacts
    turns: Turns
    staging: Staging
    wake: Callable[[], None]
    entry: entry.Context


async def pass_through(context: Context, call: Call) -> Reply:
    """Hand a call inward; what is known of a bucket is answered from memory while the remote is away (R-9), unless the
    call wants a fresh answer."""
    try:
        reply = await _inward(context, call)
    except Unavailable:
        asked = call.operation in ("HeadBucket", "GetBucketLocation") and not call.fresh
        if asked and context.facts.buckets.is_shown_to(call.bucket, call.identity):
            return _remembered(context, call)
        raise
    if call.operation == "HeadBucket":
        await context.facts.looked(call, reply)
    return reply


async def after(context: Context, call: Call) -> Reply:
    """Hand a call inward when the changes that it depends on are pushed (R-3)."""
    if call.key and call.wire.method not in ("GET", "HEAD"):
        return await entry.serve(context.entry, written(context, call))
    prefix = call.params.get("Prefix", "") if call.operation == "ListObjectVersions" else ""
    await context.turns.barrier(call.bucket, call.key or None, prefix, identity=call.identity)
    return await _inward(context, call)


def written(context: Context, call: Call) -> Write:
    """A write of an operation that the queue never takes."""
    source = decode.copy_source(call.params.get("CopySource") or call.params.get("RenameSource"))
    # Before the source is delivered: then only the remote knows its tags.
    content = withheld.content_of(context.db, context.staging, call, source)
    return Write(
        call=call,
        facts=entry.facts(context.entry, call, unsupported=call.operation or "unknown operation"),
        send=lambda decision: behind(context, call, source, decision, content),
        content=content,
    )


async def behind(
    context: Context, call: Call, source: tuple[str, str] | None, decision: Decision, content: Content
) -> Reply:
    """Send a write to the remote when the object that it reads is there (R-3)."""
    if source is not None:
        await context.turns.barrier(*source)
        if "RenameSource" in call.params:
            context.facts.seen_etags.forget(*source)
    return await through(context, call, decision, content)


async def delete_bucket(context: Context, call: Call) -> Reply:
    """Answer DeleteBucket: after the bucket's pending changes, but a put that nobody pushes is in it for good (R-9)."""
    _check_empty(context, call)
    try:
        return await after(context, call)
    except S3Error:
        _check_empty(context, call)
        raise


def _check_empty(context: Context, call: Call) -> None:
    if lookups.kept_back(context.db, call.bucket):
        raise S3Error(
            "BucketNotEmpty",
            "The bucket you tried to delete is not empty: a put in it is held or parked",
            status=409,
            details={"BucketName": call.bucket},
            hint="see `s3d status`",
        )


async def through(
    context: Context,
    call: Call,
    decision: Decision,
    content: Content | None = None,
    ours: Callable[[], str] | None = None,
) -> Reply:
    """Send a write to the remote while the client waits, in its key's turn, as it was decided (rules/decide.py).

    `content` is what is known of the object where the call itself does not say it. `ours` gives the ETag that the
    object must have once its body is sent, "" where nobody knows; where the remote answers with another, the object is
    looked at (Q-22). Raises Unavailable where it is not the one that was answered, and S3Error PreconditionFailed where
    a write of s3d's own is made upon something else than is there (Q-2b).
    """
    await _preceded(context, call)
    async with context.turns.turn(call.bucket, _written(call), call.identity) as turn:
        if call.operation == "DeleteObject" and "VersionId" not in call.params:
            turn.etag = ""
        turn.keeps = call.operation in KEEPING
        if withheld.carries(call):
            # Once more: the tags may be others than when the wait began.
            known = withheld.content_of(context.db, context.staging, call) if content is None else content
            withheld.stop(context.db, call, known, decision.detail)
        agreed = await _agreed(context, call)
        reply = await context.inner(agreed)
        turn.lost = reply.outcome is Outcome.UNKNOWN
        done = reply.outcome is Outcome.DONE
        if done and call.operation == "PutObject":
            turn.etag = answers.etag_of(reply.headers.get("ETag", "")) or None
            if ours is not None and (expected := ours()) not in ("", turn.etag):
                await _check(context, call, turn, expected)
        turn.changed = done and not turn.keeps
        turn.replaced = done and call.operation in REPLACING
        await context.facts.sent_through(call, reply, turn.etag, changed=turn.changed)
    context.wake()
    if agreed is not call and reply.status == 501:
        # Its maker tries again, without what the remote does not take.
        added = agreed.wire.headers.keys() - call.wire.headers.keys()
        context.facts.traits.lacks.update(f"put:{name}" for name in added)
    if agreed is not call and reply.status == 404 and await _names_no_key(call, reply):
        # So a store answers an If-Match on a put of a key that has no object by now.
        raise changed("it shows no object")
    return reply


def _written(call: Call) -> list[str]:
    """The keys that a write changes: a rename takes the object away from its old one."""
    source = decode.copy_source(call.params.get("RenameSource"))
    return [call.key] if source is None else list(dict.fromkeys([call.key, source[1]]))


async def _names_no_key(call: Call, reply: Reply) -> bool:
    """Whether an answer says that there is no such object. It can be read again."""
    document = await document_of(call, reply)
    reply.body = BytesBody(document)
    return error_of(reply, document).code == "NoSuchKey"


def changed(why: str) -> S3Error:
    """The answer to a write of s3d's own that is made upon something else than is there."""
    return S3Error("PreconditionFailed", f"The object is not what this write is made upon: {why}", status=412)


async def _preceded(context: Context, call: Call) -> None:
    """Wait until what must be delivered before a write is (Q-21), and see that it is what was meant."""
    if call.terms.after is not None:
        bucket, key, etag = call.terms.after
        await context.turns.barrier(bucket, key)
        if (shown := await _etag_of(context.client, call, bucket, key)) != etag:
            raise changed(f"{bucket}/{key}, which must be delivered first, shows {shown or 'no object'}")


async def _agreed(context: Context, call: Call) -> Call:
    """A write that is in its turn, with the conditions that its terms ask for, once what is there agrees with them."""
    terms, expected = call.terms, call.terms.expects
    if expected is None and terms.always:
        expected = context.facts.seen_etags.of(call.bucket, call.key)
    if expected is None:
        return call
    if call.operation == "CopyObject" and not await _honours_on_copies(context, call):
        raise S3Error("NotImplemented", "The remote is not known to honour If-None-Match on a copy", status=501)
    if (shown := await _etag_of(context.client, call, call.bucket, call.key)) != expected:
        raise changed(f"it shows {shown or 'no object'} instead of {expected or 'no object'}")
    traits, headers = context.facts.traits, CIMultiDict(call.wire.headers)
    if call.operation == "DeleteObject":
        if expected and traits.honours_on_deletes:
            headers["If-Match"] = f'"{expected}"'
    else:
        name, value = condition_of(expected)
        if call.operation == "CopyObject" or f"put:{name}" not in traits.lacks:
            headers[name] = value
    return replace(call, wire=replace(call.wire, headers=headers))


async def _honours_on_copies(context: Context, call: Call) -> bool:
    """Whether the remote honours If-None-Match on a copy (Q-18f). It is found out by one that cannot succeed, of the
    source onto itself: no store makes it, and one that minds the condition says so."""
    traits = context.facts.traits
    if traits.honours_on_copies or traits.ignores_on_copies:
        return traits.honours_on_copies
    bucket, key = decode.copy_source(call.params["CopySource"]) or ("", "")
    onto_itself = {"Bucket": bucket, "Key": key, "CopySource": call.params["CopySource"], "IfNoneMatch": "*"}
    try:
        await context.client.acting(call.identity, call.trace).ask("CopyObject", onto_itself)
    except S3Error as error:
        if error.code == "PreconditionFailed":
            await traits.refused_copy()
        # One whose source is gone, and one that stays unanswered, say nothing.
        traits.ignores_on_copies = error.code == "InvalidRequest"
    else:
        traits.ignores_on_copies = True
    return traits.honours_on_copies


async def without_queue(inner: S3, call: Call, lacks: set[str]) -> Reply:
    """Hand a call inward where there is no queue; `lacks` are conditions that the remote is known not to take.

    Raises S3Error PreconditionFailed where a write of s3d's own is made upon something else than is there (Q-2b).
    """
    expected = call.terms.expects
    if expected is None:
        return await inner(call)
    if (shown := await _etag_of(Client(inner), call, call.bucket, call.key)) != expected:
        raise changed(f"it shows {shown or 'no object'} instead of {expected or 'no object'}")
    headers = CIMultiDict(call.wire.headers)
    name, value = condition_of(expected)
    if call.operation == "PutObject" and name not in lacks:
        headers[name] = value
    reply = await inner(replace(call, wire=replace(call.wire, headers=headers)))
    if reply.status == 501:
        # Its maker tries again.
        lacks.add(name)
    return reply


async def _etag_of(client: Client, call: Call, bucket: str, key: str) -> str:
    """The ETag that the remote shows for a key, "" for no object. Raises S3Error where it does not say."""
    try:
        return (await client.acting(call.identity, call.trace).head_object(bucket, key, fresh=True)).etag
    except S3Error as error:
        if error.status == 404 and not error.unknown:
            return ""
        raise


async def _check(context: Context, call: Call, turn: Turn, expected: str) -> None:
    """See that the object is there with the ETag that was answered, which is not the one that was expected."""
    answered, turn.etag = turn.etag, expected
    try:
        shown = await context.client.acting(call.identity, call.trace).head_object(call.bucket, call.key, fresh=True)
    except S3Error as error:
        raise Unavailable(f"Which object is there cannot be told: {error.message}", sent=True) from error
    size = call.body.length if call.body is not None else None
    if shown.etag != answered or shown.result.get("ContentLength") != size:
        raise Unavailable(f"The remote answered with the ETag {answered}, which is not this object's", sent=True)
    turn.etag = answered


def promised(call: Call, reply: Reply) -> Reply:
    """Say of a write that succeeded and is not on the local dir that the remote has it (D-6)."""
    succeeded = reply.status < 300 or reply.status == 303  # a form may ask to be sent elsewhere afterwards
    if succeeded and call.wire.method in WRITING and call.operation not in READING:
        reply.headers.setdefault("x-s3d-durability", "remote")
    return reply


def address_of(wire: Wire) -> str:
    """The address of an object, as its client asked for it."""
    return f"{wire.scheme}://{wire.headers.get('Host', 'localhost')}{wire.path}"


ADDRESSING = frozenset(["CreateBucket", "CompleteMultipartUpload"])
"""Operations whose answers say where something was made."""


async def addressed(call: Call, reply: Reply) -> Reply:
    """Let an answer that says where something was made say it in the client's words: it knows no address but ours."""
    if reply.status >= 300:
        return reply
    if call.operation == "CreateBucket" and "Location" in reply.headers:
        reply.headers["Location"] = f"/{call.bucket}"
    if call.operation == "CompleteMultipartUpload" and reply.body is not None:
        element = f"<Location>{encode.escape(address_of(call.wire))}</Location>".encode()
        document = await read_all(reply.body, DOCUMENT_LIMIT)
        reply.body = BytesBody(LOCATION.sub(lambda _: element, document))
    return reply


async def _inward(context: Context, call: Call) -> Reply:
    try:
        reply = await context.inner(call)
    except S3Error as error:
        if call.operation in UNSETTLING and error.unknown:
            await context.facts.bucket_changed(call.bucket)
        raise
    if call.operation in UNSETTLING and reply.outcome is not Outcome.REFUSED:
        await context.facts.bucket_changed(call.bucket)
    done = reply.outcome is Outcome.DONE
    if call.operation == "DeleteBucket" and done:
        # As on the remote, they do not keep a bucket, and go with it.
        await context.db.write(lambda db: uploads.abort_all(db, call.bucket, context.clock.now()))
        context.staging.wake()
    if call.operation in bucket_tags.RETAGGING and done:
        with contextlib.suppress(S3Error):
            await context.facts.bucket_tags.ask(call.bucket, call.identity)
    return reply


def _remembered(context: Context, call: Call) -> Reply:
    region = context.region
    if call.operation == "HeadBucket":
        return Reply(200, CIMultiDict({"x-amz-bucket-region": region}), source="queue")
    return encode.reply(call.operation, {"LocationConstraint": "" if region == "us-east-1" else region})
