"""Answers to GetObject and HeadObject from a pending put: the object as the remote will show it (SEMANTICS R-1).

Pure but for the body it is given. Conditions and ranges are judged by `protocol/conditions.py`.
"""

import functools
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from multidict import CIMultiDict

from s3d.api import Body, Headers, Reply, Send
from s3d.errors import S3Error
from s3d.layers.queue.rows.changes import Change
from s3d.layers.queue.rows.uploads import Part
from s3d.layers.queue.rules import limits, tags
from s3d.layers.queue.rules.allowlist import CHECKSUMS, CONTENT, DEFAULT_TYPE, ENCRYPTION, SHOWN
from s3d.protocol import conditions, encode
from s3d.protocol.headers import METADATA
from s3d.protocol.model import OPERATIONS, http_date

RESPONSE_HEADERS = OPERATIONS["HeadObject"].response_headers
# S3 does not say which class an object is in where it is the usual one.
UNSHOWN = frozenset(["STANDARD", ""])


@dataclass(slots=True)
class RangeBody(Body):
    """A stretch of another body that can be replayed."""

    body: Body
    start: int
    end: int
    replayable: bool = True

    @property
    def length(self) -> int:
        """Length in bytes."""
        return self.end - self.start

    def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the stretch, or a part of it."""
        return self.body.chunks(self.start + start, self.end if end is None else min(self.end, self.start + end))

    @property
    def send(self) -> Send | None:
        """Sends the stretch, or a part of it, to a socket, where the body lies in a file."""
        return None if self.body.send is None else functools.partial(self._send, self.body.send)

    async def _send(self, send: Send, socket: int, start: int = 0, end: int | None = None) -> None:
        await send(socket, self.start + start, self.end if end is None else min(self.end, self.start + end))

    async def verify(self, start: int = 0, end: int | None = None) -> None:
        """Check what the stretch is cut from. Raises CorruptBody and StoreFailed."""
        await self.body.verify(self.start + start, self.end if end is None else min(self.end, self.start + end))

    async def aclose(self) -> None:
        """Let go of the body."""
        await self.body.aclose()


def answer(
    operation: str,
    params: dict[str, Any],
    change: Change,
    open_body: Callable[[], Body],
    parts: Sequence[Part] = (),
    encryption: str = "",
) -> Reply:
    """Answer GetObject or HeadObject from a pending put. `open_body` is called only where bytes are sent.

    `parts` are those of a completed upload, where the client asks for one of them; `encryption` is what the bucket does
    to an object that does not say itself how it is encrypted.
    Raises S3Error InvalidArgument (400), PreconditionFailed (412), InvalidRange (416) or InvalidPartNumber (416).
    """
    number = params.get("PartNumber")
    if number is not None:
        limits.check_part_number(number)
    headers = describe(change)
    if encryption:
        headers.setdefault(ENCRYPTION, encryption)
    judged = judge(params, change)
    if judged is not None:
        shown: Headers = CIMultiDict((name, headers[name]) for name in conditions.NOT_MODIFIED if name in headers)
        return Reply(judged, shown, source="queue")
    conditions.override(headers, params)
    status, start, end = 200, 0, change.size
    sums = {name: value for name, value in change.members.items() if name in CHECKSUMS}
    if number is not None:
        if number > max(1, len(parts)):
            raise S3Error("InvalidPartNumber", "The requested partnumber is not satisfiable", status=416)
        status = 206
        if parts:
            start = sum(part.size for part in parts[: number - 1])
            end = start + parts[number - 1].size
            headers["x-amz-mp-parts-count"] = str(len(parts))
            sums = {name: value for name, value in parts[number - 1].sums.items() if name in sums}
    elif (
        "Range" in params
        and conditions.unchanged(params.get("IfRange"), change.etag, change.acked_at)
        and (stretch := conditions.select(params["Range"], change.size)) is not None
    ):
        status, (start, end) = 206, stretch
    if status == 206:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{change.size}"
    whole = end - start == change.size
    if params.get("ChecksumMode") == "ENABLED" and sums and (whole or number is not None):
        headers.update(sums)
        headers["x-amz-checksum-type"] = change.members.get("x-amz-checksum-type", "FULL_OBJECT")
    if operation == "HeadObject":
        headers["Content-Length"] = str(end - start)
        return Reply(status, headers, source="queue")
    body = open_body()
    return Reply(status, headers, body if whole else RangeBody(body, start, end), source="queue")


ATTRIBUTES = frozenset(["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"])


def attributes(wanted: Iterable[str], change: Change) -> Reply | None:
    """Answer GetObjectAttributes from a pending put; None for what only the remote can say.

    That is a checksum that the client did not send (R-1), and an attribute that S3 does not know.
    """
    wanted = set(wanted)
    sums = {RESPONSE_HEADERS[name].name: value for name, value in change.members.items() if name in CHECKSUMS}
    if not wanted or wanted - ATTRIBUTES or ("Checksum" in wanted and not sums):
        return None
    result: dict[str, Any] = {
        "ETag": change.etag,
        "Checksum": {**sums, "ChecksumType": "FULL_OBJECT"},
        "StorageClass": change.members.get("x-amz-storage-class", "STANDARD"),
        "ObjectSize": change.size,
    }
    shown = {name: value for name, value in result.items() if name in wanted}
    return encode.reply("GetObjectAttributes", shown, {"Last-Modified": http_date(change.acked_at)})


def describe(change: Change) -> Headers:
    """The headers that describe a pending object."""
    headers: Headers = CIMultiDict()
    headers["ETag"] = f'"{change.etag}"'
    headers["Last-Modified"] = http_date(change.acked_at)
    headers["Accept-Ranges"] = "bytes"
    headers["Content-Type"] = DEFAULT_TYPE
    for name, value in change.members.items():
        if name in CONTENT:
            headers[name.title()] = value
        elif name.startswith(METADATA) or (name in SHOWN and value not in UNSHOWN):
            headers[name] = value
    if number := tags.count(change.members):
        headers["x-amz-tagging-count"] = str(number)
    return headers


def judge(params: dict[str, Any], change: Change) -> int | None:
    """Judge the conditions: None where they hold, 304, or S3Error PreconditionFailed."""
    if conditions.JUDGED.isdisjoint(params):
        return None
    return conditions.judge(params, change.etag, datetime.fromtimestamp(int(change.acked_at), UTC))
