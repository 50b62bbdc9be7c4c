"""What an answer of the remote means: a table of what confirms each operation (SEMANTICS Q-22, Q-3a, Q-8a). Pure.

A success is what the store always says for it: the status, an ETag, the root of a document and the member in it. A
refusal is an S3 error document, or of a HEAD, which has none, the headers that S3 sends with every answer. A 5xx and a
document that breaks off leave the outcome unknown. Anything else comes from somebody who is not the store.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from s3d.api import AnyHeaders
from s3d.errors import S3Error
from s3d.protocol import decode

ROOT: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?<((?:[A-Za-z_][\w.-]*:)?([A-Za-z_][\w.-]*))(?=[\s/>])[^>]*?(/?)>"
)
"""The beginning of a document up to its root's start tag; S3 begins no answer with a comment or a document type."""
DIGEST: Final = re.compile(r"[0-9A-Fa-f]{32}(-[0-9]+)?")
"""An ETag that is a digest, of an object or of the digests of so many parts."""
LONG: Final = frozenset(["CompleteMultipartUpload", "CopyObject", "UploadPartCopy"])
"""Operations that take as long as the object is large, and whose error may come inside a 200."""
MARK: Final = "x-amz"
"""What the names of headers begin with that S3 sends with each answer: x-amz-request-id, x-amz-id-2."""


class Meaning(StrEnum):
    """What an answer means."""

    DONE = "done"
    """The store confirms what was asked."""
    REFUSED = "refused"
    """The store refuses it: nothing was done."""
    UNKNOWN = "unknown"
    """It may have been done, or may be done later."""
    NOT_S3 = "not S3"
    """It is not the store's answer: it says nothing, and teaches nothing."""
    UNCLEAR = "unclear"
    """An answer to a HEAD that anybody could have given: a GET tells."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What confirms an operation."""

    statuses: frozenset[int]
    etag: bool = False
    """Whether the header ETag must be there."""
    roots: frozenset[str] = frozenset()
    """Root elements that the document may have; none: there is no document to look at."""
    member: tuple[str, ...] = ()
    """The path of a member that the document must have, by botocore's names."""
    object: bool = False
    """Whether the answer is an object, of any type; it has an ETag."""


def _answer(
    statuses: str, roots: str = "", *, etag: bool = False, member: str = "", is_object: bool = False
) -> Confirmation:
    return Confirmation(
        frozenset(map(int, statuses.split())),
        etag,
        frozenset(roots.split()),
        tuple(member.split(".")) if member else (),
        is_object,
    )


CONFIRMED: Final[Mapping[str, Confirmation]] = {
    "PutObject": _answer("200", etag=True),
    "CopyObject": _answer("200", "CopyObjectResult", member="CopyObjectResult.ETag"),
    "DeleteObject": _answer("204 200"),
    "DeleteObjects": _answer("200", "DeleteResult"),
    "PutObjectTagging": _answer("200"),
    "DeleteObjectTagging": _answer("204 200"),
    "CreateMultipartUpload": _answer("200", "InitiateMultipartUploadResult", member="UploadId"),
    "UploadPart": _answer("200", etag=True),
    "UploadPartCopy": _answer("200", "CopyPartResult", member="CopyPartResult.ETag"),
    "CompleteMultipartUpload": _answer("200", "CompleteMultipartUploadResult", member="ETag"),
    "AbortMultipartUpload": _answer("204 200"),
    "GetObject": _answer("200 206", is_object=True),
    "HeadObject": _answer("200 206", is_object=True),
    "HeadBucket": _answer("200"),
    "GetObjectAttributes": _answer("200", "GetObjectAttributesResponse"),
    "GetObjectTagging": _answer("200", "Tagging"),
    "ListObjects": _answer("200", "ListBucketResult"),
    "ListObjectsV2": _answer("200", "ListBucketResult"),
    "ListObjectVersions": _answer("200", "ListVersionsResult"),
    "ListBuckets": _answer("200", "ListAllMyBucketsResult"),
    "ListParts": _answer("200", "ListPartsResult"),
    "ListMultipartUploads": _answer("200", "ListMultipartUploadsResult"),
    "GetBucketVersioning": _answer("200", "VersioningConfiguration GetBucketVersioning"),
    "GetBucketLocation": _answer("200", "LocationConstraint"),
    "GetObjectLockConfiguration": _answer("200", "ObjectLockConfiguration ListBucketResult"),
    "GetBucketEncryption": _answer("200", "ServerSideEncryptionConfiguration ListBucketResult"),
    "GetBucketTagging": _answer("200", "Tagging ListBucketResult"),
}
"""By operation. A root's second name is what some stores call it. A store that does not know a sub-resource of a bucket
may list the bucket instead, which says that it has no such notion; of versions that would say too little."""
ENDING: Final = re.compile(r"(result|response|output)$")
"""What stores end the name of a root with as they like, in letters of any case."""


def reads(operation: str, method: str, status: int) -> bool:
    """Whether an answer can only be judged with its document."""
    if method == "HEAD" or status in (204, 304):
        return False
    wanted = CONFIRMED.get(operation)
    return status >= 300 or (wanted is not None and not wanted.object)


