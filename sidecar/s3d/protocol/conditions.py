"""Conditions and ranges of reads, for whoever answers one from what it holds: pure.

Conditions are judged in the order of RFC 9110 (13.2.2), ranges as S3 does: one range, a malformed one is ignored, one
beyond the end is 416.
"""

import re
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from s3d.api import Headers
from s3d.errors import S3Error
from s3d.protocol.model import http_date, saturated

OVERRIDES = {
    "ResponseCacheControl": "Cache-Control",
    "ResponseContentDisposition": "Content-Disposition",
    "ResponseContentEncoding": "Content-Encoding",
    "ResponseContentLanguage": "Content-Language",
    "ResponseContentType": "Content-Type",
    "ResponseExpires": "Expires",
}
JUDGED = frozenset(["IfMatch", "IfUnmodifiedSince", "IfNoneMatch", "IfModifiedSince"])
"""Members that are conditions of a read."""
RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)\s*")
# What a 304 repeats of the 200 (RFC 9110, 15.4.5), beside Last-Modified.
NOT_MODIFIED = ("ETag", "Last-Modified", "Cache-Control", "Expires")


def override(headers: Headers, params: dict[str, Any]) -> None:
    """Put in the headers that a request asks for in the place of the object's."""
    if OVERRIDES.keys().isdisjoint(params):
        return
    for member, name in OVERRIDES.items():
        if member in params:
            value = params[member]
            headers[name] = format_datetime(value, usegmt=True) if isinstance(value, datetime) else str(value)


def judge(params: dict[str, Any], etag: str, modified: datetime) -> int | None:
    """Judge the conditions of a read: None where they hold, 304, or S3Error PreconditionFailed."""
    if (wanted := params.get("IfMatch")) is not None:
        if not matches(wanted, etag):
            raise failed("If-Match")
    elif (moment := params.get("IfUnmodifiedSince")) is not None and modified > aware(moment):
        raise failed("If-Unmodified-Since")
    if (unwanted := params.get("IfNoneMatch")) is not None:
        return 304 if matches(unwanted, etag) else None
    if (moment := params.get("IfModifiedSince")) is not None and modified <= aware(moment):
        return 304
    return None


def unchanged(validator: str | None, etag: str, modified: float) -> bool:
    """Whether an If-Range allows the range: the object is still the one that it names (RFC 9110, 13.1.5)."""
    return validator is None or validator in (f'"{etag}"', http_date(modified))


def matches(header: str, etag: str) -> bool:
    """Whether a list of entity tags names this one; `*` names any."""
    return any(tag.strip().removeprefix("W/").strip('"') in (etag, "*") for tag in header.split(","))


def select(header: str, size: int) -> tuple[int, int] | None:
    """The stretch that a Range header selects; None for one that is ignored. Raises S3Error InvalidRange.

    The last bytes of an empty object are all of it: S3 answers 200.
    """
    match = RANGE.fullmatch(header.strip())
    if not match or match.groups() == ("", ""):
        return None
    first, last = (saturated(digits) if digits else None for digits in match.groups())
    if first is not None and last is not None and last < first:
        return None
    if first is None and size == 0 and last:
        return None
    start = max(0, size - (last or 0)) if first is None else first
    end = size if first is None or last is None else min(size, last + 1)
    if start >= size or (first is None and last == 0):
        raise S3Error(
            "InvalidRange",
            "The requested range is not satisfiable",
            status=416,
            headers={"Content-Range": f"bytes */{size}"},
            details={"RangeRequested": header, "ActualObjectSize": str(size)},
        )
    return start, end


def failed(condition: str) -> S3Error:
    """The answer to a condition that does not hold."""
    return S3Error(
        "PreconditionFailed",
        "At least one of the pre-conditions you specified did not hold",
        status=412,
        details={"Condition": condition},
    )


def aware(moment: datetime) -> datetime:
    """A moment in UTC where it names no zone."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
