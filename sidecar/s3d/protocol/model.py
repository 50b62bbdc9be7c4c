"""The operations of S3 as botocore's model has them, compiled to what decoding and encoding need.

The model is read from the installed botocore, without its documentation strings; deviations are rows of quirks.json,
and the class of each operation is in classes.py. Loading happens once, at import. A request that no operation of the
model matches in every one of its query names is unknown, never "the nearest one": on many servers a sub-resource that
they do not know is a plain write.
"""

import gzip
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from s3d.protocol.classes import CLASSES, Class

__all__ = ["OPERATIONS", "Class", "Member", "Operation", "Shape", "hoisted", "neutral", "route"]

XSI = "http://www.w3.org/2001/XMLSchema-instance"
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
MONTH_NUMBERS = {name: number for number, name in enumerate(MONTHS, 1)}
MAX_INTEGER = (1 << 63) - 1
"""The largest number of S3, and of SQLite."""
MAX_DIGITS = len(str(MAX_INTEGER))

# Query members that say who asks, until when, or for which tool, and nothing about what is asked. Version 2 signatures
# of boto3 repeat two headers in the query.
SIGNATURE = frozenset(
    [
        "x-amz-algorithm",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-expires",
        "x-amz-signedheaders",
        "x-amz-signature",
        "x-amz-security-token",
        "x-amz-content-sha256",
        # Of the body that was there when a URL was signed: none, mostly. S3 does not look at them in a query.
        "x-amz-sdk-checksum-algorithm",
        *(
            f"x-amz-checksum-{name}"
            for name in "crc32 crc32c crc64nvme md5 sha1 sha256 sha512 xxhash64 xxhash3 xxhash128".split()
        ),
    ]
)
SIGNATURE_V2 = frozenset(["AWSAccessKeyId", "Signature", "Expires", "content-md5", "content-type"])


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """A type of the model. `parse` and `format` are there for everything that is one piece of text on the wire."""

    kind: str
    parse: Callable[[str], Any] | None = None
    format: Callable[[Any], str] | None = None
    members: Mapping[str, "Member"] = field(default_factory=dict)
    """Of a structure: by member name."""
    elements: Mapping[str, "Member"] = field(default_factory=dict)
    """Of a structure: by element name."""
    attributes: tuple["Member", ...] = ()
    """Of a structure: what is written as attributes of its element."""
    item: "Shape | None" = None
    """Of a list."""
    item_name: str = ""
    flattened: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A named part of a request or response."""

    name: str
    """botocore's name; "" for a document whose members stand directly among the others."""
    wire: str
    """Name of the header (as the model writes it), the query member, the element or the attribute."""
    location: str
    """header, headers (a prefix), querystring, uri; "" for the document."""
    shape: Shape
    required: bool = False
    namespace: str = ""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Operation:
    """One operation and everything that decoding and encoding it needs."""

    name: str
    method: str
    level: str
    """service, bucket or object."""
    klass: Class
    http_status: int
    """Status of a success."""
    literals: Mapping[str, str]
    """Query members of its address: `uploads`, `list-type=2`."""
    query: Mapping[str, Member]
    """By name in the query."""
    headers: Mapping[str, Member]
    """By lower-case name of the header."""
    members: Mapping[str, Member]
    """Of the request: by member name."""
    metadata: Member | None
    required_query: frozenset[str]
    required_headers: frozenset[str]
    payload: Member | None
    """The request's document or bytes."""
    checksum_required: bool
    streaming_input: bool
    streaming_output: bool
    response_headers: Mapping[str, Member]
    """By lower-case name of the header."""
    response_members: Mapping[str, Member]
    """Of the response, those in headers: by member name."""
    response_metadata: Member | None
    response_payload: Member | None
    text_root: bool
    """Whether the root element of the response holds the only value itself."""

    def __repr__(self) -> str:
        return f"<{self.name}>"


# Both are asked of every name of every query, by several: clients use the same few names.
@lru_cache(maxsize=512)
def hoisted(name: str) -> bool:
    """Whether a query member is a header that a presigned URL carries (`X-Amz-Acl`, `x-amz-meta-a`)."""
    low = name.lower()
    return low.startswith("x-amz-") and low not in SIGNATURE


