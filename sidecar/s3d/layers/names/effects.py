"""What a call that may change objects does to their names (SEMANTICS C-9, C-10). Pure.

Before it goes on it is only known which names it may change; its answer says what they are afterwards, or leaves it
unknown.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from s3d.api import AnyHeaders, BytesBody, Call, Outcome, Reply
from s3d.errors import S3Error
from s3d.protocol import answers, decode, listings
from s3d.protocol.model import OPERATIONS

READING = frozenset(["GET", "HEAD", "OPTIONS"])
UNSEEN = frozenset("CreateMultipartUpload UploadPart UploadPartCopy AbortMultipartUpload SelectObjectContent".split())
"""What changes no object, although its method says otherwise."""
KEEPING = frozenset(
    """
    PutObjectTagging DeleteObjectTagging PutObjectAcl PutObjectRetention PutObjectLegalHold RestoreObject
    PutObjectAnnotation DeleteObjectAnnotation
    """.split()
)
"""What leaves the name of its object as it is in a listing, and changes what a HEAD shows."""
CHECKSUM = "x-amz-checksum-"
TYPE = "x-amz-checksum-type"


@dataclass(frozen=True, slots=True)
class Object:
    """What a listing shows of an object."""

    etag: str
    size: int
    modified: float
    """Unix time, by the remote's clock."""
    storage: str = "STANDARD"
    algorithm: str = ""
    kind: str = ""
    """The algorithm and the type of its checksum; "" for none."""

    def inner(self, owner: str) -> str:
        """Its elements in a listing; `owner` is one of them, or ""."""
        return listings.pending(self.modified, self.etag, self.size, self.storage, (self.algorithm, self.kind), owner)

    def pack(self) -> str:
        """It as a text."""
        return json.dumps(asdict(self))


Effect = Object | Literal["gone", "unknown", "nothing"]
"""What became of a name: the object that is there, or none is, or nobody knows, or it is as before."""


def unpack(text: str) -> Object:
    """The object that a text says. Raises ValueError for what is damaged."""
    try:
        return Object(**json.loads(text))
    except TypeError as error:
        raise ValueError(str(error)) from None


@dataclass(frozen=True, slots=True)
class Touch:
    """What a call may change."""

    keys: tuple[str, ...] = ()
    """Names; none: all of the bucket."""
    heads_only: bool = False
    """Names stay as they are, and what HEADs show of them may change."""


def touched(call: Call) -> Touch | None:
    """What a call may change; None for nothing that is remembered."""
    if call.wire.method in READING or call.operation in UNSEEN or not call.bucket:
        return None
    if call.operation in KEEPING:
        return Touch((call.key,), heads_only=True)
    if call.operation == "DeleteObjects":
        return Touch(named_in(call))
    source = decode.copy_source(call.params.get("RenameSource"))
    other = (source[1],) if source is not None and source[0] == call.bucket else ()
    return Touch((call.key, *other) if call.key else ())


def named_in(call: Call) -> tuple[str, ...]:
    """The keys that a DeleteObjects names; none where its document is not at hand, or cannot be read."""
    if not isinstance(call.body, BytesBody):
        return ()
    try:
        document = decode.input_xml(OPERATIONS["DeleteObjects"], call.body.data)
    except S3Error:
        return ()
    objects = (document.get("Delete") or {}).get("Objects") or ()
    return tuple(dict.fromkeys(str(one.get("Key", "")) for one in objects))


def effects(call: Call, touch: Touch, reply: Reply) -> Mapping[str, Effect]:
    """What an answer says of the names that its call may have changed."""
    if reply.outcome is Outcome.REFUSED:
        return dict.fromkeys(touch.keys, "nothing")
    unknown: dict[str, Effect] = dict.fromkeys(touch.keys, "unknown")
    if reply.outcome is not Outcome.DONE or reply.status >= 300:
        return unknown
    if call.operation == "PutObject":
        return {call.key: put(call, reply)}
    if call.operation == "DeleteObject" and not call.params.get("VersionId"):
        return {call.key: "gone"}
    if call.operation == "DeleteObjects" and isinstance(reply.body, BytesBody):
        return unknown | deleted(reply.body.data, call)
    return unknown


def put(call: Call, reply: Reply) -> Effect:
    """What a PutObject that succeeded has made."""
    etag = answers.etag_of(reply.headers.get("ETag", ""))
    size = call.body.length if call.body is not None else 0
    if not etag or size is None:
        return "unknown"
    headers = call.wire.headers
    algorithm, kind = checksum(reply.headers) or checksum(headers) or ("", "")
    return Object(etag, size, moment(reply), headers.get("x-amz-storage-class", "STANDARD"), algorithm, kind)


def of_head(reply_headers: AnyHeaders, size: int) -> Effect:
    """The object that a HEAD shows."""
    etag = answers.etag_of(reply_headers.get("ETag", ""))
    modified = date(reply_headers.get("Last-Modified", ""))
    if not etag or modified is None:
        return "unknown"
    algorithm, kind = checksum(reply_headers) or ("", "")
    return Object(etag, size, modified, reply_headers.get("x-amz-storage-class", "STANDARD"), algorithm, kind)


def checksum(headers: AnyHeaders) -> tuple[str, str] | None:
    """Algorithm and type of a checksum that headers have."""
    for name in headers:
        low = name.lower()
        if low.startswith(CHECKSUM) and low not in (TYPE, "x-amz-checksum-mode", "x-amz-checksum-algorithm"):
            return low.removeprefix(CHECKSUM).upper(), headers.get(TYPE, "FULL_OBJECT")
    return None


def moment(reply: Reply) -> float:
    """When the remote answered, by its own clock where it says so."""
    said = date(reply.headers.get("Date", ""))
    return time.time() if said is None else said


def date(text: str) -> float | None:
    """The Unix time of a date in a header."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def deleted(document: bytes, call: Call) -> dict[str, Effect]:
    """What the answer to a DeleteObjects says: what it does not name as an error is gone, unless a version was."""
    assert isinstance(call.body, BytesBody)
    try:
        asked: dict[str, Any] = decode.input_xml(OPERATIONS["DeleteObjects"], call.body.data)
        said = decode.response("DeleteObjects", 200, call.wire.headers, document)
    except S3Error:
        return {}
    failed = {one.get("Key") for one in said.get("Errors") or ()}
    objects = (asked.get("Delete") or {}).get("Objects") or ()
    versions = {one.get("Key") for one in objects if one.get("VersionId")}
    return {one["Key"]: "gone" for one in objects if one["Key"] not in failed | versions}
