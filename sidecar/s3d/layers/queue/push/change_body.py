"""The content of a change: its bytes, wherever they are, verified against the digest that was acknowledged (Q-5)."""

import hashlib
from dataclasses import dataclass

from s3d.api import Body, BytesBody
from s3d.errors import CorruptBody
from s3d.layers.queue.multipart import concatenated
from s3d.layers.queue.rows.changes import Change
from s3d.layers.queue.staging import Staging
from s3d.store.bodies import Bodies
from s3d.store.db import Database


@dataclass(frozen=True, slots=True)
class Context:
    """Where the bytes of changes are."""

    db: Database
    bodies: Bodies
    staging: Staging


def open_change(context: Context, change: Change) -> Body:
    """The body of a put, or of a completed upload: its parts one after another. Raises CorruptBody."""
    if change.upload is not None:
        body = concatenated.open_parts(context.db, context.bodies, context.staging, change.upload)
        if body.length != change.size:
            body.release()
            raise CorruptBody(f"the parts of upload {change.upload} have {body.length} bytes, not {change.size}")
        return body
    return open_body(context.bodies, change)


def open_body(bodies: Bodies, change: Change) -> Body:
    """The body of a put, verified against its MD5 when it is read whole. Raises CorruptBody."""
    if change.file is not None:
        return bodies.open(change.file, change.size, change.etag)
    data = change.inline or b""
    if len(data) != change.size or hashlib.md5(data, usedforsecurity=False).hexdigest() != change.etag:
        raise CorruptBody(f"The body in row {change.seq} does not match its digest")
    return BytesBody(data)
