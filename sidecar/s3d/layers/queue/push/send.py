"""What a push sends, for each kind of change: the client's own request, with the digests that it came with.

Nothing is recorded here; `pusher` judges the outcome.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from multidict import CIMultiDict

from s3d.api import Call, Headers, Wire
from s3d.client import Answer, Client
from s3d.errors import S3Error
from s3d.layers.queue.multipart import assembly
from s3d.layers.queue.push.change_body import open_body
from s3d.layers.queue.rows.changes import Change
from s3d.layers.queue.rules import tags
from s3d.protocol import checksums, encode
from s3d.protocol.headers import TAGGING
from s3d.store.bodies import Bodies


@dataclass(frozen=True, slots=True)
class Context:
    """What a push is sent with."""

    bodies: Bodies
    client: Client
    assembly: assembly.Context


Push = Callable[[Context, Change], Awaitable[Answer]]


async def put(context: Context, change: Change, other: Mapping[str, str] | None = None) -> Answer:
    """Push a PutObject; `other` are headers that are added, or stand in the place of its own."""
    headers: Headers = CIMultiDict(change.members)
    headers["Content-MD5"] = checksums.content_md5(change.etag)
    headers.update(other or {})
    wire = Wire("PUT", encode.path(named(change)), "", headers)
    call = Call("PutObject", named(change), wire, open_body(context.bodies, change))
    return await context.client.acting(change.identity).send(call)


async def delete(context: Context, change: Change, other: Mapping[str, str] | None = None) -> Answer:
    """Push a DeleteObject, with `other` headers. That the key is not there is what was wanted."""
    wire = Wire("DELETE", encode.path(named(change)), "", CIMultiDict({**change.members, **(other or {})}))
    try:
        return await context.client.acting(change.identity).send(Call("DeleteObject", named(change), wire))
    except S3Error as error:
        if error.code == "NoSuchKey":
            return Answer(error.status)
        raise


async def tag(context: Context, change: Change) -> Answer:
    """Push a change of tags, after the put that it is about."""
    client = context.client.acting(change.identity)
    pairs = tags.of_header(change.members[TAGGING])
    if not pairs:
        return await client.ask("DeleteObjectTagging", named(change))
    return await client.ask("PutObjectTagging", {**named(change), "Tagging": tags.to_result(pairs)})


async def complete(context: Context, change: Change, other: Mapping[str, str] | None = None) -> Answer:
    """Push a completed upload, with `other` headers of its Complete."""
    return await assembly.push(context.assembly, change, other or {})


PUSHES: Mapping[str, Push] = {"put": put, "delete": delete, "tag": tag, "complete": complete}
"""By op of the change."""


def named(change: Change) -> dict[str, str]:
    """The members that name a change's object."""
    return {"Bucket": change.bucket, "Key": change.key}
