"""From the wire to botocore's member names: requests of clients, responses and errors of a remote.

The key is the client's bytes, percent-decoded once and never normalised (SEMANTICS A-4). Nothing is guessed: what
cannot be read is an S3Error, and what the model does not know is reported as unknown, so that it is forwarded and not
ignored.
"""

import codecs
import contextlib
import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from s3d.api import AnyHeaders, Wire
from s3d.errors import NotS3, S3Error
from s3d.protocol import chunked
from s3d.protocol.headers import MAX_REMEMBERED, METADATA
from s3d.protocol.model import OPERATIONS, Member, Operation, hoisted, integer, neutral, route
from s3d.protocol.xml import Document

REQUEST_BYTES, REQUEST_ELEMENTS = 8 << 20, 150_000
"""Bounds of a request's document, its attributes counted as elements: 10,000 parts with their checksums, 1,000 keys
with every character escaped."""
RESPONSE_BYTES, RESPONSE_ELEMENTS = 64 << 20, 1_000_000
MAX_CODE, MAX_MESSAGE = 128, 2048
"""Characters of an error that are kept: they stand in rows, in the log and before people."""

BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}")
VERSION = re.compile(r"(versionId=[^&]*)?")
"""What may stand behind the question mark of a copy's source."""
BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

# Headers that mean nothing to S3, or that the door, the signature and the digests have dealt with.
MEANINGLESS = frozenset(
    """
    content-length x-amz-date x-amz-security-token x-amz-user-agent x-amz-content-sha256 x-amz-decoded-content-length
    x-amz-trailer
    """.split()
)
# Headers outside of x-amz-* that can change what a request means, also where the operation has no member for them.
MEANINGFUL = frozenset(["cache-control", "expires", "range"])
MEANINGFUL_PREFIXES = ("x-amz-", "content-", "if-")

# HEAD has no document, and other answers may have none of S3's.
CODES = {
    301: "PermanentRedirect",
    304: "NotModified",
    307: "TemporaryRedirect",
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    411: "MissingContentLength",
    412: "PreconditionFailed",
    413: "EntityTooLarge",
    416: "InvalidRange",
    429: "TooManyRequests",
    500: "InternalError",
    501: "NotImplemented",
    503: "ServiceUnavailable",
    507: "InsufficientStorage",
}
# What a client may need of an error's headers: when to come back, where to go, and what it just met.
ERROR_HEADERS = frozenset(
    [
        "retry-after",
        "x-amz-bucket-region",
        "location",
        "etag",
        "last-modified",
        "x-amz-delete-marker",
        "x-amz-version-id",
    ]
)
# Said anew by whoever answers.
OWN_ELEMENTS = frozenset(["Code", "Message", "Resource", "RequestId", "HostId"])


def target(wire: Wire, domains: Sequence[str]) -> tuple[str, str]:
    """Bucket and key of a request, either "" where it names none.

    A Host of `bucket.<domain>` names the bucket; otherwise the path does. Raises S3Error InvalidURI, and
    InvalidBucketName for a name that no rule ever allowed: it may become part of the remote's host name.
    """
    path = wire.path
    if not path.startswith("/"):
        raise _invalid_uri(path)
    if bucket := _named_by(wire.headers.get("Host", ""), tuple(domains)):
        return _checked(bucket), _unquote(path[1:])
    bucket, _, key = path[1:].partition("/")
    if key and not bucket:
        raise _invalid_uri(path)
    return _bucket(bucket), _unquote(key)


@lru_cache(maxsize=16)
def _named_by(host: str, domains: tuple[str, ...]) -> str:
    """The bucket that a Host names, "" for none. Clients of one door name few hosts."""
    name = "" if host.startswith("[") else host.partition(":")[0].lower()
    buckets = (name.removesuffix(f".{domain}") for domain in domains)
    return next((bucket for bucket in buckets if bucket and bucket != name), "")


@lru_cache(maxsize=MAX_REMEMBERED)
def _carried(operation: str, names: tuple[str, ...]) -> tuple[tuple[int, str, Member | None], ...]:
    """Which headers of a request hold a member of its operation: the place of each, its lower-case name, and the
    member; None for user metadata."""
    known, found = OPERATIONS[operation], []
    for place, name in enumerate(names):
        low = name.lower()
        member = known.headers.get(low)
        if member is not None or (low.startswith(METADATA) and known.metadata):
            found.append((place, low, member))
    return tuple(found)


