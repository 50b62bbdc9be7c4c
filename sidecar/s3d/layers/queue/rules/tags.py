"""Tags of an object: as a header, as a document, and within their limits (SEMANTICS Q-15). Pure.

They are kept as the header `x-amz-tagging` has them. What S3 would refuse later is refused while the client is there.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from s3d.errors import S3Error
from s3d.protocol import decode
from s3d.protocol.headers import TAGGING

MAX_TAGS = 10
MAX_KEY_LENGTH, MAX_VALUE_LENGTH = 128, 256
"""In characters."""
# What S3 allows: letters, digits and white space of any script, and a few signs.
ALLOWED = re.compile(r"[\w\s+\-=.:/@]*")

Pairs = list[tuple[str, str]]


def of_header(header: str) -> Pairs:
    """The tags of a header, in order. Raises S3Error InvalidArgument where it is no query."""
    try:
        return list(decode.query(header))
    except S3Error:
        raise S3Error(
            "InvalidArgument",
            "The header x-amz-tagging must be encoded as a query of a URL, in UTF-8",
            details={"ArgumentName": TAGGING, "ArgumentValue": header},
        ) from None


def of_document(document: Mapping[str, Any]) -> Pairs:
    """The tags of a PutObjectTagging's document. Raises S3Error MalformedXML where there is no set, or no key."""
    tagging = document.get("Tagging") or {}
    found = tagging.get("TagSet")
    if found is None or any("Key" not in tag or "Value" not in tag for tag in found):
        raise S3Error(
            "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema"
        )
    return [(tag["Key"], tag["Value"]) for tag in found]


def to_header(pairs: Iterable[tuple[str, str]]) -> str:
    """Write tags as the header has them."""
    return "&".join(f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in pairs)


def to_result(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Write tags as the result of GetObjectTagging has them."""
    return {"TagSet": [{"Key": key, "Value": value} for key, value in pairs]}


def broken(pairs: Pairs) -> S3Error | None:
    """The error that S3 would answer; None where all is within its limits."""
    try:
        check(pairs)
    except S3Error as error:
        return error
    return None


def check(pairs: Pairs) -> None:
    """Refuse what the remote would refuse later. Raises S3Error InvalidTag."""
    if len(pairs) > MAX_TAGS:
        raise S3Error("InvalidTag", f"Object tags cannot be greater than {MAX_TAGS}")
    if len({key for key, _ in pairs}) != len(pairs):
        raise S3Error("InvalidTag", "Cannot provide multiple Tags with the same key")
    for key, value in pairs:
        if not 0 < len(key) <= MAX_KEY_LENGTH or not ALLOWED.fullmatch(key):
            raise S3Error("InvalidTag", "The TagKey you have provided is invalid", details={"TagKey": key})
        if len(value) > MAX_VALUE_LENGTH or not ALLOWED.fullmatch(value):
            raise S3Error("InvalidTag", "The TagValue you have provided is invalid", details={"TagKey": key})


def count(members: Mapping[str, str]) -> int:
    """How many tags a change carries."""
    return len(of_header(members[TAGGING])) if members.get(TAGGING) else 0
