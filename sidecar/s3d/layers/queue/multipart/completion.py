"""Judges a CompleteMultipartUpload as the remote would, and says what it makes (SEMANTICS Q-15). Pure.

The ETag is S3's: the MD5 of the parts' MD5s, and their number. A checksum over the object is COMPOSITE (a checksum of
the parts' checksums, and their number) or FULL_OBJECT (that of the bytes, put together from the parts' CRCs):
https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html.
"""

import base64
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from multidict import CIMultiDict

from s3d.api import AnyHeaders, Wire
from s3d.errors import S3Error
from s3d.layers.queue.rows.uploads import Part, Upload
from s3d.layers.queue.rules.limits import MAX_PARTS
from s3d.layers.queue.rules.upload_errors import invalid_part
from s3d.protocol import checksums, encode

MIN_PART = 5 << 20
"""In bytes; the last part may be smaller."""
MAX_OBJECT = 5 << 40
PREFIX = "x-amz-checksum-"
ALGORITHMS = ("crc32", "crc32c", "crc64nvme", "sha1", "sha256")
WHOLE = frozenset(["crc32", "crc32c", "crc64nvme"])
"""Algorithms whose checksum of an object follows from those of its parts."""
ELEMENTS = {f"{PREFIX}{name}": f"Checksum{name.upper()}" for name in ALGORITHMS}
"""The member of results and documents by the header of a checksum."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a Complete makes."""

    parts: tuple[Part, ...]
    size: int
    etag: str
    members: Mapping[str, str]
    """The object's checksum as headers."""
    result: Mapping[str, Any]
    """botocore's members of the answer, but for Location."""


def unpromised(headers: AnyHeaders) -> S3Error | None:
    """The error that S3 would answer to the checksums that a Create asks for; None where it offers them."""
    try:
        promised(headers)
    except S3Error as error:
        return error
    return None


def promised(headers: AnyHeaders) -> tuple[str, str]:
    """Algorithm (lower-case) and type of the checksums that a Create asks for; two "" where it asks for none.

    Raises S3Error InvalidRequest for what S3 does not offer.
    """
    algorithm = headers.get("x-amz-checksum-algorithm", "").lower()
    kind = headers.get("x-amz-checksum-type", "").upper()
    if not algorithm:
        if kind:
            raise S3Error(
                "InvalidRequest",
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
            )
        return "", ""
    if algorithm not in ALGORITHMS:
        raise S3Error(
            "InvalidRequest",
            "Checksum algorithm provided is unsupported. Please try again with any of the "
            f"valid types: [{', '.join(name.upper() for name in ALGORITHMS)}]",
        )
    kind = kind or ("FULL_OBJECT" if algorithm == "crc64nvme" else "COMPOSITE")
    if kind not in ("COMPOSITE", "FULL_OBJECT"):
        raise S3Error("InvalidRequest", "Value for x-amz-checksum-type header is invalid.")
    if (kind == "FULL_OBJECT" and algorithm not in WHOLE) or (kind == "COMPOSITE" and algorithm == "crc64nvme"):
        raise S3Error(
            "InvalidRequest",
            f"The {kind} checksum type cannot be used with the {algorithm} checksum algorithm.",
        )
    return algorithm, kind


def sent_algorithm(headers: AnyHeaders) -> str:
    """The algorithm of the checksum that a part comes with, in a header or a trailer; "" where there is none."""
    trailer = headers.get("x-amz-trailer", "").strip().lower()
    return next((name for name in ALGORITHMS if PREFIX + name in headers or PREFIX + name == trailer), "")


def check_algorithm(upload: Upload, sent: str) -> None:
    """Refuse a part whose checksum is of another algorithm than the upload's."""
    if upload.algorithm and sent and sent != upload.algorithm:
        raise S3Error(
            "InvalidRequest",
            f"Checksum Type mismatch occurred, expected checksum Type: {upload.algorithm}, "
            f"actual checksum Type: {sent}",
        )


def can_judge(upload: Upload, headers: AnyHeaders) -> bool:
    """Whether the checksum that comes with a Complete follows from what is stored; else the remote judges it."""
    sent = sent_algorithm(headers)
    return not sent or sent == upload.algorithm