@lru_cache(maxsize=512)
def neutral(name: str) -> bool:
    """Whether a query member says nothing about what is asked."""
    return name == "x-id" or name in SIGNATURE_V2 or name.lower() in SIGNATURE


def route(method: str, bucket: str, key: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Operation | None:
    """Find the operation that a request asks for; None for one that the model does not know.

    `query` holds decoded names and values, `headers` must ignore case.
    """
    level = "object" if key else "bucket" if bucket else "service"
    if bucket == "WriteGetObjectResponse" and level == "bucket" and method == "POST":
        level = "service"
    group = _GROUPS.get((method, level))
    if group is None:
        return None
    names, lifted = [], set()
    for name in query:
        if hoisted(name):
            lifted.add(name.lower())
        elif not neutral(name):
            names.append(name)
    if not names:
        for operation in group.get("", ()):
            needed = operation.required_headers
            if not operation.required_query and (
                not needed or all(name in headers or name in lifted for name in needed)
            ):
                return operation
        return None
    for literal in (*[name for name in names if name in group], ""):
        for operation in group.get(literal, ()):
            if (
                all(name in operation.query or name in operation.literals for name in names)
                and operation.required_query.issubset(names)
                and all(
                    not value or query[name] == value for name, value in operation.literals.items() if name in query
                )
                and operation.literals.keys() <= query.keys()
                and all(name in headers or name in lifted for name in operation.required_headers)
            ):
                return operation
    return None


def integer(text: str) -> int:
    """Read a decimal number of 64 bits. Raises ValueError on all else that int() takes: underscores, other scripts'
    digits, numbers that no table keeps."""
    if len(text) < MAX_DIGITS and text.isascii() and text.isdigit():
        return int(text)  # as most are
    text = text.strip()
    if not text.isascii() or not text.removeprefix("-").isdigit():
        raise ValueError(f"{text[:40]!r} is no number")
    number = saturated(text.removeprefix("-"))
    if number > MAX_INTEGER:
        raise ValueError(f"{text[:40]!r} is too large")
    return -number if text.startswith("-") else number


def saturated(digits: str) -> int:
    """A number in decimal digits, however many: one beyond all that can be counted stands for what is larger still."""
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) <= MAX_DIGITS else MAX_INTEGER + 1


def boolean(text: str) -> bool:
    """Read `true` or `false` in any case. Raises ValueError."""
    low = text.strip().lower()
    if low not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return low == "true"


def timestamp(text: str) -> datetime:
    """Read an HTTP date (RFC 9110, 5.6.7) or an ISO 8601 one, as UTC. Raises ValueError."""
    text = text.strip()
    if len(text) == 29 and text.endswith(" GMT") and (month := MONTH_NUMBERS.get(text[8:11])):
        parts = (text[12:16], text[5:7], text[17:19], text[20:22], text[23:25])
        year, day, hour, minute, second = map(integer, parts)
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    try:
        read = datetime.fromisoformat(text) if text[:4].isdigit() else parsedate_to_datetime(text)
        # Not every moment of another zone is one of UTC.
        return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)
    except (TypeError, IndexError, OverflowError) as error:
        raise ValueError(f"{text[:40]!r} is no date") from error


def http_date(moment: datetime | float | str) -> str:
    """Write a date, or a Unix time, as headers have it (RFC 9110, 5.6.7)."""
    if isinstance(moment, str):
        return moment
    return _http_date(math.floor(moment.timestamp()) if isinstance(moment, datetime) else int(moment))


@lru_cache(maxsize=256)
def _http_date(second: int) -> str:
    """The date of a second; many objects bear the same."""
    t = datetime.fromtimestamp(second, UTC)
    return (
        f"{DAYS[t.weekday()]}, {t.day:02} {MONTHS[t.month - 1]} {t.year:04} {t.hour:02}:{t.minute:02}:{t.second:02} GMT"
    )


