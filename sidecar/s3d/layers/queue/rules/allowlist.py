"""The allow-list of members (SEMANTICS Q-17): what a call may carry and still be queued, or answered from here.

A header, query member or element that its operation does not list makes a write go through, and a read wait for the
remote: it may change what the request means. THROUGH says of each such member of the model why; a member that stands in
neither is one that nobody has thought about. What is kept travels with the change as headers, by lower-case name.
"""

import functools
from collections.abc import Iterable, Mapping

from s3d.api import Wire
from s3d.protocol import chunked, decode
from s3d.protocol.headers import MAX_REMEMBERED, METADATA
from s3d.protocol.model import OPERATIONS

# Kept with the change, sent on by the push, and shown by GET and HEAD.
CONTENT = frozenset(
    ["content-type", "content-encoding", "content-disposition", "content-language", "cache-control", "expires"]
)
DEFAULT_TYPE = "binary/octet-stream"
CHECKSUMS = frozenset(
    "x-amz-checksum-crc32 x-amz-checksum-crc32c x-amz-checksum-crc64nvme x-amz-checksum-sha1 "
    "x-amz-checksum-sha256".split()
)
ENCRYPTION = "x-amz-server-side-encryption"
SHOWN = frozenset(["x-amz-storage-class", "x-amz-website-redirect-location", ENCRYPTION])
# Kept and sent on, not shown; of the tags their number is.
GRANTS = frozenset(
    "x-amz-acl x-amz-grant-full-control x-amz-grant-read x-amz-grant-read-acp x-amz-grant-write-acp".split()
)
OWNER = "x-amz-expected-bucket-owner"
PAYER = "x-amz-request-payer"
SENT_ON = GRANTS | SHOWN | {OWNER, PAYER, "x-amz-tagging", "x-amz-sdk-checksum-algorithm"}
KEPT = CONTENT | CHECKSUMS | SENT_ON
"""What travels with a put, beside its metadata."""
# Said about the way the body travels; the door has dealt with them.
TRAILER = "x-amz-trailer"
FRAMING = frozenset(["content-md5", "x-amz-content-sha256", TRAILER, "x-amz-decoded-content-length"])
# Values that may be queued, besides none at all; another one is for the remote to judge.
VALUES = {
    TRAILER: CHECKSUMS,
    # Of an object in an archive only the remote can say whether it may be read.
    "x-amz-storage-class": frozenset(
        ["STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING"]
    ),
    "x-amz-acl": frozenset(
        "private public-read public-read-write authenticated-read aws-exec-read bucket-owner-read "
        "bucket-owner-full-control".split()
    ),
    # With a key of KMS the ETag is the remote's to give.
    ENCRYPTION: frozenset(["AES256"]),
    PAYER: frozenset(["requester"]),
    # Many remotes do not know the others, and would not keep them.
    "x-amz-checksum-algorithm": frozenset(name.rpartition("-")[2].upper() for name in CHECKSUMS),
    "x-amz-metadata-directive": frozenset(["COPY", "REPLACE"]),
    "x-amz-tagging-directive": frozenset(["COPY", "REPLACE"]),
}
PUT = CONTENT | CHECKSUMS | SENT_ON | FRAMING | {METADATA}
COPY = (
    CONTENT
    | (SENT_ON - {"x-amz-sdk-checksum-algorithm"})
    | {METADATA, "x-amz-content-sha256", "x-amz-metadata-directive", "x-amz-tagging-directive", "x-amz-copy-source"}
    | {f"x-amz-copy-source-if-{name}" for name in ("match", "none-match", "modified-since", "unmodified-since")}
)
GET = frozenset(
    "range if-match if-none-match if-modified-since if-unmodified-since if-range partnumber x-amz-checksum-mode "
    "response-cache-control response-content-disposition response-content-encoding response-content-language "
    "response-content-type response-expires".split()
) | {PAYER}
ATTRIBUTES = frozenset(["x-amz-object-attributes", "x-amz-max-parts", "x-amz-part-number-marker", PAYER])
DELETE = frozenset([OWNER, PAYER])
DOCUMENT = CHECKSUMS | FRAMING | {"content-type", "x-amz-sdk-checksum-algorithm"}
DELETE_MANY = DOCUMENT | DELETE
LIST = frozenset(["prefix", "delimiter", "max-keys", "encoding-type", "x-amz-optional-object-attributes", OWNER, PAYER])
# What multipart calls may carry and be staged here; anything else makes the upload go through.
CREATE = (PUT - CHECKSUMS - FRAMING) | {"x-amz-checksum-algorithm", "x-amz-checksum-type", "x-amz-content-sha256"}
UPLOAD = frozenset(["uploadid", OWNER, PAYER])
PART = UPLOAD | CONTENT | CHECKSUMS | FRAMING | {"partnumber", "x-amz-sdk-checksum-algorithm"}
COPY_PART = UPLOAD | frozenset(
    "partnumber x-amz-content-sha256 x-amz-copy-source x-amz-copy-source-range x-amz-copy-source-if-match "
    "x-amz-copy-source-if-none-match x-amz-copy-source-if-modified-since x-amz-copy-source-if-unmodified-since".split()
)
COMPLETE = (
    UPLOAD
    | CHECKSUMS
    | FRAMING
    | {"content-type", "x-amz-checksum-type", "x-amz-mp-object-size", "x-amz-sdk-checksum-algorithm"}
)
ALLOWED = {
    "CreateMultipartUpload": CREATE,
    "UploadPart": PART,
    "UploadPartCopy": COPY_PART,
    "CompleteMultipartUpload": COMPLETE,
    "AbortMultipartUpload": UPLOAD | {"x-amz-if-match-initiated-time"},
    "PutObject": PUT,
    "CopyObject": COPY,
    "GetObject": GET,
    "HeadObject": GET,
    "GetObjectAttributes": ATTRIBUTES,
    "DeleteObject": DELETE,
    "DeleteObjects": DELETE_MANY,
    "ListObjects": LIST | {"marker"},
    "ListObjectsV2": LIST | {"continuation-token", "start-after", "fetch-owner"},
    "ListObjectVersions": LIST | {"key-marker", "version-id-marker"},
    "PutObjectTagging": DOCUMENT | {PAYER},
    "DeleteObjectTagging": frozenset[str](),
    "GetObjectTagging": frozenset([PAYER]),
}
ELEMENTS = {
    "CompleteMultipartUpload": frozenset(
        "MultipartUpload MultipartUpload.Parts MultipartUpload.Parts.ETag MultipartUpload.Parts.PartNumber "
        "MultipartUpload.Parts.ChecksumCRC32 MultipartUpload.Parts.ChecksumCRC32C "
        "MultipartUpload.Parts.ChecksumCRC64NVME MultipartUpload.Parts.ChecksumSHA1 "
        "MultipartUpload.Parts.ChecksumSHA256".split()
    ),
    "DeleteObjects": frozenset("Delete Delete.Objects Delete.Objects.Key Delete.Quiet".split()),
    "PutObjectTagging": frozenset("Tagging Tagging.TagSet Tagging.TagSet.Key Tagging.TagSet.Value".split()),
}
"""What the document of an operation may hold, by path of member names. An object that has more goes through."""

