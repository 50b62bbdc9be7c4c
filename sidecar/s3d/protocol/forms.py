"""A browser's form POST: its fields, its file as a body, and its policy (AWS: "Browser-Based Uploads Using POST").

No I/O. The form is read as it streams: the fields before the file are bounded, the file is never held, and its last
block is kept back until the form has proved whole and has no second file (as api.Body asks). A policy is judged by what
the form says and by nothing else; who signed it is not this module's business (SEMANTICS A-1).
"""

import base64
import binascii
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from s3d.api import Body, Wire
from s3d.errors import S3Error
from s3d.protocol.model import timestamp

MAX_BEFORE_FILE = 20 << 10
"""Bytes of all that comes before the file's content; AWS allows as many."""
MAX_AFTER_FILE = 20 << 10
MAX_PART_HEADERS = 8 << 10
BOUNDARY = re.compile(r"""boundary=(?:"([^"\r\n]{1,70})"|([^\s;,"]{1,70}))\s*(?:;|$)""", re.IGNORECASE)
PARAMETER = re.compile(r';\s*([\w*-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;\s]*)')
FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
DOLLAR = re.compile(r"\\(\\|\$)")
EXPIRATION = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", re.ASCII)
FILENAME = "${filename}"
# What a policy need not mention.
EXEMPT = frozenset(["x-amz-signature", "signature", "awsaccesskeyid", "file", "policy", "bucket"])
IGNORED = "x-ignore-"
SIGNATURES = ("signature", "x-amz-signature")
# Documents, which may have lines.
DOCUMENTS = frozenset(["policy", "tagging"])


@dataclass(frozen=True, slots=True)
class Form:
    """A form up to the content of its file."""

    fields: Mapping[str, str]
    """By lower-case name, variables expanded."""
    filename: str
    file: "FilePart"


@dataclass(frozen=True, slots=True)
class Policy:
    """What a form may say: until when, and under which conditions."""

    expiration: datetime
    conditions: tuple[tuple[str, str, str], ...]
    """Operator (`eq`, `starts-with`), lower-case name of the field, and value."""
    smallest: int = 0
    largest: int | None = None
    """Bytes of the file; None: any."""


class Reader:
    """Takes a stream of blocks apart at a delimiter, holding no more than it was told."""

    def __init__(self, body: Body, boundary: bytes) -> None:
        """Take the body; the first delimiter may stand at its very start."""
        self._blocks = body.chunks()
        self._delimiter = b"\r\n--" + boundary
        self._buffer = b"\r\n"
        self._read = 0
        self._ended = False

    def left(self, total: int) -> int:
        """How many of the body's bytes are not consumed yet."""
        return total - self._read + len(self._buffer)

    @property
    def ending(self) -> bytes:
        """What ends a form whose last part this is."""
        return self._delimiter + b"--\r\n"

    async def fill(self) -> bool:
        """Read on; False at the end."""
        block = b"" if self._ended else await anext(self._blocks, b"")
        self._ended = not block
        self._read += len(block)
        self._buffer += block
        return bool(block)

    async def until_delimiter(self, most: int) -> bytes:
        """What stands before the next delimiter, which is consumed. Raises S3Error when that is over `most` bytes."""
        parts: list[bytes] = []
        left = most
        async for block in self.content():
            left -= len(block)
            if left < 0:
                raise too_large()
            parts.append(block)
        return b"".join(parts)

    async def content(self) -> AsyncIterator[bytes]:
        """Yield what stands before the next delimiter, which is consumed. Raises S3Error at the end of the stream."""
        # A delimiter counts only with the line end or the two dashes behind it.
        tail = len(self._delimiter) + 2
        start = 0
        while True:
            found = self._buffer.find(self._delimiter, start)
            if found >= 0 and len(self._buffer) >= found + tail:
                if self._buffer[found + tail - 2 : found + tail] not in (b"\r\n", b"--"):
                    start = found + 1
                    continue
                block, self._buffer = self._buffer[:found], self._buffer[found + tail - 2 :]
                if block:
                    yield block
                return
            keep = found if found >= 0 else max(0, len(self._buffer) - tail)
            block, self._buffer = self._buffer[:keep], self._buffer[keep:]
            start = 0
            if block:
                yield block
            if not await self.fill():
                raise malformed("it ends before its last boundary")

    async def part(self, most: int) -> dict[str, str] | None:
        """The headers of the part that begins here, by lower-case name; None behind the last part."""
        while len(self._buffer) < 2 and await self.fill():
            pass
        if self._buffer[:2] == b"--":
            return None
        # A part without headers has an empty line at once.
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > most:
                raise too_large()
            if not await self.fill():
                raise malformed("it ends within the headers of a part")
        if end > most:
            raise too_large()
        lines, self._buffer = self._buffer[2:end], self._buffer[end + 4 :]
        headers: dict[str, str] = {}
        for line in lines.split(b"\r\n") if lines else ():
            name, colon, value = line.partition(b":")
            if not colon:
                raise malformed("a header of a part has no colon")
            headers[text_of(name).strip().lower()] = text_of(value).strip()
        return headers

    async def end(self, most: int) -> None:
        """Read what stands behind the last boundary, up to `most` bytes. Raises S3Error."""
        while True:
            most -= len(self._buffer)
            if most < 0:
                raise malformed("too much stands behind its last boundary")
            self._buffer = b""
            if not await self.fill():
                return


