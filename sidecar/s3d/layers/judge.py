"""Judges every answer of a remote, once, at its border (SEMANTICS Q-3a): nobody behind it guesses from a status again.

What comes of it is a Reply whose outcome is DONE, REFUSED, UNKNOWN or, of a HEAD, UNCLEAR; NotS3 for a success that is
not the store's; and Unavailable where there is no answer. An error document with a success is the failure that it says.
"""

import asyncio

from s3d.api import S3, BytesBody, Call, Outcome, Reply, read_all
from s3d.client import DOCUMENT_LIMIT, document_of, error_of
from s3d.errors import NotS3, Unavailable
from s3d.protocol import answers, decode
from s3d.protocol.answers import Meaning

NOT_FOUND = 404
READS = frozenset(["GetObject", "HeadObject"])
FAILED = 500
"""The status of an error that came with a success."""
OUTCOMES = {Meaning.DONE: Outcome.DONE, Meaning.REFUSED: Outcome.REFUSED, Meaning.UNCLEAR: Outcome.UNCLEAR}
"""By meaning; anything else leaves the outcome unknown."""
PATIENT = answers.LONG | {"SelectObjectContent"}
"""Answers of these may take as long as the object is large; S3 sends blanks meanwhile."""


class Judge:
    """A remote whose answers are judged."""

    def __init__(self, remote: S3, within: float | None = None) -> None:
        """Take what sends requests, and the seconds within which a document has to be whole once its head is there: one
        that comes byte by byte shall keep no worker."""
        self._remote = remote
        self._within = within

    async def __call__(self, call: Call) -> Reply:
        """Send a call and judge the answer.

        Raises Unavailable where there is none, and NotS3 where a success, or a 404 of an object, is not the store's.
        """
        reply, meaning = await self._judged(call)
        reply.outcome = OUTCOMES.get(meaning, Outcome.UNKNOWN)
        if meaning is Meaning.NOT_S3 and reply.status == NOT_FOUND and call.operation in READS:
            # An ingress has no backend for a moment. Whoever reads would take the object for one that is gone.
            raise error_of(reply, await document_of(call, reply))
        return reply

    async def _judged(self, call: Call) -> tuple[Reply, Meaning]:
        reply = await self._remote(call)
        method, document = call.wire.method, b""
        if answers.reads(call.operation, method, reply.status):
            document = await self._document(call, reply)
        meaning, said = answers.judge(call.operation, method, reply.status, reply.headers, document)
        if reply.status < 300 and meaning in (Meaning.NOT_S3, Meaning.UNKNOWN):
            if decode.is_error(document) and meaning is Meaning.UNKNOWN:
                reply.status, reply.body = FAILED, BytesBody(document.lstrip())
                return reply, meaning
            if reply.body is not None:
                await reply.body.aclose()
            name = call.operation or method
            if meaning is Meaning.NOT_S3:
                raise NotS3(f"The answer to {name} is not the store's: {said}", answered=reply.status)
            raise Unavailable(f"The answer to {name} cannot be used: {said}", sent=True)
        return reply, meaning

    async def _document(self, call: Call, reply: Reply) -> bytes:
        """The whole document of an answer, which stays its body. Raises Unavailable where it breaks off."""
        within = None if call.operation in PATIENT else self._within
        return await read_document(call, reply, DOCUMENT_LIMIT, within)


async def read_document(call: Call, reply: Reply, limit: int, within: float | None) -> bytes:
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
