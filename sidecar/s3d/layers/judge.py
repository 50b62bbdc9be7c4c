"""Judges every answer of a remote, once, at its border (SEMANTICS Q-3a): nobody behind it guesses from a status again.

A call that a layer made is encoded first, so that both kinds of call are one kind of request, with one judgement. What
comes of it is a Reply whose outcome is DONE, REFUSED or UNKNOWN; NotS3 for a success that is not the store's; and
Unavailable where there is no answer. A call without a wire gets its result decoded, or its error raised.
"""

import asyncio
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from s3d.api import S3, BytesBody, Call, Outcome, Reply, Wire, read_all
from s3d.errors import NotS3, S3Error, Unavailable
from s3d.protocol import answers, decode, encode
from s3d.protocol.answers import Meaning

DOCUMENT_LIMIT = 32 << 20
"""Bytes of the largest document that is read; a larger one is not S3's."""
BY_GET: dict[str, tuple[str, dict[str, Any]]] = {
    "HeadObject": ("GetObject", {"Range": "bytes=0-0"}),
    "HeadBucket": ("ListObjectsV2", {"MaxKeys": 1}),
}
"""By what a HEAD is asked again where anybody could have given its answer: the error of a GET has a document."""
ABSENT = 404
READS = frozenset(["GetObject", "HeadObject"])
EMPTY = 416
"""The status of a GET of the first byte of an object that has none."""
PATIENT = frozenset(["CompleteMultipartUpload", "CopyObject", "UploadPartCopy", "SelectObjectContent"])
"""Answers of these may take as long as the object is large; S3 sends blanks meanwhile."""
NAMING = ("Bucket", "Key", "VersionId", "ExpectedBucketOwner", "RequestPayer")


class Judge:
    """A remote whose answers are judged."""

    def __init__(self, remote: S3, within: float | None = None) -> None:
        """Take what sends requests, which gets calls with a wire alone, and the seconds within which a document has to
        be whole once its head is there: one that comes byte by byte shall keep no worker."""
        self._remote = remote
        self._within = within

    async def __call__(self, call: Call) -> Reply:
        """Send a call and judge the answer.

        Raises Unavailable where there is none, NotS3 where a success, or a 404 of an object, is not the store's, the
        S3Error of an error inside a success, and for a call without a wire that of whatever is no success.
        """
        if call.wire is None:
            return await self._typed(call)
        reply, meaning = await self._judged(call, call.wire)
        if meaning is Meaning.NOT_S3 and reply.status == ABSENT and call.operation in READS:
            # An ingress has no backend for a moment. Whoever reads would take the object for one that is gone.
            raise error_of(reply, await read_all(reply.body, DOCUMENT_LIMIT))
        if meaning is Meaning.UNCLEAR:
            # Its client is told what came; nobody learns from it.
            reply.outcome = Outcome.UNKNOWN
        return reply

    async def _typed(self, call: Call) -> Reply:
        method, path, query, headers, payload = encode.request(call.operation, call.params)
        body = call.body if call.body is not None or not payload else BytesBody(payload)
        bucket = f"/{quote(call.bucket, safe='-_.~')}" if call.bucket else ""
        wire = Wire(method, f"{bucket}{path if call.key or not bucket else ''}", query, headers)
        reply, meaning = await self._judged(replace(call, body=body, wire=wire), wire)
        length = reply.body.length if reply.body is not None else None
        if meaning is Meaning.UNCLEAR:
            await read_all(reply.body, DOCUMENT_LIMIT)
            return await self._by_get(call, reply)
        if meaning is not Meaning.DONE:
            raise error_of(reply, await read_all(reply.body, DOCUMENT_LIMIT))
        if call.operation == "GetObject" and reply.status < 300:
            return reply
        document = await read_all(reply.body, DOCUMENT_LIMIT)
        if reply.status >= 300:
            raise decode.error(reply.status, reply.headers, document)
        reply.result = decode.response(call.operation, reply.status, reply.headers, document)
        if call.operation == "HeadObject" and length is not None:
            reply.result["ContentLength"] = length
        reply.body = None
        return reply

    async def _by_get(self, call: Call, head: Reply) -> Reply:
        """Ask by a GET whether the answer to a HEAD is the store's. Raises the S3Error of the GET, or NotS3."""
        operation, params = BY_GET[call.operation]
        named = {name: call.params[name] for name in NAMING if name in call.params}
        try:
            reply = await self._typed(Call(operation, {**named, **params}, identity=call.identity))
        except S3Error as error:
            if error.status == head.status and not error.unknown:
                raise decode.error(head.status, head.headers, b"") from error
            if error.status != EMPTY:
                raise
            reply = Reply()
        if reply.body is not None:
            await reply.body.aclose()
        if head.status >= 300:
            raise NotS3(
                f"The answer to {call.operation} is status {head.status}, and the object is there",
                answered=head.status,
            )
        return Reply(head.status, head.headers, result={})

    async def _judged(self, call: Call, wire: Wire) -> tuple[Reply, Meaning]:
        reply = await self._remote(call)
        document = b""
        if answers.reads(call.operation, wire.method, reply.status):
            document = await self._document(call, reply)
        meaning, said = answers.judge(call.operation, wire.method, reply.status, reply.headers, document)
        if reply.status < 300 and meaning is not Meaning.DONE and meaning is not Meaning.UNCLEAR:
            if reply.body is not None:
                await reply.body.aclose()
            name = call.operation or wire.method
            reply.outcome = Outcome.UNKNOWN
            if meaning is Meaning.NOT_S3:
                raise NotS3(f"The answer to {name} is not the store's: {said}", answered=reply.status)
            if decode.is_error(document):
                raise error_of(reply, document)
            raise Unavailable(f"The answer to {name} cannot be used: {said}", sent=True)
        if meaning is Meaning.REFUSED:
            reply.outcome = Outcome.REFUSED
        elif meaning is not Meaning.DONE:
            reply.outcome = Outcome.UNKNOWN
        return reply, meaning

    async def _document(self, call: Call, reply: Reply) -> bytes:
        """The whole document of an answer, which stays its body. Raises Unavailable where it breaks off."""
        within = None if call.operation in PATIENT else self._within
        return await document_of(call, reply, DOCUMENT_LIMIT, within)


async def document_of(call: Call, reply: Reply, limit: int, within: float | None) -> bytes:
    """The whole document of an answer, of up to `limit` bytes, which stays its body.

    Raises Unavailable where it breaks off or has not ended `within` seconds, and NotS3 where it is larger.
    """
    try:
        async with asyncio.timeout(within):
            document = await read_all(reply.body, limit)
    except Unavailable as error:
        raise Unavailable(error.message, sent=True) from error
    except TimeoutError:
        raise Unavailable("The remote's response did not end in time", sent=True) from None
    except ValueError as error:
        raise NotS3(f"The answer to {call.operation} is not the store's: {error}", answered=reply.status) from None
    reply.body = BytesBody(document)
    return document


def error_of(reply: Reply, document: bytes) -> S3Error:
    """The error that a judged answer is: NotS3 where it has no S3 error document, nor is a failure of a server."""
    error = decode.error(500 if reply.status < 300 else reply.status, reply.headers, document)
    error.unknown = reply.outcome is Outcome.UNKNOWN
    if error.unknown and (300 <= reply.status < 500 or reply.status == 501):
        return NotS3(f"The answer is not the store's: {error.message}", answered=reply.status)
    return error
