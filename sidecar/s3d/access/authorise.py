"""What a key may do: with `readOnly` only read, with `buckets` only use these.

It is no policy language: what else is allowed, the remote decides by the identity of the key. What is not known to
read or to name an allowed bucket is refused. So a key of some buckets may not list all of them, as on S3 without
s3:ListAllMyBuckets: a list with names left out would be a lie, and one that is whole names buckets of others. What the
settings of an allowed bucket name in turn (logs, replicas) is for the remote to judge.
"""

from s3d.access.keys import AccessKey
from s3d.api import Wire
from s3d.errors import S3Error
from s3d.protocol import decode
from s3d.protocol.model import OPERATIONS

READS = frozenset(
    [
        *(name for name, operation in OPERATIONS.items() if operation.method in ("GET", "HEAD")),
        "SelectObjectContent",
    ]
) - {"CreateSession"}
"""What changes nothing. A session is a credential, although it is asked for with GET."""
SOURCES = frozenset(["x-amz-copy-source", "x-amz-rename-source"])


def authorise(key: AccessKey, operation: str, bucket: str, wire: Wire) -> None:
    """Judge an operation, "" for an unknown one, by the key that asks for it. Raises S3Error AccessDenied (403)."""
    if key.read_only and operation not in READS:
        raise _denied("it may only read")
    if key.buckets is None:
        return
    for name in (bucket, *_sources(wire)):
        if name not in key.buckets:
            raise _denied("it may not use this bucket" if name else "it may not use what names no bucket")


def _sources(wire: Wire) -> list[str]:
    """The buckets that a request copies from, whatever the operation is: a store may take an unknown one for a copy."""
    said = [*wire.headers.items(), *(decode.query(wire.query) if wire.query else ())]
    found = [decode.copy_source(value) for name, value in said if name.lower() in SOURCES]
    return [source[0] for source in found if source is not None]


def _denied(why: str) -> S3Error:
    return S3Error(
        "AccessDenied",
        "Access Denied",
        status=403,
        hint=f"{why}: so it stands in the file of the gateway's access keys",
    )