def of_document(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The parts that a request's document names. Raises S3Error MalformedXML."""
    listed = (document.get("MultipartUpload") or {}).get("Parts") or []
    if not listed or len(listed) > MAX_PARTS or any("PartNumber" not in p or not p.get("ETag") for p in listed):
        raise S3Error(
            "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema"
        )
    return list(listed)


def judge(upload: Upload, there: Sequence[Part], listed: Sequence[Mapping[str, Any]], headers: AnyHeaders) -> Made:
    """Judge a Complete. Raises S3Error as S3 does, in S3's order."""
    numbers = [one["PartNumber"] for one in listed]
    if any(not 1 <= number <= MAX_PARTS for number in numbers):
        raise S3Error("InvalidArgument", f"PartNumber must be >= 1 and <= {MAX_PARTS}")
    if any(later <= earlier for earlier, later in itertools.pairwise(numbers)):
        raise S3Error(
            "InvalidPartOrder",
            "The list of parts was not in ascending order. Parts must be ordered by part number.",
            details={"UploadId": upload.id},
        )
    known = {part.number: part for part in there}
    chosen = tuple(_match(upload, known, one) for one in listed)
    for part in chosen[:-1]:
        if part.size < MIN_PART:
            raise S3Error(
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size",
                details={
                    "ProposedSize": str(part.size),
                    "MinSizeAllowed": str(MIN_PART),
                    "PartNumber": str(part.number),
                    "ETag": part.etag,
                },
            )
    size = sum(part.size for part in chosen)
    if size > MAX_OBJECT:
        raise S3Error(
            "EntityTooLarge",
            "Your proposed upload exceeds the maximum allowed size",
            details={"ProposedSize": str(size), "MaxSizeAllowed": str(MAX_OBJECT)},
        )
    _check_size(headers, size)
    _check_kind(upload, headers)
    etag = etag_of(chosen)
    members: dict[str, str] = {}
    result: dict[str, Any] = {"Bucket": upload.bucket, "Key": upload.key, "ETag": f'"{etag}"'}
    if upload.algorithm:
        value = checksum_of(upload.algorithm, upload.kind, chosen)
        name = PREFIX + upload.algorithm
        sent = headers.get(name)
        if sent is not None and sent.partition("-")[0] != value.partition("-")[0]:
            raise S3Error("BadDigest", f"The {upload.algorithm} you specified did not match the calculated checksum.")
        members = {name: value, "x-amz-checksum-type": upload.kind}
        result |= {ELEMENTS[name]: value, "ChecksumType": upload.kind}
    return Made(chosen, size, etag, members, result)


def _match(upload: Upload, known: Mapping[int, Part], one: Mapping[str, Any]) -> Part:
    """The stored part that a line of the document names."""
    number, etag = one["PartNumber"], one["ETag"].strip().strip('"')
    part = known.get(number)
    if part is None or part.etag != etag:
        raise invalid_part(upload.id, number, etag)
    for name, element in ELEMENTS.items():
        if element in one and name in part.sums and one[element] != part.sums[name]:
            raise invalid_part(upload.id, number, etag)
    if upload.kind == "COMPOSITE" and ELEMENTS[PREFIX + upload.algorithm] not in one:
        raise S3Error(
            "InvalidRequest",
            f"The upload was created using a {upload.algorithm} checksum. The complete request must include the "
            f"checksum for each part. It was missing for part {number} in the request.",
        )
    return part


def _check_size(headers: AnyHeaders, size: int) -> None:
    said = headers.get("x-amz-mp-object-size")
    if said is not None and said.strip() != str(size):
        raise S3Error(
            "InvalidRequest",
            f"The provided 'x-amz-mp-object-size' header value {said} does not match what was computed: {size}",
        )


def _check_kind(upload: Upload, headers: AnyHeaders) -> None:
    said = headers.get("x-amz-checksum-type", "").upper()
    if said and upload.kind and said != upload.kind:
        raise S3Error(
            "InvalidRequest",
            f"The upload was created using the {upload.kind} checksum mode. The complete request must use the same "
            "checksum mode.",
        )


def etag_of(parts: Sequence[Part]) -> str:
    """The ETag of an object that is made of parts, without quotes."""
    return joined_etag([part.etag for part in parts])


def joined_etag(etags: Sequence[str]) -> str:
    """The same by the parts' ETags. Raises ValueError where one is not hexadecimal."""
    md5 = hashlib.md5(usedforsecurity=False)
    for etag in etags:
        md5.update(bytes.fromhex(etag))
    return f"{md5.hexdigest()}-{len(etags)}"


def checksum_of(algorithm: str, kind: str, parts: Sequence[Part]) -> str:
    """The checksum of an object that is made of parts, as S3 writes it."""
    raw = [base64.b64decode(part.sums[PREFIX + algorithm]) for part in parts]
    if kind == "COMPOSITE":
        digest = checksums.ALGORITHMS[algorithm]()
        for one in raw:
            digest.update(one)
        return f"{checksums.to_base64(digest.digest())}-{len(parts)}"
    whole = raw[0]
    for part, one in zip(parts[1:], raw[1:], strict=True):
        whole = checksums.combined(algorithm, whole, one, part.size)
    return checksums.to_base64(whole)


def elements(sums: Mapping[str, str]) -> dict[str, str]:
    """Checksums by the names that results and documents have for them."""
    return {ELEMENTS[name]: value for name, value in sums.items() if name in ELEMENTS}


def renamed(upload: Upload, there: Sequence[Part], listed: Sequence[Mapping[str, Any]]) -> bytes:
    """The document of a Complete as the remote has to see it: with the ETags that it gave to the parts, and without
    checksums that an upload begun without an algorithm cannot have there.

    Raises S3Error InvalidPart where such a checksum is wrong.
    """
    known = {part.number: part for part in there}
    named: list[dict[str, Any]] = []
    for one in listed:
        line = dict(one)
        part = known.get(one["PartNumber"])
        if part is not None:
            if not upload.algorithm:
                _match(upload, known, one)
                line = {"PartNumber": part.number, "ETag": one["ETag"]}
            if part.remote_etag is not None and part.etag == one["ETag"].strip().strip('"'):
                line["ETag"] = f'"{part.remote_etag}"'
        named.append(line)
    params = {"Bucket": "b", "Key": "k", "UploadId": "u", "MultipartUpload": {"Parts": named}}
    return encode.request("CompleteMultipartUpload", params)[1]


def without_digest(wire: Wire) -> Wire:
    """A request whose document was written anew, without what was said of the old one."""
    about = ("content-md5", "x-amz-content-sha256", "x-amz-trailer", "x-amz-decoded-content-length", "content-length")
    headers = CIMultiDict((name, value) for name, value in wire.headers.items() if name.lower() not in about)
    return replace(wire, headers=headers)