class FilePart(Body):
    """The content of the file in a form. Its length is not known before its end, unless `length` is set."""

    length: int | None = None

    def __init__(self, body: Body, reader: Reader) -> None:
        """Take the reader at the start of the content."""
        self._body = body
        self._reader = reader
        self.smallest = 0
        self.largest: int | None = None

    def presumed(self, total: int) -> int:
        """The length of the file if it is the last part of a form of `total` bytes. Ask before the first block."""
        return max(0, self._reader.left(total) - len(self._reader.ending))

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the content, the last block when the form has proved whole.

        Raises S3Error EntityTooLarge, EntityTooSmall, MalformedPOSTRequest, or InvalidArgument for a second file.
        """
        if start or end is not None:
            raise ValueError("a body that is being received can be read once, from its start")
        size = 0
        held = b""
        async for block in self._reader.content():
            size += len(block)
            if self.largest is not None and size > self.largest:
                raise S3Error(
                    "EntityTooLarge",
                    "Your proposed upload exceeds the maximum allowed size",
                    details={"ProposedSize": str(size), "MaxSizeAllowed": str(self.largest)},
                )
            if held:
                yield held
            held = block
        if size < self.smallest:
            raise S3Error(
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size",
                details={"ProposedSize": str(size), "MinSizeAllowed": str(self.smallest)},
            )
        await self._finish()
        if held:
            yield held

    async def _finish(self) -> None:
        """Read what stands behind the file: fields there do not count, another file is refused."""
        left = MAX_AFTER_FILE
        while (headers := await self._reader.part(min(max(left, 0), MAX_PART_HEADERS))) is not None:
            if disposition(headers)[0].lower() == "file":
                raise one_file()
            left -= 64 + len(await self._reader.until_delimiter(max(left, 0)))
        await self._reader.end(MAX_AFTER_FILE)

    async def aclose(self) -> None:
        """Close the body underneath."""
        await self._body.aclose()


def is_form(wire: Wire) -> bool:
    """Whether a request is a form POST, which names its key in its body."""
    return wire.method == "POST" and wire.headers.get("Content-Type", "").lower().startswith("multipart/form-data")


async def read(body: Body, content_type: str) -> Form:
    """Read a form up to the content of its file.

    Raises S3Error MalformedPOSTRequest, MaxPostPreDataLengthExceededError, or InvalidArgument where a field is there
    twice, cannot be a field, or there is no file.
    """
    match = BOUNDARY.search(content_type)
    if not match:
        raise malformed("its Content-Type names no boundary")
    reader = Reader(body, (match[1] or match[2]).encode())
    left = MAX_BEFORE_FILE - len(await reader.until_delimiter(MAX_BEFORE_FILE))
    fields: dict[str, str] = {}
    while (headers := await reader.part(min(max(left, 0), MAX_PART_HEADERS))) is not None:
        name, filename = disposition(headers)
        if name.lower() == "file":
            return Form(expanded(fields, filename), filename, FilePart(body, reader))
        value = text_of(await reader.until_delimiter(max(left, 0)))
        left -= len(name) + len(value.encode()) + 64
        if left < 0:
            raise too_large()
        take(fields, name.lower(), value)
    raise one_file()


def take(fields: dict[str, str], name: str, value: str) -> None:
    """Add a field. Raises S3Error InvalidArgument."""
    if not FIELD_NAME.fullmatch(name) or (name not in DOCUMENTS and CONTROL.search(value)):
        raise S3Error("InvalidArgument", f"The form field {name!r} cannot be read", details={"ArgumentName": name})
    if name in fields:
        raise S3Error("InvalidArgument", f"The form has the field {name} twice", details={"ArgumentName": name})
    fields[name] = value


def expanded(fields: Mapping[str, str], filename: str) -> dict[str, str]:
    """Put the name of the file where the fields say so."""
    return {
        name: value if name in DOCUMENTS or name in SIGNATURES else value.replace(FILENAME, filename)
        for name, value in fields.items()
    }


def disposition(headers: Mapping[str, str]) -> tuple[str, str]:
    """Name of a part, and the name of its file without the folders that some browsers send."""
    value = headers.get("content-disposition", "")
    found = {name.lower(): unquoted(text) for name, text in PARAMETER.findall(value)}
    if not value.lower().startswith("form-data") or "name" not in found:
        raise malformed("a part has no name")
    filename = re.split(r"[/\\]", found.get("filename", ""))[-1]
    if CONTROL.search(filename):
        raise malformed("the name of the file has control characters")
    return found["name"], filename


def unquoted(text: str) -> str:
    """A parameter's value; only quotation marks are escaped by browsers, a backslash stands for itself."""
    return text[1:-1].replace('\\"', '"') if text.startswith('"') else text