def iso_date(moment: datetime | str) -> str:
    """Write a date as documents have it: ISO 8601 in UTC with milliseconds."""
    if isinstance(moment, str):
        return moment
    return moment.astimezone(UTC).isoformat("T", "milliseconds").removesuffix("+00:00") + "Z"


def _comma_separated(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _lower(value: Any) -> str:
    return str(value).lower()


SCALARS: Mapping[str, tuple[Callable[[str], Any], Callable[[Any], str]]] = {
    "string": (str, str),
    "verbatim": (str, http_date),
    "integer": (integer, str),
    "long": (integer, str),
    "boolean": (boolean, _lower),
    "rfc822": (timestamp, http_date),
    "iso8601": (timestamp, iso_date),
}


class _Compiler:
    """Turns the model's JSON into Operations; gone once they are made."""

    def __init__(self, model: Mapping[str, Any], quirks: Iterable[Mapping[str, Any]]) -> None:
        self.shapes = model["shapes"]
        self.operations = model["operations"]
        self.quirks: dict[str, dict[str, str]] = {}
        for row in quirks:
            self.quirks.setdefault(row["set"], {}).update(row["of"])
        self.done: dict[tuple[str, str, bool], Shape] = {}

    def shape(self, name: str, dates: str, *, flattened: bool = False) -> Shape:
        """Compile a shape; `dates` is the format of the dates whose shape does not name one."""
        known = self.done.get((name, dates, flattened))
        if known is not None:
            return known
        raw = self.shapes[name]
        kind = self.quirks["type"].get(name, raw["type"])
        if kind == "structure":
            members = [self.member(n, m, raw) for n, m in raw["members"].items() if "location" not in m]
            made = Shape(
                kind,
                members={m.name: m for m in members},
                elements={m.wire: m for m in members},
                attributes=tuple(m for m in members if m.location == "attribute"),
            )
        elif kind == "list":
            inner = raw["member"]
            item = self.shape(inner["shape"], dates)
            made = Shape(
                kind,
                parse=_comma_separated if dates == "rfc822" else None,
                format=",".join if dates == "rfc822" else None,
                item=item,
                item_name=inner.get("locationName", "member"),
                flattened=flattened or raw.get("flattened", False),
            )
        elif kind in ("map", "blob"):
            made = Shape(kind)
        else:
            scalar = SCALARS[raw.get("timestampFormat", dates) if kind == "timestamp" else kind]
            made = Shape(kind, *scalar)
        self.done[name, dates, flattened] = made
        return made

    def member(self, name: str, raw: Mapping[str, Any], parent: Mapping[str, Any]) -> Member:
        """Compile a member of the structure `parent`."""
        location = raw.get("location", "attribute" if raw.get("xmlAttribute") else "")
        dates = "rfc822" if location == "header" else "iso8601"
        return Member(
            name,
            raw.get("locationName", name),
            location,
            self.shape(raw["shape"], dates, flattened=raw.get("flattened", False)),
            required=name in parent.get("required", ()),
            namespace=raw.get("xmlNamespace", {}).get("uri", ""),
        )

    def payload(self, shape: Mapping[str, Any], root: str, namespace: str = "") -> Member | None:
        """The document or the bytes of a request or response."""
        name = shape.get("payload")
        if name:
            member = self.member(name, shape["members"][name], shape)
            raw = shape["members"][name]
            inner = self.shapes[raw["shape"]]
            wire = raw.get("locationName", inner.get("locationName", raw["shape"]))
            return Member(name, wire, "", member.shape, member.required, member.namespace)
        rest = {n: m for n, m in shape["members"].items() if "location" not in m}
        if not rest:
            return None
        members = [self.member(n, m, shape) for n, m in rest.items()]
        document = Shape("structure", members={m.name: m for m in members}, elements={m.wire: m for m in members})
        return Member("", root, "", document, namespace=namespace)

    def located(self, shape: Mapping[str, Any]) -> list[Member]:
        """The members outside of the document."""
        return [self.member(n, m, shape) for n, m in shape["members"].items() if "location" in m]

    def operation(self, name: str) -> Operation:
        """Compile one operation."""
        raw = self.operations[name]
        path, _, query = raw["http"]["requestUri"].partition("?")
        given = raw.get("input", {})
        taken = self.shapes[given["shape"]] if given else {"members": {}}
        answer = raw.get("output", {})
        returned = self.shapes[answer["shape"]] if answer else {"members": {}}
        members = self.located(taken)
        results = self.located(returned)
        payload = self.payload(taken, given.get("locationName", ""), given.get("xmlNamespace", {}).get("uri", ""))
        root = answer.get("shape", "").removesuffix("Output").removesuffix("Result") + "Result"
        text_root = name in self.quirks["text"]
        root = self.quirks["text"].get(name) or self.quirks["root"].get(name, root)
        response = self.payload(returned, root)
        return Operation(
            name=name,
            method=raw["http"]["method"],
            level="object" if "{Key+}" in path else "bucket" if "{Bucket}" in path else "service",
            klass=CLASSES[name],
            http_status=raw["http"].get("responseCode", 200),
            literals=dict(part.partition("=")[::2] for part in query.split("&") if part),
            query={m.wire: m for m in members if m.location == "querystring"},
            headers={m.wire.lower(): m for m in members if m.location == "header"},
            members={m.name: m for m in members},
            metadata=next((m for m in members if m.location == "headers"), None),
            required_query=frozenset(m.wire for m in members if m.location == "querystring" and m.required),
            required_headers=frozenset(m.wire.lower() for m in members if m.location == "header" and m.required),
            payload=payload,
            checksum_required=raw.get("httpChecksum", {}).get("requestChecksumRequired", False),
            streaming_input=payload is not None and payload.shape.kind == "blob",
            streaming_output=response is not None and (response.shape.kind == "blob" or self.is_event_stream(returned)),
            response_headers={m.wire.lower(): m for m in results if m.location == "header"},
            response_members={m.name: m for m in results if m.location == "header"},
            response_metadata=next((m for m in results if m.location == "headers"), None),
            response_payload=response,
            text_root=text_root,
        )

    def is_event_stream(self, shape: Mapping[str, Any]) -> bool:
        """Whether a response is a stream of events."""
        name = shape.get("payload")
        return bool(name and self.shapes[shape["members"][name]["shape"]].get("eventstream"))


def _without_documentation(value: dict[str, Any]) -> dict[str, Any]:
    # A member may itself be called documentation; then it is a mapping.
    if isinstance(value.get("documentation"), str):
        del value["documentation"]
    return value


def _load() -> Mapping[str, Operation]:
    folder = resources.files("botocore").joinpath("data/s3/2006-03-01")
    packed = folder.joinpath("service-2.json.gz")
    text = gzip.decompress(packed.read_bytes()) if packed.is_file() else folder.joinpath("service-2.json").read_bytes()
    model = json.loads(text, object_hook=_without_documentation)
    quirks = json.loads(resources.files(__package__ or "").joinpath("quirks.json").read_bytes())
    compiler = _Compiler(model, quirks)
    return MappingProxyType({name: compiler.operation(name) for name in model["operations"] if name in CLASSES})


def _group(operations: Iterable[Operation]) -> dict[tuple[str, str], dict[str, list[Operation]]]:
    """Operations by method and level and by the first query member of their address, the most demanding first."""
    groups: dict[tuple[str, str], dict[str, list[Operation]]] = {}
    for operation in operations:
        literal = next(iter(operation.literals), "")
        groups.setdefault((operation.method, operation.level), {}).setdefault(literal, []).append(operation)
    for group in groups.values():
        for candidates in group.values():
            candidates.sort(key=_rank)
    return groups


def _rank(operation: Operation) -> tuple[int, bool, str]:
    demands = len(operation.literals) + len(operation.required_query) + len(operation.required_headers)
    return -demands, operation.name in DEPRECATED, operation.name


# Of two operations with one address, these are not meant: the newer name is the same request.
DEPRECATED = frozenset(
    [
        "GetBucketLifecycle",
        "PutBucketLifecycle",
        "GetBucketNotification",
        "PutBucketNotification",
        "ListDirectoryBuckets",
    ]
)
OPERATIONS: Mapping[str, Operation] = _load()
_GROUPS = _group(OPERATIONS.values())
