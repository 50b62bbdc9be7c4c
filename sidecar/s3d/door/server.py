"""The server of the door: its sockets, its connections, and what it answers to what is no HTTP."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

from aiohttp import hdrs, web, web_protocol
from multidict import CIMultiDict

from s3d.api import MAX_HEADERS, Headers
from s3d.background import for_ever
from s3d.connections import LINGER, Bounds, Connection
from s3d.door.handler import Door
from s3d.door.response import NAME, XML, Response
from s3d.errors import S3Error
from s3d.metrics import Metrics
from s3d.protocol import encode
from s3d.settings import Gateway

KEEP_ALIVE = 75.0
MAX_LINE = 32 << 10
"""Bytes of a request's first line. A listing may name a prefix, a delimiter and a name to start after, each of 1,024
bytes that are three in a URL, beside a token."""

# Requests of a connection are parsed one by one. aiohttp parses all that came together, and where what comes last is no
# request it refuses the good ones in front of it as well.
web_protocol.MAX_MSG_QUEUE_SIZE = 1


class Client(Connection):
    """A client's connection; what is not HTTP is refused with an S3 error document too."""

    async def _handle_request(self, *request: Any) -> tuple[web.StreamResponse, bool]:
        """Serve one request, and then have what came behind its body parsed: nothing else may come to set that off."""
        served = await super()._handle_request(*request)
        self.data_received(b"")
        return served

    def too_long(self) -> bytes:
        """The answer to a head that is too long."""
        error = S3Error("RequestHeaderSectionTooLarge", "Your request header section exceeds the maximum allowed size")
        request_id = secrets.token_hex(8).upper()
        document = encode.identified(encode.error(error), request_id=request_id, host_id="", resource="")
        head = f"HTTP/1.1 400 Bad Request\r\nContent-Type: {XML}\r\nContent-Length: {len(document)}\r\n"
        return f"{head}Connection: close\r\n\r\n".encode() + document

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer a malformed request, or a handler that failed."""
        if self.transport is None or request.writer.output_size > 0:
            raise ConnectionError("the response is under way already")
        code = "InternalError" if status >= 500 else "InvalidRequest"
        error = S3Error(code, message or "The request is not valid HTTP", status=status)
        request_id = secrets.token_hex(8).upper()
        document = encode.identified(encode.error(error), request_id=request_id, host_id="", resource="")
        headers: Headers = CIMultiDict({hdrs.CONTENT_TYPE: XML, "x-amz-request-id": request_id, hdrs.SERVER: NAME})
        response = Response(status=status, headers=headers, body=document)
        response.force_close()
        return response


class Server(web.Server):
    """aiohttp's low-level server, with our connections."""

    bounds: Bounds
    patience = float("inf")
    """Seconds that running requests get at the end, at most; may be set until then."""

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 # aiohttp's own name
        """Let running requests finish, then cut them off."""
        # aiohttp takes 0 for no limit at all.
        await super().shutdown(max(0.1, min(timeout or self.patience, self.patience)))

    def __call__(self) -> web.RequestHandler:
        """Make the protocol of one connection."""
        return Client(self, self.bounds, loop=self._loop, **self._kwargs)


@contextlib.asynccontextmanager
async def listen(door: Door, settings: Gateway, metrics: Metrics) -> AsyncIterator[Server]:
    """Open the door. `localhost` is both loopback addresses; that [::1] cannot be bound is not fatal.

    At the end new connections are refused first, then running requests get half of `settings.drain` to finish, or the
    server's `patience` where that is less.
    """
    options: dict[str, Any] = {
        "keepalive_timeout": KEEP_ALIVE,
        "lingering_time": LINGER,
        "auto_decompress": False,
        "access_log": None,
        "max_line_size": MAX_LINE,
        "max_headers": MAX_HEADERS,
    }
    server = Server(door.handle, **options)
    server.bounds = Bounds(settings.client_timeout, settings.reader_timeout)
    runner = web.ServerRunner(server, shutdown_timeout=settings.drain / 2)
    await runner.setup()
    url = urlsplit(settings.endpoint)
    host, port = url.hostname or "localhost", url.port or 80
    watching = asyncio.ensure_future(for_ever("connections", server.bounds.watch, metrics))
    try:
        await web.TCPSite(runner, "127.0.0.1" if host == "localhost" else host, port, backlog=1024).start()
        if host == "localhost":
            with contextlib.suppress(OSError):
                await web.TCPSite(runner, "::1", port, backlog=1024).start()
        yield server
    finally:
        # The watch goes on until then: what is still answered must not wait for a client that has stopped reading.
        await runner.cleanup()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
