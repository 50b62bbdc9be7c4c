"""The HEADs of objects that are remembered, and how they are answered. Pure.

Only a plain one is: what depends on a condition, a range or a version is for the remote to say. An answer about an
object that its client encrypts, or that a key service does, is not kept.
"""

import json

from multidict import CIMultiDict

from s3d.api import Call, Reply
from s3d.errors import S3Error
from s3d.layers.names import asked
from s3d.protocol import decode, sigv4

ENCRYPTED = "x-amz-server-side-encryption"
CUSTOMER = "x-amz-server-side-encryption-customer-algorithm"
KMS = "aws:kms"
PLAIN = frozenset(["x-amz-checksum-mode"])
"""Headers of S3's that may stand beside a HEAD, since the answer is kept by them."""


def read(call: Call) -> str | None:
    """By what the answer to a HEAD is kept, beside its object; None for one that is not remembered."""
    if call.operation != "HeadObject" or not call.key:
        return None
    try:
        query, headers = sigv4.strip_auth(call.wire.query, call.wire.headers)
        names = {name for name, _ in decode.query(query)}
    except S3Error:
        return None
    if names - {"x-id"} or any(name in headers for name in ("If-Range", *asked.CONDITIONS)):
        return None
    members = asked.members_of(headers)
    return members if {part.partition("=")[0] for part in members.split()} <= PLAIN else None


def pack(reply: Reply) -> str | None:
    """An answer as it is kept; None for one that is not."""
    headers = reply.headers
    if reply.status != 200 or CUSTOMER in headers or headers.get(ENCRYPTED, "").startswith(KMS):
        return None
    length = reply.body.length if reply.body is not None else None
    if length is None:
        return None
    return json.dumps([*([name, value] for name, value in headers.items()), ["Content-Length", str(length)]])


def answer(text: str, age: int) -> Reply:
    """An answer that was kept. Raises ValueError for what is damaged."""
    try:
        headers = CIMultiDict((str(name), str(value)) for name, value in json.loads(text) if name.lower() != "date")
    except TypeError as error:
        raise ValueError(str(error)) from None
    return Reply(200, stale(headers, age), source="stale")


def stale(headers: CIMultiDict[str], age: int) -> CIMultiDict[str]:
    """The headers of an answer out of memory, of so many seconds of age."""
    headers["x-cache"] = "STALE"
    headers["Age"] = str(age)
    return headers