@lru_cache(maxsize=MAX_REMEMBERED)
def _bucket(text: str) -> str:
    """The bucket that the first part of a path names."""
    return _checked(_unquote(text))


def _checked(bucket: str) -> str:
    if bucket and not BUCKET.fullmatch(bucket):
        raise S3Error("InvalidBucketName", "The specified bucket is not valid.", details={"BucketName": bucket})
    return bucket


# Of one request, the router, the presigned time and the allow-list of members each look at the same query.
@lru_cache(maxsize=16)
def query(text: str) -> tuple[tuple[str, str], ...]:
    """Names and values of a query as sent, in order. Raises S3Error InvalidURI."""
    pairs = []
    is_plain = text.isascii() and "+" not in text
    for part in text.split("&"):
        if is_plain and part and "%" not in part:
            name, _, value = part.partition("=")
            pairs.append((name, value))
        elif part:
            name, _, value = part.replace("+", " ").partition("=")
            pairs.append((_unquote(name), _unquote(value)))
    return tuple(pairs)


def copy_source(source: object) -> tuple[str, str] | None:
    """Bucket and key that a copy reads; None where the call is no copy.

    As S3 does, it is decoded once and then split, so that the slash between the two may be encoded as well. Raises
    S3Error InvalidArgument where it names no key, or has a query that is no version: stores read that in two ways.
    """
    if not isinstance(source, str) or not source:
        return None
    path, _, query = source.partition("?")
    try:
        bucket, _, key = unquote(path, errors="strict").removeprefix("/").partition("/")
    except UnicodeDecodeError:
        bucket = key = ""
    if not bucket or not key or not VERSION.fullmatch(query):
        raise S3Error(
            "InvalidArgument",
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
            details={"ArgumentName": "x-amz-copy-source", "ArgumentValue": source},
        )
    return bucket, key


def request(wire: Wire, domains: Sequence[str]) -> tuple[Operation | None, dict[str, Any]]:
    """The operation that a request asks for, and its members but for the document.

    The operation is None where the model does not know it, or where a query member is there twice; Bucket and Key are
    there whenever they are named. Headers that a presigned URL carries in its query count as headers. ContentEncoding
    and ContentLength are the object's, not those of aws-chunked. Raises S3Error InvalidURI or InvalidArgument.
    """
    bucket, key = target(wire, domains)
    params: dict[str, Any] = {}
    if bucket:
        params["Bucket"] = bucket
    if key:
        params["Key"] = key
    headers = wire.headers
    names: dict[str, str] = {}
    if wire.query:
        pairs = query(wire.query)
        for name, value in pairs:
            names.setdefault(name, value)
        if len(names) != len(pairs):
            return None, params
    operation = route(wire.method, bucket, key, names, headers)
    if operation is None:
        return None, params
    if operation.level == "service":
        params.clear()
    metadata: dict[str, str] = {}
    values = tuple(headers.values())
    for place, low, member in _carried(operation.name, wire.names):
        if member is not None:
            _take(params, member, values[place])
        else:
            _take_metadata(metadata, low, values[place])
    presigned = "X-Amz-Signature" in names
    for name, value in names.items():
        member = operation.query.get(name)
        if member is not None:
            if CONTROL.search(value) and name.startswith("response-"):
                raise _invalid_argument(name, value)
            _take(params, member, value)
        elif presigned and hoisted(name) and (low := name.lower()) not in headers:
            if CONTROL.search(value):
                raise _invalid_argument(name, value)
            member = operation.headers.get(low)
            if member is not None:
                _take(params, member, value)
            elif low.startswith(METADATA) and operation.metadata:
                _take_metadata(metadata, low, value)
    if metadata:
        params["Metadata"] = metadata
    if "ContentEncoding" in params:
        _unchunk(params, headers)
    return operation, params


