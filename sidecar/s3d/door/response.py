"""Responses as they leave: whole, or piece by piece with a connection that is cut where they cannot be finished."""

import contextlib
import logging
import time
from collections.abc import AsyncIterator
from functools import lru_cache

from aiohttp import HttpVersion10, HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter

from s3d.api import Body, Headers
from s3d.protocol.model import http_date

log = logging.getLogger(__name__)

XML = "application/xml"
NAME = "s3d"
"""What the Server header says where the answer is not the remote's own."""
BODILESS = frozenset([204, 304])
"""Statuses whose answers have neither a body nor its length (RFC 9110, 8.6)."""

_date = lru_cache(maxsize=2)(http_date)
"""The Date header of a second."""


class Pieces(web.StreamResponse):
    """A response that is sent piece by piece."""

    head_at = 0.0
    """When its head left, by time.perf_counter(); 0 before."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the head."""
        writer = await super().prepare(request)
        self.head_at = self.head_at or time.perf_counter()
        return writer


def begun(status: int, headers: Headers, *, closing: bool) -> Pieces:
    """A response that is sent piece by piece; with `closing` its head says that the connection ends with it."""
    response = Pieces(status=status, headers=headers)
    if closing:
        response.force_close()
    return response


class Response(web.StreamResponse):
    """A response whose bytes are all there. They leave in one write with the head, and nothing is made up for it:
    no type, no server's name."""

    def __init__(self, *, status: int, headers: Headers, body: bytes = b"") -> None:
        """Take the headers as they are to be sent, but for the date and what concerns the connection."""
        super().__init__(status=status, headers=headers)
        self._bytes = body
        self._sent = False

    @property
    def prepared(self) -> bool:
        """Whether it has left."""
        return self._sent

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send it whole. aiohttp's own way there is made for responses that grow, and takes three times as long."""
        if self._sent:
            return None
        self._sent = True
        headers, version, data = self.headers, request.version, self._bytes
        if self.status in BODILESS:
            headers.popall(hdrs.CONTENT_LENGTH, None)
            data = b""
        elif request.method == "HEAD":
            data = b""
        elif hdrs.CONTENT_LENGTH not in headers:
            headers[hdrs.CONTENT_LENGTH] = str(len(data))
        if hdrs.DATE not in headers:
            headers[hdrs.DATE] = _date(int(time.time()))
        if self._keep_alive is None:
            self._keep_alive = request.keep_alive
        if not self._keep_alive:
            if version == HttpVersion11:
                headers[hdrs.CONNECTION] = "close"
        elif version == HttpVersion10:
            headers[hdrs.CONNECTION] = "keep-alive"
        writer = request.writer
        await writer.write_headers(f"HTTP/{version.major}.{version.minor} {self.status} {self.reason}", headers)
        await writer.write_eof(data)
        return writer

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to send."""


def break_off(request: web.BaseRequest, error: Exception) -> None:
    """Cut the connection of a response that cannot be finished."""
    log.warning("a response broke off: %s", error)
    if request.transport is not None:
        request.transport.abort()


@contextlib.asynccontextmanager
async def sending(request: web.BaseRequest, response: web.StreamResponse, body: Body) -> AsyncIterator[None]:
    """Send a body, and close it in the end. An error that comes before the head is raised; a later one cuts the
    connection."""
    try:
        yield
    except ConnectionError:
        raise
    except Exception as error:
        if not response.prepared:
            raise
        break_off(request, error)
    finally:
        await body.aclose()