def text_of(data: bytes) -> str:
    """Text of a form. Raises S3Error."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise malformed("it is not UTF-8") from None


def policy(text: str) -> Policy:
    """Read a policy as a form carries it. Raises S3Error InvalidPolicyDocument."""
    try:
        # `\$` is AWS's own escape, which JSON does not have.
        raw = base64.b64decode("".join(text.split()), validate=True).decode()
        document = json.loads(DOLLAR.sub(lambda match: "$" if match[1] == "$" else match[0], raw))
    except (binascii.Error, ValueError, RecursionError):
        raise invalid("it is no JSON in base64") from None
    if not isinstance(document, dict) or not isinstance(document.get("expiration"), str):
        raise invalid("it has no expiration")
    if not EXPIRATION.fullmatch(document["expiration"]):
        raise invalid("its expiration is not written as 2030-12-01T12:00:00.000Z")
    if not isinstance(document.get("conditions"), list):
        raise invalid("it has no list of conditions")
    try:
        expiration = timestamp(document["expiration"])
    except ValueError:
        raise invalid("its expiration is no date") from None
    conditions: list[tuple[str, str, str]] = []
    smallest, largest = 0, None
    for condition in document["conditions"]:
        match condition:
            case dict() if condition and all(isinstance(value, str) for value in condition.values()):
                conditions += [("eq", name.lower(), value) for name, value in condition.items()]
            case [str(operator), str(name), str(value)] if operator.lower() in (
                "eq",
                "starts-with",
            ) and name.startswith("$"):
                conditions.append((operator.lower(), name[1:].lower(), value))
            case [str(operator), low, high] if operator.lower() == "content-length-range":
                bounds = [bound(low), bound(high)]
                smallest = max(smallest, bounds[0])
                largest = bounds[1] if largest is None else min(largest, bounds[1])
            case _:
                raise invalid(f"a condition cannot be read: {json.dumps(condition)[:200]}")
    return Policy(expiration, tuple(conditions), smallest, largest)


def bound(value: Any) -> int:
    """A number of bytes in a condition. Raises S3Error."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:20])
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise invalid("content-length-range needs two numbers that are not negative")
    return value


def judge(policy: Policy, fields: Mapping[str, str], bucket: str, now: datetime) -> None:
    """Hold a form against its policy: in time, every condition met, no field that none mentions.

    Raises S3Error AccessDenied (403).
    """
    if now >= policy.expiration:
        raise denied("Policy expired.")
    said = {**fields, "bucket": bucket}
    for operator, name, wanted in policy.conditions:
        value = said.get(name, "")
        if not (value == wanted if operator == "eq" else fits(name, value, wanted)):
            raise denied(f'Policy Condition failed: ["{operator}", "${name}", "{wanted}"]')
    covered = {name for _, name, _ in policy.conditions}
    if "bucket" not in covered:
        raise denied("no condition names the bucket")
    extra = sorted(name for name in fields if name not in covered | EXEMPT and not name.startswith(IGNORED))
    if extra:
        raise denied(f"Extra input fields: {', '.join(extra)}")


def fits(name: str, value: str, wanted: str) -> bool:
    """Whether a value starts as wanted; of a list of content types, each does."""
    values: Sequence[str] = value.split(",") if name == "content-type" else (value,)
    return all(one.strip().startswith(wanted) for one in values)


def malformed(why: str) -> S3Error:
    """The answer to what is no form."""
    return S3Error(
        "MalformedPOSTRequest", "The body of your POST request is not well-formed multipart/form-data.", hint=why
    )


def too_large() -> S3Error:
    """The answer to fields that are larger than allowed."""
    return S3Error(
        "MaxPostPreDataLengthExceededError",
        "Your POST request fields preceding the upload file were too large.",
        details={"MaxPostPreDataLengthBytes": str(MAX_BEFORE_FILE)},
    )


def one_file() -> S3Error:
    """The answer to a form with no file, or more than one."""
    return S3Error(
        "InvalidArgument", "POST requires exactly one file upload per request.", details={"ArgumentName": "file"}
    )


def invalid(why: str) -> S3Error:
    """The answer to a policy that cannot be read."""
    return S3Error("InvalidPolicyDocument", f"The content of the form does not meet its policy's form: {why}")


def denied(why: str) -> S3Error:
    """The answer to a form that its policy does not allow."""
    return S3Error("AccessDenied", f"Invalid according to Policy: {why}", status=403)