def input_xml(operation: Operation, data: bytes) -> dict[str, Any]:
    """The document of a request as members to add to its params: `{"Delete": {"Objects": [...]}}`.

    Elements that the model does not know are left out; `understood` names them. Raises S3Error MalformedXML for
    what is no XML, has a document type, goes beyond the bounds or is another document.
    """
    return understood(operation, data)[0]


def understood(operation: Operation, data: bytes) -> tuple[dict[str, Any], list[str]]:
    """The members that a document gives, and its outermost elements that the model does not know."""
    steps = input_steps(operation, data)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: tuple[dict[str, Any], list[str]] = end.value
            return found


def response(operation: Operation | str, status: int, headers: AnyHeaders, body: bytes) -> dict[str, Any]:
    """The members of a remote's success; of a streaming operation those in its headers.

    Raises the S3Error of an error that comes with status 200, as copies and Complete have it, and NotS3 for a document
    that cannot be read.
    """
    if isinstance(operation, str):
        operation = OPERATIONS[operation]
    result: dict[str, Any] = {}
    metadata: dict[str, str] = {}
    known = operation.response_headers
    for name, value in headers.items():
        low = name.lower()
        member = known.get(low)
        if member is not None:
            # A remote's oddities are not the client's: an unreadable header is as good as none.
            _take(result, member, value, strict=False)
        elif low.startswith(METADATA) and operation.response_metadata:
            _take_metadata(metadata, low, value)
    if operation.response_metadata:
        result["Metadata"] = metadata
    payload = operation.response_payload
    if payload is None or operation.streaming_output or not body:
        return result
    if payload.shape.kind == "string":
        result[payload.name] = body.decode("utf-8", "replace")
        return result
    document = Document(payload.shape, text_root=operation.text_root)
    try:
        document.read(body, RESPONSE_BYTES, RESPONSE_ELEMENTS)
    except ValueError as unreadable:
        raise NotS3(
            f"The remote's answer {status} to {operation.name} cannot be read: {unreadable}", answered=status
        ) from unreadable
    if document.root == "Error":
        inside = error(500, headers, body)
        inside.unknown = True
        raise inside
    if payload.name:
        result[payload.name] = document.value
    else:
        result.update(document.value)
    return result


def is_error(body: bytes) -> bool:
    """Whether a document is an S3 error: `<Error>` with a code in it."""
    return bool(_error_fields(body).get("Code", "").strip())


def _error_fields(body: bytes) -> dict[str, str]:
    """The elements of an error document; none where it is something else."""
    if body.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"<":
        document = Document(None)
        with contextlib.suppress(ValueError):
            document.read(body, REQUEST_BYTES, REQUEST_ELEMENTS)
            if document.root == "Error":
                return document.value
    return {}


def error(status: int, headers: AnyHeaders, body: bytes) -> S3Error:
    """The error of a remote's response; its code comes from the status where there is no document."""
    fields = _error_fields(body)
    return S3Error(
        fields.get("Code", "")[:MAX_CODE] or CODES.get(status) or ("InternalError" if status >= 500 else "BadRequest"),
        fields.get("Message", "")[:MAX_MESSAGE] or f"The remote answered with status {status}",
        status=status,
        headers={name: value for name, value in headers.items() if name.lower() in ERROR_HEADERS},
        details={name: value for name, value in fields.items() if name not in OWN_ELEMENTS},
    )


def unknown_members(wire: Wire, operation: Operation | None, understood: Iterable[str]) -> list[str]:
    """Names of what a request says and `understood` (lower-case names on the wire) does not hold, for SEMANTICS Q-17.

    An entry of `understood` that ends in a dash is a prefix. What stands there twice, and a header that comes in the
    query, is never understood. The operation's own address is.
    """
    understood = frozenset(understood)
    called = "" if operation is None else operation.name
    found = list(_unknown_headers(called, wire.names, understood))
    if wire.query:
        found += _unknown_in_query(called, next(zip(*query(wire.query), strict=True), ()), understood)
    return list(dict.fromkeys(found)) if len(found) > 1 else found


