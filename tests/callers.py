"""A client without sockets: it asks an S3 as the door would, with a wire and a verified body, and reads the answer.

What comes back is botocore's member names and the bytes; an error status is raised as the S3Error that it says. With
`typed=True` the call has no wire, as one that a layer makes.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from multidict import CIMultiDict

from s3d.api import S3, AnyHeaders, BytesBody, Call, Wire, read_all
from s3d.protocol import checksums, decode, encode
from s3d.protocol.model import OPERATIONS

BLOCK = 64 << 10
LIMIT = 64 << 20
"""Bytes of the largest answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A success."""

    status: int
    result: dict[str, Any]
    data: bytes = b""
    headers: AnyHeaders = field(default_factory=CIMultiDict)

    @property
    def etag(self) -> str:
        """The ETag, without quotes."""
        return str(self.result.get("ETag", "")).strip('"')


@dataclass(frozen=True, slots=True)
class Streamed:
    """A body that comes block by block, as that of a client or of a file."""

    data: bytes
    replayable: bool = False

    @property
    def length(self) -> int:
        """Length in bytes."""
        return len(self.data)

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the range in blocks."""
        part = self.data[start:end]
        for at in range(0, len(part), BLOCK):
            yield part[at : at + BLOCK]

    async def aclose(self) -> None:
        """Nothing to let go of."""


def body_of(data: bytes | None, *, replayable: bool = True) -> BytesBody | Streamed | None:
    """A body: a large one comes in blocks."""
    if data is None:
        return None
    return Streamed(data, replayable) if len(data) > BLOCK else BytesBody(data, replayable)


async def ask(
    s3: S3,
    operation: str,
    params: dict[str, Any],
    data: bytes | None = None,
    *,
    typed: bool = False,
    headers: dict[str, str] | None = None,
) -> Answer:
    """Ask and read the whole answer. Raises S3Error."""
    if typed:
        reply = await s3(Call(operation, params, body=body_of(data)))
        content = await read_all(reply.body, LIMIT)
        result = reply.result
        if result is None:
            result = decode.response(operation, reply.status, reply.headers, content)
        return Answer(reply.status, result, content, reply.headers)
    reply = await s3(door_call(operation, params, data, headers or {}))
    status, answered, body = reply.status, reply.headers, reply.body
    if reply.result is not None:
        status, encoded, document = encode.result(operation, reply.result)
        encoded.extend(answered)
        answered, body = encoded, BytesBody(document)
    length = body.length if body is not None else None
    content = await read_all(body, LIMIT)
    if status >= 300:
        raise decode.error(status, answered, content)
    result = decode.response(operation, status, answered, content)
    if operation == "HeadObject" and length is not None:
        # The door says the length of a body as a header.
        result["ContentLength"] = length
    return Answer(status, result, content, answered)


def door_call(operation: str, params: dict[str, Any], data: bytes | None, headers: dict[str, str]) -> Call:
    """The call that the door would make of a client's request."""
    method, path, query, said, document = encode.request(operation, params)
    if data is None and (document or OPERATIONS[operation].payload is not None):
        data = document
    said["Host"] = "localhost"
    said.update(headers)
    if data is not None:
        said["Content-Length"] = str(len(data))
    wire = Wire(
        method, f"/{quote(params.get('Bucket', ''), safe='-_.~')}{path if 'Key' in params else ''}", query, said
    )
    known, members = decode.request(wire, ())
    sent = body_of(data, replayable=False)
    body = None if sent is None else checksums.incoming(sent, wire)
    return Call(known.name if known else "", members, body=body, wire=wire)