THROUGH: Mapping[str, str] = {
    name: reason
    for names, reason in {
        "if-match if-none-match x-amz-if-match-last-modified-time x-amz-if-match-size "
        "Delete.Objects.ETag Delete.Objects.LastModifiedTime Delete.Objects.Size": "the remote decides (R-5)",
        "versionid Delete.Objects.VersionId": "only the remote knows its versions (Q-14)",
        "x-amz-server-side-encryption-customer-algorithm x-amz-server-side-encryption-customer-key "
        "x-amz-server-side-encryption-customer-key-md5 x-amz-copy-source-server-side-encryption-customer-algorithm "
        "x-amz-copy-source-server-side-encryption-customer-key "
        "x-amz-copy-source-server-side-encryption-customer-key-md5": "the client's key never touches the disk (Q-14)",
        "x-amz-server-side-encryption-aws-kms-key-id x-amz-server-side-encryption-context "
        "x-amz-server-side-encryption-bucket-key-enabled": "with a key of KMS the ETag is the remote's to give (Q-4)",
        "x-amz-object-lock-mode x-amz-object-lock-retain-until-date x-amz-object-lock-legal-hold "
        "x-amz-object-lock-event-hold x-amz-object-lock-event-hold-duration-days "
        "x-amz-object-lock-event-hold-duration-years x-amz-bypass-governance-retention x-amz-mfa": "a retention must "
        "hold when it is acknowledged, and the remote knows what is retained (Q-14)",
        "x-amz-checksum-sha512 x-amz-checksum-md5 x-amz-checksum-xxhash64 x-amz-checksum-xxhash3 "
        "x-amz-checksum-xxhash128 MultipartUpload.Parts.ChecksumSHA512 MultipartUpload.Parts.ChecksumMD5 "
        "MultipartUpload.Parts.ChecksumXXHASH64 MultipartUpload.Parts.ChecksumXXHASH3 "
        "MultipartUpload.Parts.ChecksumXXHASH128": "many remotes do not know these checksums, and would not keep them",
        "x-amz-checksum-algorithm": "the remote computes the checksum",
        "x-amz-write-offset-bytes": "an append changes what the remote has",
        f"{OWNER} x-amz-source-expected-bucket-owner": "only the remote knows whose bucket it is",
        "x-amz-object-annotation-directive": "annotations are the remote's",
    }.items()
    for name in names.split()
}
"""Why a member goes through, by its lower-case name on the wire or the path of its element; it is the remote's to
judge wherever the operation's own table does not say otherwise."""


