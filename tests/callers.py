"""A client without sockets: it asks an S3 as the door would, with a verified body, and reads the answer.

What comes back is botocore's member names and the bytes; an error status is raised as the S3Error that it says. With
`typed=True` it asks by the typed client, as a layer does.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

from multidict import CIMultiDict

from s3d.api import NO_TERMS, S3, AnyHeaders, Body, BytesBody, Call, Headers, Source, Terms, read_all
from s3d.client import Client
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
    source: Source = "remote"

    @property
    def etag(self) -> str:
        """The ETag, without quotes."""
        return str(self.result.get("ETag", "")).strip('"')


@dataclass(frozen=True, slots=True)
class Streamed(Body):
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
    identity: str = "",
    terms: Terms = NO_TERMS,
) -> Answer:
    """Ask on behalf of an identity, and read the whole answer. Raises S3Error."""
    if typed:
        said = await Client(s3, identity=identity).ask(operation, params, body_of(data))
        return Answer(said.status, dict(said.result), await read_all(said.body, LIMIT), said.headers, said.source)
    reply = await s3(replace(door_call(operation, params, data, headers or {}), identity=identity, terms=terms))
    length = reply.body.length if reply.body is not None else None
    content = await read_all(reply.body, LIMIT)
    if reply.status >= 300:
        raise decode.error(reply.status, reply.headers, content)
    result = decode.response(operation, reply.status, reply.headers, content)
    if operation == "HeadObject" and length is not None:
        # The door says the length of a body as a header.
        result["ContentLength"] = length
    return Answer(reply.status, result, content, reply.headers, reply.source)


def door_call(operation: str, params: dict[str, Any], data: bytes | None, headers: dict[str, str]) -> Call:
    """The call that the door would make of a client's request."""
    wire, document = encode.request(operation, params)
    said: Headers = CIMultiDict(wire.headers)
    if data is None and (document or OPERATIONS[operation].payload is not None):
        data = document
    said["Host"] = "localhost"
    said.update(headers)
    if data is not None:
        said["Content-Length"] = str(len(data))
    wire = replace(wire, headers=said)
    known, members = decode.request(wire, ())
    sent = body_of(data, replayable=False)
    body = None if sent is None else checksums.incoming(sent, wire)
    return Call(known.name if known else "", members, wire, body)
