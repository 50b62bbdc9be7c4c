"""The body of a request: bytes that a client sends while the gateway reads them."""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import hdrs, web

from s3d import connections
from s3d.api import Body
from s3d.errors import S3Error


class RequestBody(Body):
    """The bytes that a client sends."""

    length: int | None = None

    def __init__(self, request: web.BaseRequest) -> None:
        """Take the request; nothing is read yet."""
        self._request = request
        self._connection = connections.of_request(request)
        self.length = request.content_length
        self.started = False

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield what comes; the first call lets a waiting client send. Raises S3Error IncompleteBody when it leaves."""
        if start or end is not None or self.started:
            raise ValueError("a request body can be read once, from its start")
        self.started = True
        if self._request.headers.get(hdrs.EXPECT, "").lower() == "100-continue" and self._request.transport:
            self._request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        content = self._request.content
        left = self.length
        while True:
            try:
                # As they came: readany() would join what waits into a copy.
                with self._connection.waiting():
                    block, more = await content.readchunk()
            except TimeoutError as error:
                raise S3Error(
                    "RequestTimeout",
                    "Your socket connection to the server was not read from or written to within the timeout period. "
                    "Idle connections will be closed.",
                    hint="S3D_CLIENT_TIMEOUT says how long a body may keep s3d waiting",
                ) from error
            except (OSError, web.RequestPayloadError, asyncio.IncompleteReadError) as error:
                raise S3Error(
                    "IncompleteBody", "The connection was closed before the whole body was sent", status=400
                ) from error
            if not block:
                # An empty block ends a chunk of the wire, but without a body it comes for ever.
                if more and not content.at_eof():
                    continue
                break
            if left is not None:
                left -= len(block)
            yield block
        if left:
            raise S3Error("IncompleteBody", "You did not provide the number of bytes specified by Content-Length")

    async def whole(self) -> bytes:
        """All bytes at once, for a small body: mostly they came in one piece with the headers."""
        content = self._request.content
        if self.started or not content.is_eof() or content.exception() is not None:
            return b"".join([block async for block in self.chunks()])
        self.started = True
        data = content.read_nowait()
        if self.length is not None and len(data) != self.length:
            raise S3Error("IncompleteBody", "You did not provide the number of bytes specified by Content-Length")
        return data
