"""Bodies on their way to the remote and from it: what was sent, what has come, and why it broke off.

A store may answer before it has the whole body. What it says then is heard, and nothing more is sent.
"""

import asyncio
import contextlib
import functools
import io
import logging
import os
import select
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from http.client import HTTPException, HTTPResponse
from typing import TypeVar, cast

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict

from s3d.api import Body, BytesBody, Headers, Reply, Send
from s3d.errors import CorruptBody, S3Error, Unavailable
from s3d.layers.health import Exchange, Health
from s3d.layers.splice import Pipe, SourceFailed

T = TypeVar("T")
log = logging.getLogger(__name__)

# Not end to end (RFC 9110, 7.6.1), or said anew for each hop.
HOP_BY_HOP = frozenset(
    "connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer "
    "transfer-encoding upgrade host content-length expect".split()
)
NOT_ANSWERED = HOP_BY_HOP | {"x-cache", "age"}
"""Headers of the remote that would be taken for ours."""
SPLICE_MIN_BYTES = 4 << 20
"""Bytes from which on the kernel moves a body. It costs the connection, which cannot be used again."""
PACE_MIN_BYTES = 64 << 10
"""Bytes from which on a body is sent block by block, with an eye on what the remote says meanwhile."""
HEAD_TIMEOUT = 0.05
"""Seconds that a body waits for the rest of an answer whose beginning is there."""
MAX_TURNS = 5
"""Turns of the loop until the head of an answer has reached who waits for it."""
EARLY_LIMIT = 1 << 20
"""Bytes of the largest answer that is saved from a connection which broke under a body."""


class Upload(aiohttp.Payload):
    """A body on its way to the remote: tells how far it came, why it broke off, and what the remote said meanwhile.

    A store may answer before it has the whole body, and close its connection. Its answer then waits in the socket, and
    writing on could lose it. So the socket is looked at before each block, and read once more where writing failed.
    """

    def __init__(self, body: Body) -> None:
        """Take the body; the exchange is set before the first byte is asked for."""
        super().__init__(body)
        self.body = body
        self.exchange: Exchange | None = None
        self.started = False
        self.finished = not body.length
        self.error: S3Error | CorruptBody | None = None
        self._refused = asyncio.Event()
        self._ended = asyncio.Event()
        self._socket: int | None = None
        """A second number of the socket, that stays open when the transport has closed its own."""

    def whole(self) -> bytes:
        """All bytes of a body that is in memory: they leave with the head."""
        self.started = self.finished = True
        self._ended.set()
        return cast(BytesBody, self.body).data

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """A body is no text."""
        raise TypeError("a body cannot be decoded")

    def answered(self, status: int) -> None:
        """Note that the head of an answer is there: after a refusal nothing more is sent."""
        if status >= 300:
            self._refused.set()
        self._let_go()

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the blocks; an error of the body is kept, since the client wraps what it meets here."""
        self.started = True
        left = self.body.length or 0
        looks = self._look_at(writer)
        try:
            async for block in self.body.chunks():
                if looks is not None and looks.poll(0) and await self._is_refused(looks):
                    return
                left -= len(block)
                await writer.write(block)
                if left <= 0:
                    self.finished = True
                if self.exchange is not None:
                    self.exchange.progress = time.monotonic()
        except Exception as error:
            self.error = error if isinstance(error, S3Error | CorruptBody) else None
            raise
        finally:
            self._ended.set()

    async def aclose(self) -> None:
        """Let go of the body, once nobody reads it any more: whoever sends it has been told to stop."""
        if self.started:
            await self._ended.wait()
        self._let_go()
        await self.body.aclose()

    def _look_at(self, writer: AbstractStreamWriter) -> "select.poll | None":
        """What tells whether there is something to read while the body is sent."""
        transport = getattr(writer, "transport", None)
        if transport is None or (self.body.length or 0) <= PACE_MIN_BYTES:
            return None
        poll = select.poll()
        socket = transport.get_extra_info("socket")
        poll.register(socket.fileno(), select.POLLIN)
        if transport.get_extra_info("ssl_object") is None:
            self._socket = os.dup(socket.fileno())
        return poll

    async def _is_refused(self, looks: "select.poll") -> bool:
        """Give what has come time to be read; whether it was a refusal."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HEAD_TIMEOUT):
                while not self._refused.is_set() and looks.poll(0):  # noqa: ASYNC110 (the kernel sets no Event)
                    await asyncio.sleep(0)
                # The head that was read just now may still be on its way to who waits for it.
                for _ in range(MAX_TURNS):
                    await asyncio.sleep(0)
        return self._refused.is_set()

    def saved(self) -> Reply | None:
        """The whole answer that is left in a socket whose connection broke while the body was sent."""
        if self._socket is None:
            return None
        came = b""
        try:
            while len(came) < EARLY_LIMIT and (block := os.read(self._socket, PACE_MIN_BYTES)):
                came += block
        except OSError as error:
            log.debug("nothing more can be read of an early answer: %s", error)
        self._let_go()
        return early_answer(came)

    def _let_go(self) -> None:
        if self._socket is not None:
            os.close(self._socket)
            self._socket = None


