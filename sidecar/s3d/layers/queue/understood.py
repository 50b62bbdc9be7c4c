"""The table of understood members (SEMANTICS Q-17): what a write may carry and still be queued.

A header or query member that is not in here makes its request go through: it may change what the request means. What is
kept travels with the change as headers, by lower-case name, and comes back on GET and HEAD.
"""

from s3d.api import Wire
from s3d.protocol import decode
from s3d.protocol.model import OPERATIONS

# Kept with the change, sent on by the push, and shown by GET and HEAD.
CONTENT = frozenset(
    ["content-type", "content-encoding", "content-disposition", "content-language", "cache-control", "expires"]
)
METADATA = "x-amz-meta-"
CHECKSUMS = frozenset(
    "x-amz-checksum-crc32 x-amz-checksum-crc32c x-amz-checksum-crc64nvme x-amz-checksum-sha1 "
    "x-amz-checksum-sha256".split()
)
# Kept and sent on, not shown.
SENT_ON = frozenset(["x-amz-acl", "x-amz-storage-class", "x-amz-sdk-checksum-algorithm"])
# Said about the way the body travels; the door has dealt with them.
FRAMING = frozenset(["content-md5", "x-amz-content-sha256", "x-amz-trailer", "x-amz-decoded-content-length"])
# Values that may be queued; another one is for the remote to judge.
VALUES = {
    "x-amz-storage-class": frozenset(["STANDARD"]),
    "x-amz-acl": frozenset(
        "private public-read public-read-write authenticated-read aws-exec-read bucket-owner-read "
        "bucket-owner-full-control".split()
    ),
}
PUT = CONTENT | CHECKSUMS | SENT_ON | FRAMING | {METADATA}
GET = frozenset(
    "range if-match if-none-match if-modified-since if-unmodified-since partnumber x-amz-checksum-mode "
    "response-cache-control response-content-disposition response-content-encoding response-content-language "
    "response-content-type response-expires".split()
)
DELETE: frozenset[str] = frozenset()
DELETE_MANY = CHECKSUMS | FRAMING | {"content-type", "x-amz-sdk-checksum-algorithm"}
LIST = frozenset(
    "prefix delimiter max-keys encoding-type x-amz-request-payer x-amz-expected-bucket-owner "
    "x-amz-optional-object-attributes".split()
)
UNDERSTOOD = {
    "PutObject": PUT,
    "GetObject": GET,
    "HeadObject": GET,
    "DeleteObject": DELETE,
    "DeleteObjects": DELETE_MANY,
    "ListObjects": LIST | {"marker"},
    "ListObjectsV2": LIST | {"continuation-token", "start-after", "fetch-owner"},
}


def foreign(wire: Wire, operation: str) -> list[str]:
    """The members of a request that are not understood, or whose value is not."""
    names = decode.unknown_members(wire, OPERATIONS[operation], UNDERSTOOD[operation])
    if wire.headers.get("x-amz-trailer", "").strip().lower() not in (*CHECKSUMS, ""):
        names.append("x-amz-trailer")
    return names + [name for name, values in VALUES.items() if wire.headers.get(name, "") not in (*values, "")]


def kept(wire: Wire, digests: dict[str, str]) -> dict[str, str]:
    """The headers that travel with a put: what was sent, plus the checksum that came in its trailer."""
    members: dict[str, str] = {}
    for name, value in wire.headers.items():
        low = name.lower()
        if low in CONTENT or low in CHECKSUMS or low in SENT_ON or low.startswith(METADATA):
            members[low] = f"{members[low]},{value}" if low in members else value
    payload_hash = wire.headers.get("x-amz-content-sha256", "")
    if len(payload_hash) == 64:
        members["x-amz-content-sha256"] = payload_hash
    members.update((name, value) for name, value in digests.items() if name in CHECKSUMS)
    encoding = members.get("content-encoding", "")
    if "aws-chunked" in encoding:
        rest = ",".join(part for part in (p.strip() for p in encoding.split(",")) if part != "aws-chunked")
        if rest:
            members["content-encoding"] = rest
        else:
            del members["content-encoding"]
    return members
