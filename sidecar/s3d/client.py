"""The typed client of any S3: a call by botocore's member names, and its answer in the same.

Every layer that has something to ask for itself asks by it, and so do the folder sync and the mount. A call is encoded
into a request first, so that an S3 meets one kind of call only. What is no success is raised: a status from 300 on, but
for those that the caller allows, and the answer to a HEAD that somebody else than the store may have given.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from multidict import CIMultiDict

from s3d.api import NO_TERMS, S3, Body, BytesBody, Call, Headers, Origin, Outcome, Reply, Source, Terms, read_all
from s3d.errors import NotS3, S3Error
from s3d.protocol import answers, checksums, decode, encode

DOCUMENT_LIMIT = 32 << 20
"""Bytes of the largest document that is read; a larger one is not S3's."""
BY_GET: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "HeadObject": ("GetObject", {"Range": "bytes=0-0"}),
    "HeadBucket": ("ListObjectsV2", {"MaxKeys": 1}),
}
"""By what a HEAD is asked again where anybody could have given its answer: the error of a GET has a document."""
WRITES = frozenset(["PutObject", "CopyObject", "DeleteObject", "CompleteMultipartUpload"])
"""What may have terms: it makes one object, or deletes one."""
NAMING = ("Bucket", "Key", "VersionId", "ExpectedBucketOwner", "RequestPayer")
RANGE_NOT_SATISFIABLE = 416
"""The status of a GET of the first byte of an object that has none."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A success, or what its caller allows beside one."""

    status: int
    headers: Headers = field(default_factory=CIMultiDict)
    result: Mapping[str, Any] = field(default_factory=dict)
    """By botocore's member names."""
    body: Body | None = None
    """The bytes of a GetObject; who asked closes them."""
    source: Source = "remote"

    @property
    def etag(self) -> str:
        """The ETag in the headers, without quotes; "" where there is none."""
        return answers.etag_of(self.headers.get("ETag", ""))

    @property
    def tags(self) -> dict[str, str]:
        """The tags that an answer to GetObjectTagging or GetBucketTagging says."""
        return {tag["Key"]: tag["Value"] for tag in self.result.get("TagSet", ())}


@dataclass(frozen=True, slots=True)
class Client:
    """A client of one S3; `acting` makes one that asks for somebody else."""

    s3: S3
    origin: Origin = "client"
    identity: str = ""
    trace: str = ""

    def acting(self, identity: str, trace: str = "") -> "Client":
        """The same client on behalf of an identity, and of the request that a trace names."""
        return replace(self, identity=identity, trace=trace)

    async def head_object(self, bucket: str, key: str, *, fresh: bool = False, **more: Any) -> Answer:
        """Ask what an object is like."""
        return await self.ask("HeadObject", {"Bucket": bucket, "Key": key, **more}, fresh=fresh)

    async def get_object(self, bucket: str, key: str, *, fresh: bool = False, **more: Any) -> Answer:
        """Ask for an object; the caller closes the body."""
        return await self.ask("GetObject", {"Bucket": bucket, "Key": key, **more}, fresh=fresh)

    async def head_bucket(self, bucket: str, *, fresh: bool = False) -> Answer:
        """Ask whether a bucket is there."""
        return await self.ask("HeadBucket", {"Bucket": bucket}, fresh=fresh)

    async def ask(
        self,
        operation: str,
        params: Mapping[str, Any],
        body: Body | None = None,
        *,
        fresh: bool = False,
        allow: Collection[int] = (),
        terms: Terms = NO_TERMS,
    ) -> Answer:
        """Ask for any operation; `terms` are for those in WRITES.

        Raises what `send` raises, and TypeError for members that the operation has not, or terms that it cannot keep.
        """
        if terms is not NO_TERMS and operation not in WRITES:
            raise TypeError(f"{operation} has no terms")
        return await self.send(replace(request(operation, params, body), fresh=fresh, terms=terms), allow)

    async def send(self, call: Call, allow: Collection[int] = ()) -> Answer:
        """Send a call that is encoded already, as this client's.

        Raises S3Error for a status from 300 on that is not in `allow`; NotS3 where the answer is not the store's, and
        else what the S3 raises. The body of the call is closed by then.
        """
        call = replace(call, origin=self.origin, identity=self.identity, trace=self.trace)
        try:
            reply = await self.s3(call)
            if call.operation == "GetObject" and reply.status < 300:
                result = decode.response(call.operation, reply.status, reply.headers, b"")
                return Answer(reply.status, reply.headers, result, reply.body, reply.source)
            document = await document_of(call, reply)
        finally:
            if call.body is not None:
                await call.body.aclose()
        if reply.outcome is Outcome.UNCLEAR:
            return await self._by_get(call, reply)
        if reply.status >= 300 and reply.status not in allow:
            raise error_of(reply, document)
        # Some stores send blanks while they are at work.
        shown = document.lstrip() if reply.status < 300 else b""
        result = decode.response(call.operation, reply.status, reply.headers, shown)
        if call.operation == "HeadObject" and reply.body is not None and reply.body.length is not None:
            result["ContentLength"] = reply.body.length
        return Answer(reply.status, reply.headers, result, source=reply.source)

    async def _by_get(self, call: Call, head: Reply) -> Answer:
        """Ask by a GET whether the answer to a HEAD is the store's. Raises the S3Error of the GET, or NotS3."""
        operation, params = BY_GET[call.operation]
        named = {name: call.params[name] for name in NAMING if name in call.params}
        try:
            answer = await self.ask(operation, {**named, **params}, fresh=call.fresh)
        except S3Error as error:
            if error.status == head.status and not error.unknown:
                raise decode.error(head.status, head.headers, b"") from error
            if error.status != RANGE_NOT_SATISFIABLE:
                raise
        else:
            if answer.body is not None:
                await answer.body.aclose()
        if head.status >= 300:
            raise NotS3(
                f"The answer to {call.operation} is status {head.status}, and the object is there",
                answered=head.status,
            )
        return Answer(head.status, head.headers, source=head.source)


def request(operation: str, params: Mapping[str, Any], body: Body | None = None) -> Call:
    """A call by botocore's member names, with the members that an S3 would read of its request.

    A body that comes with a digest is verified by it on its way, as that of any client.
    """
    wire, document = encode.request(operation, params)
    _, members = decode.request(wire, ())
    if body is not None:
        promise = checksums.expected(wire.headers)
        return Call(operation, members, wire, checksums.verify(body, promise, names=()) if promise.names else body)
    return Call(operation, members, wire, BytesBody(document) if document else None)


async def document_of(call: Call, reply: Reply) -> bytes:
    """The whole document of an answer. Raises NotS3 for one that is larger than any of S3's."""
    if reply.body is not None and reply.body.length == 0:
        await reply.body.aclose()
        return b""
    try:
        return await read_all(reply.body, DOCUMENT_LIMIT)
    except ValueError as error:
        raise NotS3(f"The answer to {call.operation} is not the store's: {error}", answered=reply.status) from None


def error_of(reply: Reply, document: bytes) -> S3Error:
    """The error that a judged answer is: NotS3 where it has no S3 error document, nor is a failure of a server."""
    error = decode.error(500 if reply.status < 300 else reply.status, reply.headers, document)
    error.unknown = reply.outcome is Outcome.UNKNOWN
    if error.unknown and (300 <= reply.status < 500 or reply.status == 501):
        return NotS3(f"The answer is not the store's: {error.message}", answered=reply.status)
    return error