class Saved:
    """What has been read of a socket, as an HTTP response wants to read it."""

    def __init__(self, data: bytes) -> None:
        """Take the bytes."""
        self._data = data

    def makefile(self, _: str) -> io.BytesIO:
        """The bytes as a file."""
        return io.BytesIO(self._data)


def early_answer(data: bytes) -> Reply | None:
    """The response in these bytes, without a 100 Continue before it; None where there is none that is whole."""
    while data.startswith(b"HTTP/1.1 1"):
        data = data.partition(b"\r\n\r\n")[2]
    response = HTTPResponse(Saved(data))  # type: ignore[arg-type] # it asks for no more of a socket
    try:
        response.begin()
        document = response.read()
    except (HTTPException, ValueError):
        return None
    if not data or response.status < 300:
        return None
    headers: Headers = CIMultiDict(response.getheaders())
    leave_out(headers, NOT_ANSWERED)
    return Reply(response.status, headers, body=BytesBody(document))


class Download(Body):
    """The body of the remote's response."""

    length: int | None = None

    def __init__(self, response: aiohttp.ClientResponse, upload: Upload | None, health: Health) -> None:
        """Take the response and the upload that may still be under way beside it."""
        self._response = response
        self._upload = upload
        self._health = health
        length = response.headers.get(hdrs.CONTENT_LENGTH)
        self.length = int(length) if length is not None and length.isdigit() else None
        self._first = b""
        self._pipe: Pipe | None = None

    @property
    def send(self) -> Send | None:
        """Sends all of a body that `begin` has made ready for it."""
        return None if self._pipe is None else functools.partial(self._send, self._pipe)

    def _may_be_spliced(self) -> bool:
        connection = self._response.connection
        return (
            self._upload is None
            and (self.length or 0) >= SPLICE_MIN_BYTES
            and hdrs.TRANSFER_ENCODING not in self._response.headers
            and connection is not None
            and connection.transport is not None
            and connection.transport.get_extra_info("ssl_object") is None
        )

    async def begin(self) -> None:
        """Wait for the first bytes of a body that may be sent: the head of an answer goes out before the rest, and an
        error that comes instead of them shall still be an answer. Raises Unavailable, and closes the body then."""
        if not self._may_be_spliced():
            return
        try:
            self._first = await self._read()
            self._pipe = Pipe()
        except OSError as error:
            log.debug("a body takes the ordinary way: %s", error)
        except BaseException:
            await self.aclose()
            raise

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield what comes. Raises Unavailable when it breaks off or stalls."""
        if start or end is not None:
            raise ValueError("a response can be read once, from its start")
        block, self._first = self._first, b""
        while block or (block := await self._read()):
            yield block
            block = b""

    async def _read(self) -> bytes:
        try:
            return await self._heard(self._response.content.readany)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _broken(error) from error

    async def _send(self, pipe: Pipe, socket: int, start: int = 0, end: int | None = None) -> None:
        """Send the body: what has been read of it, and the rest by the kernel. Raises Unavailable when it breaks off or
        stalls, and the OSError of the socket."""
        if start or end is not None:
            raise ValueError("a response can be read once, from its start")
        try:
            # What the parser holds back comes as the reader is emptied.
            held = b"".join([self._first, *iter(self._response.content.read_nowait, b"")])
            await pipe.splice(self._take_over(), socket, held, (self.length or 0) - len(held), self._heard)
        except (aiohttp.ClientError, SourceFailed) as error:
            raise _broken(error) from error

    def _take_over(self) -> int:
        """The remote's socket, from which nobody else reads any more."""
        connection = self._response.connection
        if connection is None or connection.transport is None:
            raise SourceFailed("the connection is closed")
        connection.transport.pause_reading()
        number: int = connection.transport.get_extra_info("socket").fileno()
        return number

    async def _heard(self, coming: Callable[[], Awaitable[T]]) -> T:
        """Wait for what the remote sends. Its silence is noted; TimeoutError is raised once it is away or too long."""
        silent = 0.0
        while True:
            try:
                async with asyncio.timeout(self._health.away_after):
                    return await coming()
            except TimeoutError:
                silent += self._health.away_after
                self._health.missed()
                if self._health.away or silent >= self._health.request_timeout:
                    raise

    async def aclose(self) -> None:
        """Give the connection back, or close it where bytes are still under way."""
        if self._pipe is not None:
            self._pipe.close()
        clean = self._response.content.at_eof() and (self._upload is None or self._upload.finished)
        if clean:
            self._response.release()
        else:
            self._response.close()
        if self._upload is not None:
            await self._upload.aclose()


def _broken(error: Exception) -> Unavailable:
    return Unavailable(f"The remote's response broke off: {str(error) or type(error).__name__}")


def leave_out(headers: Headers, unwanted: frozenset[str]) -> None:
    """Drop headers by their names in lower case, and our own."""
    for name in {low for name in headers if (low := name.lower()) in unwanted or low.startswith("x-s3d-")}:
        del headers[name]