@lru_cache(maxsize=MAX_REMEMBERED)
def _unknown_headers(operation: str, names: tuple[str, ...], understood: frozenset[str]) -> tuple[str, ...]:
    """What `unknown_members` says of the headers, of which a name that is there twice is in `names` twice."""
    known: Mapping[str, Member] = OPERATIONS[operation].headers if operation else {}
    prefixes = tuple(name for name in understood if name.endswith("-"))
    found: dict[str, None] = {}
    seen: set[str] = set()
    for name in names:
        low = name.lower()
        if low not in seen and (low in understood or low in MEANINGLESS or low.startswith(prefixes)):
            seen.add(low)
        elif low in known or low.startswith(MEANINGFUL_PREFIXES) or low in MEANINGFUL:
            found[low] = None
    return tuple(found)


@lru_cache(maxsize=MAX_REMEMBERED)
def _unknown_in_query(operation: str, names: tuple[str, ...], understood: frozenset[str]) -> tuple[str, ...]:
    """The same of the names in a query."""
    literals: Mapping[str, str] = OPERATIONS[operation].literals if operation else {}
    found: dict[str, None] = {}
    seen: set[str] = set()
    for name in names:
        low = name.lower()
        if name in seen or hoisted(name) or not (neutral(name) or name in literals or low in understood):
            found[low] = None
        seen.add(name)
    return tuple(found)


def input_steps(operation: Operation, data: bytes) -> Generator[None, None, tuple[dict[str, Any], list[str]]]:
    """What `understood` answers, a piece of the document between two yields."""
    payload = operation.payload
    if payload is None or operation.streaming_input or not data:
        return {}, []
    if payload.shape.kind == "string":
        try:
            return {payload.name: data.decode()}, []
        except UnicodeDecodeError:
            raise S3Error("InvalidArgument", f"The {payload.name} is not UTF-8") from None
    document = Document(payload.shape)
    try:
        yield from document.steps(data, REQUEST_BYTES, REQUEST_ELEMENTS)
        if document.root != payload.wire:
            raise ValueError(f"its root is {document.root}, not {payload.wire}")  # noqa: TRY301
    except ValueError as unreadable:
        raise S3Error(
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published schema",
            hint=str(unreadable),
        ) from unreadable
    return {payload.name: document.value} if payload.name else document.value, document.unknown


def _take(params: dict[str, Any], member: Member, value: str, *, strict: bool = True) -> None:
    parse = member.shape.parse
    if parse is None:
        return
    if parse is str:
        # A header that is there twice is one list (RFC 9110, 5.3).
        params[member.name] = f"{params[member.name]},{value}" if member.name in params else value
        return
    try:
        params[member.name] = parse(value)
    except ValueError:
        # A condition with an unreadable date does not count (RFC 9110, 13.1.3).
        if strict and not (member.shape.kind == "timestamp" and "If" in member.name):
            raise _invalid_argument(member.wire, value) from None


def _take_metadata(metadata: dict[str, str], low: str, value: str) -> None:
    name = low[len(METADATA) :]
    metadata[name] = f"{metadata[name]},{value}" if name in metadata else value


def _unchunk(params: dict[str, Any], headers: AnyHeaders) -> None:
    if "aws-chunked" not in params["ContentEncoding"].lower():
        return
    if rest := chunked.codings([params["ContentEncoding"]]):
        params["ContentEncoding"] = rest
    else:
        del params["ContentEncoding"]
    decoded = headers.get("x-amz-decoded-content-length", "")
    with contextlib.suppress(ValueError):
        params["ContentLength"] = integer(decoded)


def _unquote(text: str) -> str:
    if "%" not in text and text.isascii():
        return text
    if BAD_ESCAPE.search(text):
        raise _invalid_uri(text)
    try:
        # The server hands bytes that are no UTF-8 over as lone surrogates.
        return unquote_to_bytes(text.encode("utf-8", "surrogateescape")).decode()
    except UnicodeError:
        raise _invalid_uri(text) from None


def _invalid_uri(text: str) -> S3Error:
    return S3Error("InvalidURI", "Couldn't parse the specified URI.", details={"URI": ascii(text)[1:-1]})


def _invalid_argument(name: str, value: str) -> S3Error:
    return S3Error(
        "InvalidArgument", f"The value of {name} cannot be read", details={"ArgumentName": name, "ArgumentValue": value}
    )
