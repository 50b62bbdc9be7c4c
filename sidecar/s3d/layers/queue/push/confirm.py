"""Which object is there after a push whose answer shows another ETag than ours (SEMANTICS Q-22, Q-4).

A store may have its own way to make ETags, with a key of KMS for one. But the answer may also be that of another
request, or of somebody who is no store. So the object is looked at, and until it is settled which one is there the
change stays as it is, with its body.
"""

import asyncio
import contextlib
import hashlib
import logging
import math
from dataclasses import dataclass, replace
from datetime import datetime

from multidict import CIMultiDict

from s3d.api import Body, Headers
from s3d.client import Answer, Client
from s3d.clock import Clock
from s3d.errors import S3Error, Unavailable
from s3d.layers.queue.push import change_body
from s3d.layers.queue.push.change_body import open_change
from s3d.layers.queue.push.conflicts import ROUNDING, not_sent, remote_time
from s3d.layers.queue.rows.changes import ANY, Change
from s3d.layers.queue.rules.allowlist import CONTENT, ENCRYPTION
from s3d.metrics import Metrics
from s3d.protocol.headers import METADATA

log = logging.getLogger(__name__)

KMS = "aws:kms"


@dataclass(frozen=True, slots=True)
class Context:
    """What an object is looked at with."""

    clock: Clock
    client: Client
    metrics: Metrics
    content: change_body.Context


async def confirmed(context: Context, change: Change, answer: Answer, began: float) -> Answer:
    """The answer to a push that began at `began` (steady), with the ETag that the object has at the remote.

    Raises Unavailable, and the change is in doubt, where the object that is there cannot be ours.
    """
    shown = answer.etag
    if change.op not in ("put", "complete") or shown in ("", change.etag):
        return answer
    log.error(
        "%s of %s/%s (change %d): the remote answers with the ETag %s, where it must be %s; the object is looked at",
        change.op,
        change.bucket,
        change.key,
        change.seq,
        shown,
        change.etag,
    )
    context.metrics.etag_mismatch.inc()
    there = await look(context, change, answer)
    if there is None:
        return answer
    etag = there.etag
    if etag == change.etag:
        headers: Headers = CIMultiDict(answer.headers)
        headers["ETag"] = f'"{etag}"'
        return replace(answer, headers=headers)
    like_ours = etag == shown and shows(there, change)
    if like_ours and (is_newer(there, change, context.clock.now() - began) or await is_same(context, change, etag)):
        return answer
    raise Unavailable(
        f"The remote answered with the ETag {shown}, which is not this object's, and shows {etag or 'no object'}",
        sent=True,
    )


async def look(context: Context, change: Change, answer: Answer) -> Answer | None:
    """What the remote shows of a change's key; None where it lets nobody look and the answer itself says why its ETag
    is another. Raises Unavailable where it cannot be told."""
    try:
        return await context.client.acting(change.identity).head_object(change.bucket, change.key, fresh=True)
    except S3Error as error:
        if error.status == 404:
            return Answer(404)
        if not error.unknown and answer.headers.get(ENCRYPTION, "").startswith(KMS):
            return None
        raise Unavailable(not_sent(error).message, sent=True) from error


def shows(there: Answer, change: Change) -> bool:
    """Whether an answer to HEAD shows the size and all the headers of a change."""
    if there.result.get("ContentLength") != change.size:
        return False
    return all(
        there.headers.get(name, "") == value
        for name, value in change.members.items()
        if name in CONTENT or name.startswith(METADATA)
    )


def is_newer(there: Answer, change: Change, since: float) -> bool:
    """Whether the object is another than the one before, and was written in the last `since` seconds by the clock of
    the remote; False where it cannot be told."""
    modified = there.result.get("LastModified")
    if change.base in (None, ANY, there.etag) or not isinstance(modified, datetime):
        return False
    now = remote_time(there.headers.get("Date", ""), math.inf)
    return now - modified.timestamp() <= since + 2 * ROUNDING


async def is_same(context: Context, change: Change, etag: str) -> bool:
    """Whether the object that the remote shows with an ETag has the bytes of a change: all of them are read."""
    client = context.client.acting(change.identity)
    try:
        there = await client.get_object(change.bucket, change.key, IfMatch=f'"{etag}"', fresh=True)
        theirs = await _digest(there.body)
    except S3Error as error:
        raise Unavailable(not_sent(error).message, sent=True) from error
    return theirs == await _digest(open_change(context.content, change))


async def _digest(body: Body | None) -> bytes:
    digest = hashlib.sha256()
    if body is not None:
        async with contextlib.aclosing(body):
            async for block in body.chunks():
                await asyncio.to_thread(digest.update, block)
    return digest.digest()
