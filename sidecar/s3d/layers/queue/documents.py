"""Documents of requests: read whole and understood within bounds that all of them share (SEMANTICS A-6).

A document is understood only when it is whole, and takes many times its bytes in memory then. So a large one waits for
its share before its first byte is read, has to come in the time that a body may keep us waiting, and is understood a
piece at a time, one document after the other: whatever is in it, the others are served meanwhile.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

from s3d.api import BytesBody, Call, read_all
from s3d.errors import S3Error, slow_down
from s3d.protocol import decode
from s3d.protocol.model import Operation

MAX_BYTES = 8 << 20
"""Bytes of all large documents that are in memory at once; the largest one may have as many."""
SMALL_DOCUMENT = 64 << 10
"""Bytes of a document that counts as part of its connection."""


@dataclass(slots=True)
class Document:
    """A document that was read and understood."""

    value: dict[str, Any]
    """The members that it gives its operation."""
    unknown: list[str]
    """Its outermost elements that the model does not know (Q-17)."""
    call: Call
    """The call with its bytes as the body."""


class Documents:
    """What the documents of a queue share."""

    def __init__(self, patience: float) -> None:
        """Take the seconds for which a large one may wait for its share, and then for its bytes."""
        self._patience = patience
        self._left = MAX_BYTES
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._turns = {True: asyncio.Lock(), False: asyncio.Lock()}
        """Of small documents and of large ones, so that the former do not wait for the latter."""

    @contextlib.asynccontextmanager
    async def read(self, call: Call, operation: Operation, limit: int) -> AsyncIterator[Document]:
        """Read the document of a call; its share is held while the `async with` lasts.

        Raises S3Error: MalformedXML where it is larger than `limit` bytes, cannot be read or goes beyond the bounds;
        SlowDown where the others hold too much; RequestTimeout where it does not come.
        """
        length = call.body.length if call.body is not None else None
        size = min(limit, limit if length is None else length)
        async with self._share(size):
            data = await self._whole(call, size, limit)
            value, unknown = await self.understood(operation, data)
            yield Document(value, unknown, replace(call, body=BytesBody(data)))

    async def understood(self, operation: Operation, data: bytes) -> tuple[dict[str, Any], list[str]]:
        """The members that a document gives, and the elements that the model does not know. Raises MalformedXML."""
        steps = decode.input_steps(operation, data)
        async with self._turns[len(data) <= SMALL_DOCUMENT]:
            while True:
                try:
                    next(steps)
                except StopIteration as end:
                    found: tuple[dict[str, Any], list[str]] = end.value
                    return found
                await asyncio.sleep(0)

    async def _whole(self, call: Call, size: int, limit: int) -> bytes:
        try:
            async with asyncio.timeout(None if size <= SMALL_DOCUMENT else self._patience):
                return await read_all(call.body, limit)
        except ValueError:
            raise S3Error("MalformedXML", "The XML you provided is larger than any valid one") from None
        except TimeoutError:
            raise S3Error("RequestTimeout", "The document of the request did not come in time", status=400) from None

    @contextlib.asynccontextmanager
    async def _share(self, size: int) -> AsyncIterator[None]:
        if size <= SMALL_DOCUMENT:
            yield
            return
        await self._wait(size)
        try:
            yield
        finally:
            self._left += size
            self._grant()

    async def _wait(self, size: int) -> None:
        """Take a share, in the order of asking."""
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, granted))
        self._grant()
        try:
            async with asyncio.timeout(self._patience):
                await granted
        except BaseException as error:
            if (size, granted) in self._waiting:
                self._waiting.remove((size, granted))
            else:
                self._left += size
            self._grant()
            if not isinstance(error, TimeoutError):
                raise
            raise slow_down("Too many large documents are being read", retry_after=1) from None

    def _grant(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._left:
            size, granted = self._waiting.popleft()
            self._left -= size
            # Whoever does not wait any more gives it back.
            if not granted.done():
                granted.set_result(None)
