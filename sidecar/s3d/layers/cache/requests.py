"""What a read asks for, and what of it the cache may answer from what it holds: pure.

A request that is asked of the remote first needs no understanding: its own HEAD is (SEMANTICS C-2). What is answered
without asking (fresh, stale) must be understood whole: a header or a member of the query that could change the meaning,
and is not known here, leaves the answer to the remote.
"""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qsl

from multidict import CIMultiDict

from s3d.api import Call, Headers, Reply
from s3d.layers.cache.rows.entries import Spot
from s3d.protocol import conditions, decode, encode, sigv4
from s3d.protocol.model import OPERATIONS

READING = frozenset(["GET", "HEAD"])
READ_BY_POST = frozenset(["SelectObjectContent"])
"""Operations that change nothing, though their method could."""
OF_TWO_KEYS = frozenset(["RenameObject"])
"""Operations that change another key than the one that they name."""
CUSTOMER_KEY = "x-amz-server-side-encryption-customer-"
ENCRYPTION = "x-amz-server-side-encryption"
UNDERSTOOD = frozenset(["x-amz-checksum-mode", "x-amz-user-agent"])
"""Headers of S3's that a read may have and be answered without asking."""
OF_THE_WAY = frozenset(
    "user-agent x-amz-user-agent amz-sdk-invocation-id amz-sdk-request host accept accept-encoding connection date "
    "cache-control pragma traceparent tracestate baggage expect content-type content-length x-forwarded-for via".split()
)
"""Headers that change nothing of the answer to a HEAD."""
CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
NOT_KEPT = re.compile(r"access-control-|vary$|date$|content-range$|x-amz-request-id$|x-amz-id-2$|connection$|server$")
"""Headers of one answer, and not of the object."""


def spot_of(call: Call) -> Spot:
    """What a read asks for."""
    return Spot(call.bucket, call.key, str(call.params.get("VersionId", "")))


def only_reads(call: Call) -> bool:
    """Whether a call changes nothing. Of an unknown one nobody knows."""
    return call.operation in OPERATIONS and (call.wire.method in READING or call.operation in READ_BY_POST)


def may_be_cached(call: Call) -> bool:
    """Whether the answer to a GetObject may be cached, as far as its request says: never with a client's own key."""
    return not call.fresh and bool(call.key) and not any(CUSTOMER_KEY in name.lower() for name in call.wire.headers)


def is_strong(etag: str) -> bool:
    """Whether an ETag names bytes."""
    return len(etag) > 2 and etag.startswith('"') and etag.endswith('"')


def may_be_kept(headers: Headers) -> bool:
    """Whether an object may be cached, as far as its headers say: it has a strong ETag, and no key of its own."""
    encryption = headers.get(ENCRYPTION, "")
    return (
        is_strong(headers.get("ETag", ""))
        and not encryption.startswith("aws:kms")
        and not any(name.lower().startswith(CUSTOMER_KEY) for name in headers)
    )


def as_head(call: Call) -> Call:
    """The client's own request as a HEAD."""
    return replace(call, operation="HeadObject", wire=replace(call.wire, method="HEAD"), body=None, fresh=False)


def fingerprint(call: Call) -> str:
    """What is equal in two requests that the remote answers alike at one time."""
    query, headers = sigv4.strip_auth(call.wire.query, call.wire.headers)
    said = sorted((name.lower(), value) for name, value in headers.items() if name.lower() not in OF_THE_WAY)
    return json.dumps([call.identity, call.bucket, call.key, query.replace("x-id=GetObject", ""), said])


def stretch_of(headers: Headers, status: int, length: int | None) -> tuple[int, int, int] | None:
    """What a success shows: the first byte, the one behind the last, and the length of the object; None where it does
    not say."""
    if status == 200:
        return None if length is None else (0, length, length)
    match = CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if status != 206 or match is None:
        return None
    first, last, whole = map(int, match.groups())
    return (first, last + 1, whole) if first <= last < whole else None


def tags_in(header: str) -> dict[str, str]:
    """The tags that a request gives its object by a header."""
    return dict(parse_qsl(header, keep_blank_values=True))


def is_understood(call: Call) -> bool:
    """Whether a read can be answered without asking."""
    query, headers = sigv4.strip_auth(call.wire.query, call.wire.headers)
    names = {name for name, _ in decode.query(query)} if query else set()
    strange = {name for name in map(str.lower, headers) if name.startswith("x-amz-")} - UNDERSTOOD
    return not strange and all(name.startswith("response-") or name in ("x-id", "versionId") for name in names)


def is_plain(call: Call) -> bool:
    """Whether the headers of its answer are the object's own."""
    return not any(name.startswith("Response") for name in call.params) and "PartNumber" not in call.params


def kept_head(headers: Headers) -> Headers:
    """The headers of an object in those of an answer."""
    return CIMultiDict((name, value) for name, value in headers.items() if not NOT_KEPT.match(name.lower()))


def without_checksums(headers: Headers) -> None:
    """Take out the checksums of a whole object: they would be taken for those of a stretch of it."""
    for name in [name for name in headers if name.lower().startswith("x-amz-checksum-")]:
        headers.popall(name, None)


def answer(call: Call, head: Headers, etag: str, length: int) -> tuple[Reply, tuple[int, int]]:
    """The answer to a read that is understood, without its body, and the stretch that it is of. Raises S3Error."""
    params = ranged(call)
    judged = conditions.judge(params, etag.strip('"'), modified(head))
    if judged is not None:
        shown: Headers = CIMultiDict((name, head[name]) for name in conditions.NOT_MODIFIED if name in head)
        return Reply(judged, shown), (0, 0)
    headers = head.copy()
    conditions.override(headers, params)
    reply, stretch = Reply(200, headers), conditions.select(params["Range"], length) if "Range" in params else None
    if stretch is None:
        return reply, (0, length)
    make_partial(reply, stretch, length)
    return reply, stretch


def make_partial(reply: Reply, stretch: tuple[int, int], length: int) -> None:
    """Make an answer of a whole object one of a stretch of it."""
    start, end = stretch
    reply.status = 206
    reply.headers["Content-Range"] = f"bytes {start}-{end - 1}/{length}"
    without_checksums(reply.headers)


def ranged(call: Call) -> dict[str, Any]:
    """The members of a read; without its range, where If-Range names another version or a date, which it may."""
    validator = call.wire.headers.get("If-Range")
    if validator is None:
        return call.params
    return {name: value for name, value in call.params.items() if name != "Range"}


def modified(head: Headers) -> datetime:
    """When an object was last modified; long ago where nobody says."""
    try:
        return conditions.aware(parsedate_to_datetime(head["Last-Modified"]))
    except (KeyError, ValueError, TypeError):
        return datetime.fromtimestamp(0, UTC)


def refusal(call: Call, error: Any) -> Reply:
    """An error of a read that the cache has answered itself."""
    reply = encode.refusal(call, error)
    reply.source = "cache"
    return reply
