"""The content of a change: its bytes, wherever they are, verified against the digest that was acknowledged (Q-5)."""

import base64
import hashlib

from s3d.api import Body, BytesBody
from s3d.errors import CorruptBody
from s3d.layers.queue.multipart import joined
from s3d.layers.queue.parts import Parts
from s3d.layers.queue.rows.changes import Change
from s3d.store.bodies import Bodies


def open_change(parts: Parts, change: Change) -> Body:
    """The body of a put, or of a completed upload: its parts one after another. Raises CorruptBody."""
    if change.upload is not None:
        body = joined.open_parts(parts.db, parts.bodies, parts.staging, change.upload)
        if body.length != change.size:
            body.release()
            raise CorruptBody(f"the parts of upload {change.upload} have {body.length} bytes, not {change.size}")
        return body
    return open_body(parts.bodies, change)


def open_body(bodies: Bodies, change: Change) -> Body:
    """The body of a put, verified against its MD5 when it is read whole. Raises CorruptBody."""
    if change.file is not None:
        return bodies.open(change.file, change.size, change.etag)
    data = change.inline or b""
    if len(data) != change.size or hashlib.md5(data, usedforsecurity=False).hexdigest() != change.etag:
        raise CorruptBody(f"The body in row {change.seq} does not match its digest")
    return BytesBody(data)


def md5_base64(etag: str) -> str:
    """The Content-MD5 of a body whose MD5 in hex is its ETag. Raises CorruptBody where it is none."""
    try:
        return base64.b64encode(bytes.fromhex(etag)).decode()
    except ValueError:
        raise CorruptBody("the digest that was kept with it is none") from None