def unsupported(wire: Wire, operation: str) -> list[str]:
    """The members of a request that are not understood, or whose value is not."""
    headers = wire.headers
    names = decode.unknown_members(wire, OPERATIONS[operation], ALLOWED[operation])
    for name in _judged(wire.names):
        value = headers[name]
        if name == TRAILER:
            value = value.strip().lower()
        if value and value not in VALUES[name] and name not in names:
            names.append(name)
    return names


@functools.lru_cache(maxsize=MAX_REMEMBERED)
def _judged(names: tuple[str, ...]) -> tuple[str, ...]:
    """Which headers of a request are judged by their values."""
    sent = {name.lower() for name in names}
    return tuple(name for name in VALUES if name in sent)


@functools.lru_cache(maxsize=MAX_REMEMBERED)
def _kept(names: tuple[str, ...]) -> tuple[tuple[int, str], ...]:
    """Which headers of a put travel with it: the place of each, and its lower-case name."""
    lower = [(place, name.lower()) for place, name in enumerate(names)]
    return tuple((place, low) for place, low in lower if low in KEPT or low.startswith(METADATA))


def kept(wire: Wire) -> dict[str, str]:
    """The headers that travel with a put, as they were sent.

    A content header without a value says nothing. The type is always said: a remote may make one up from the key's
    ending, and another one would be shown after the push than before it.
    """
    members: dict[str, str] = {}
    values = tuple(wire.headers.values())
    for place, low in _kept(wire.names):
        members[low] = f"{members[low]},{values[place]}" if low in members else values[place]
    payload_hash = wire.headers.get("x-amz-content-sha256", "")
    if len(payload_hash) == 64:
        members["x-amz-content-sha256"] = payload_hash
    if "aws-chunked" in members.get("content-encoding", "").lower():
        members["content-encoding"] = chunked.codings([members["content-encoding"]])
    if "" in members.values():
        members = {name: value for name, value in members.items() if value or name not in CONTENT}
    members.setdefault("content-type", DEFAULT_TYPE)
    return members


def add_checksums(members: dict[str, str], digests: Mapping[str, str]) -> None:
    """Let the checksum that came in a put's trailer travel with it too."""
    if digests:
        members.update((name, value) for name, value in digests.items() if name in CHECKSUMS)


def plain_parts(listed: Iterable[Mapping[str, object]]) -> bool:
    """Whether the lines of a Complete say nothing that is not understood."""
    known = {path.rpartition(".")[2] for path in ELEMENTS["CompleteMultipartUpload"]}
    return all(line.keys() <= known for line in listed)


def kept_of_delete(wire: Wire) -> dict[str, str]:
    """The headers that travel with a delete, or with any other call that has no more than these."""
    return {name: wire.headers[name] for name in DELETE if name in wire.headers}
