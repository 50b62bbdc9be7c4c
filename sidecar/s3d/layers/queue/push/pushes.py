"""What a push sends, for each kind of change: the client's own request, with the digests that it came with.

Nothing is recorded here; `pusher` judges the outcome.
"""

from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import quote

from multidict import CIMultiDict

from s3d.api import Call, Headers, Outcome, Reply, Wire, read_all
from s3d.errors import S3Error
from s3d.layers.judge import error_of
from s3d.layers.queue.multipart import assembly
from s3d.layers.queue.parts import Parts
from s3d.layers.queue.push.content import open_body
from s3d.layers.queue.rows.changes import Change
from s3d.layers.queue.rules import tags
from s3d.protocol import checksums

DOCUMENT_LIMIT = 32 << 20

Push = Callable[[Parts, Change], Awaitable[Reply]]


async def put(parts: Parts, change: Change, other: Mapping[str, str] | None = None) -> Reply:
    """Push a PutObject; `other` are headers that are added, or stand in the place of its own."""
    headers: Headers = CIMultiDict(change.members)
    headers["Content-MD5"] = checksums.content_md5(change.etag)
    headers.update(other or {})
    body = open_body(parts.bodies, change)
    call = Call("PutObject", named(change), body=body, wire=Wire("PUT", path_of(change), "", headers))
    try:
        return await answered(parts, call)
    finally:
        await body.aclose()


async def delete(parts: Parts, change: Change) -> Reply:
    """Push a DeleteObject. That the key is not there is what was wanted."""
    headers: Headers = CIMultiDict(change.members)
    try:
        return await answered(
            parts, Call("DeleteObject", named(change), wire=Wire("DELETE", path_of(change), "", headers))
        )
    except S3Error as error:
        if error.code == "NoSuchKey":
            return Reply(204)
        raise


async def tag(parts: Parts, change: Change) -> Reply:
    """Push a change of tags, after the put that it is about."""
    pairs = tags.of_header(change.members[tags.TAGGING])
    if not pairs:
        return await parts.inner(Call("DeleteObjectTagging", named(change)))
    return await parts.inner(Call("PutObjectTagging", {**named(change), "Tagging": tags.to_result(pairs)}))


PUSHES: Mapping[str, Push] = {"put": put, "delete": delete, "tag": tag, "complete": assembly.push}
"""By op of the change."""


async def answered(parts: Parts, call: Call) -> Reply:
    """Send a call and read its answer whole; raise what is no confirmation."""
    reply = await parts.inner(call)
    document = b""
    if reply.body is not None and reply.body.length == 0:
        await reply.body.aclose()
    else:
        document = await read_all(reply.body, DOCUMENT_LIMIT)
    if reply.outcome is not Outcome.DONE:
        raise error_of(reply, document)
    return reply


def named(change: Change) -> dict[str, str]:
    """The members that name a change's object."""
    return {"Bucket": change.bucket, "Key": change.key}


def path_of(change: Change) -> str:
    """The path of a change's object on the wire."""
    return f"/{quote(change.bucket, safe='-_.~')}/{quote(change.key, safe='/-_.~')}"