def judge(operation: str, method: str, status: int, headers: AnyHeaders, document: bytes) -> tuple[Meaning, str]:
    """What an answer means, and what is wrong with it in words.

    `document` is all of the body where `reads` says so. Both are of the request that was sent: `operation` is
    botocore's name, or "" for one that nobody knows.
    """
    if status == 304 and method in ("GET", "HEAD"):
        return Meaning.DONE, ""
    if 200 <= status < 300:
        return _success(operation, method, status, headers, document)
    said = f"status {status}{_typed(headers)}"
    if status >= 500 and status != 501:
        return Meaning.UNKNOWN, said
    if method == "HEAD" and status >= 300:
        return _bare(headers, Meaning.REFUSED), said
    if decode.is_error(document):
        return Meaning.REFUSED, said
    return Meaning.NOT_S3, f"{said} and no S3 error document"


def _success(operation: str, method: str, status: int, headers: AnyHeaders, document: bytes) -> tuple[Meaning, str]:
    said = f"status {status}{_typed(headers)}"
    wanted = CONFIRMED.get(operation)
    if wanted is None:
        # What it would say is not known; that it is no page for people is.
        return (Meaning.NOT_S3 if _is_page(headers) and not _marked(headers) else Meaning.DONE), said
    if status not in wanted.statuses:
        return Meaning.NOT_S3, f"{said}, which is no success of it"
    marked = _marked(headers)
    if wanted.object:
        return (Meaning.DONE if _is_object(operation, headers) else Meaning.NOT_S3), f"{said} without an ETag"
    if wanted.roots:
        return _document(operation, wanted, status, headers, document)
    if method == "HEAD":
        return _bare(headers, Meaning.DONE), said
    if decode.is_error(document):
        return Meaning.UNKNOWN, f"an error document with {said}"
    if wanted.etag and not _etag(headers):
        return Meaning.NOT_S3, f"{said} without an ETag"
    if not marked and (document.strip() or _is_page(headers)):
        return Meaning.NOT_S3, f"{said} and a document, where S3 sends none"
    if not marked and status == 200 and 204 in wanted.statuses:
        return Meaning.NOT_S3, f"{said}, where S3 says 204"
    return Meaning.DONE, ""


def _document(
    operation: str, wanted: Confirmation, status: int, headers: AnyHeaders, document: bytes
) -> tuple[Meaning, str]:
    said = f"status {status}{_typed(headers)}"
    root = ROOT.match(document)
    if root is None:
        blank = not document.strip()
        return Meaning.NOT_S3, f"{said} and {'no document' if blank else 'a document that is not XML'}"
    name, local, closed = root[1], root[2].decode(), root[3]
    if local == "Error" and decode.is_error(document):
        return Meaning.UNKNOWN, f"an error document with {said}"
    if _plain(local) not in map(_plain, wanted.roots):
        return Meaning.NOT_S3, f"{said} and <{local}> instead of <{next(iter(sorted(wanted.roots, reverse=True)))}>"
    end = document.rstrip()
    if not (closed and root.end() == len(end)) and not re.search(rb"</" + re.escape(name) + rb"\s*>\Z", end[-256:]):
        return Meaning.UNKNOWN, f"{said} and a document that breaks off"
    if wanted.member:
        try:
            found: object = decode.response(operation, status, headers, document)
        except S3Error as unreadable:
            return Meaning.UNKNOWN, unreadable.message
        for step in wanted.member:
            found = found.get(step) if isinstance(found, dict) else None
        if not str(found or "").strip(' "'):
            return Meaning.NOT_S3, f"{said} without {wanted.member[-1]}"
    return Meaning.DONE, ""


def etag_of(value: str) -> str:
    """An ETag without its quotes, as S3 writes it: a proxy may have made it a weak one (RFC 9110, 8.8.1), and some
    stores write the digest in capitals. It is for comparing, not for sending."""
    found = value.strip().removeprefix("W/").strip('"')
    return found.lower() if DIGEST.fullmatch(found) else found


def _plain(root: str) -> str:
    return ENDING.sub("", root.lower())


def _bare(headers: AnyHeaders, meaning: Meaning) -> Meaning:
    """The meaning of an answer without a document: it is S3's where its headers say so."""
    if _marked(headers) or "xml" in headers.get("Content-Type", ""):
        return meaning
    return Meaning.NOT_S3 if "Content-Type" in headers else Meaning.UNCLEAR


def _is_object(operation: str, headers: AnyHeaders) -> bool:
    """Whether an answer is an object. What says nothing of itself, not even a type, may be one for a client that reads
    it, but teaches nobody."""
    silent = "ETag" not in headers and "Content-Type" not in headers
    return bool(_etag(headers)) or (operation == "GetObject" and silent)


def _etag(headers: AnyHeaders) -> str:
    """The ETag without quotes; "" where there is none, or one that is not S3's: bytes that are no ASCII."""
    found = headers.get("ETag", "").strip(' "')
    return found if found.isascii() else ""


def _marked(headers: AnyHeaders) -> bool:
    return any(name.lower().startswith(MARK) for name in headers)


def _is_page(headers: AnyHeaders) -> bool:
    return headers.get("Content-Type", "").lower().startswith(("text/html", "text/plain", "application/xhtml"))


def _typed(headers: AnyHeaders) -> str:
    kind = headers.get("Content-Type", "")
    return f" {kind[:60]}" if kind else ""
