"""The S3 door: an HTTP request becomes a Wire, then a Call; a Reply becomes an HTTP response. It decides nothing.

Every error is an S3 error document with a request id. The first read of a body sends `100 Continue`, so whatever can be
judged without the body is judged before it. Once response headers are out, a failure cuts the connection: no client
takes half an object for a whole one.
"""

import asyncio
import contextlib
import itertools
import logging
import re
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from aiohttp import HttpVersion10, HttpVersion11, hdrs, web, web_protocol
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict

from s3d import targets
from s3d.api import MAX_HEADERS, S3, AnyHeaders, Body, BytesBody, Call, Headers, Reply, Send, Wire, read_all
from s3d.background import for_ever
from s3d.config import Gateway
from s3d.connections import LINGER, Bounds, Connection
from s3d.errors import S3DError, S3Error
from s3d.metrics import Metrics
from s3d.protocol import adminapis, answers, checksums, decode, encode, sigv4
from s3d.protocol.model import Operation, http_date

log = logging.getLogger(__name__)

LITTLE = 1 << 20
"""A refused body up to this size is read, and its connection kept."""
KEEP_ALIVE = 75.0
MAX_LINE = 32 << 10
"""Bytes of a request's first line. A listing may name a prefix, a delimiter and a name to start after, each of 1,024
bytes that are three in a URL, beside a token."""
# A body up to this size is sent in one write with its headers.
SMALL = 64 << 10
BODILESS = frozenset([204, 304])
"""Statuses whose answers have neither a body nor its length (RFC 9110, 8.6)."""
XML = "application/xml"
SURROGATE = re.compile("[\ud800-\udfff]")
"""What is left of header bytes that are not UTF-8."""
BLANK_AFTER = 15.0
"""Seconds between two blanks for a client that waits for one of these."""
PATIENT_LIMIT = 32 << 20
PROLOGUE = encode.PROLOGUE.encode().strip()
NAME = "s3d"
"""What the Server header says where the answer is not the remote's own."""

# Requests of a connection are parsed one by one. aiohttp parses all that came together, and where what comes last is no
# request it refuses the good ones in front of it as well.
web_protocol.MAX_MSG_QUEUE_SIZE = 1

_date = lru_cache(maxsize=2)(http_date)
"""The Date header of a second."""


class RequestBody(Body):
    """The bytes that a client sends."""

    length: int | None = None

    def __init__(self, request: web.BaseRequest) -> None:
        """Take the request; nothing is read yet."""
        self._request = request
        self._connection: Connection = request.protocol  # type: ignore[assignment] # the server makes no others
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


class Door:
    """One S3 front over one S3."""

    def __init__(self, serve: S3, settings: Gateway) -> None:
        """Take what answers the calls."""
        self._serve = serve
        host = urlsplit(settings.endpoint).hostname or "localhost"
        self._domains: Sequence[str] = (*settings.domains,)
        self._hosts = frozenset(["localhost", "127.0.0.1", "[::1]", "::1", host, *settings.domains])
        self._origins = frozenset(settings.origins)
        self._any_host = settings.insecure
        self._admin_api = settings.admin_api
        self._host_id = secrets.token_hex(16)
        self._run = secrets.token_hex(4).upper()
        self._count = itertools.count(1)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        connection: Connection = request.protocol  # type: ignore[assignment] # the server makes no others
        with connection.answering():
            return await self._answer(request)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        request_id = f"{self._run}{next(self._count):08X}"
        authority, path, query = targets.split(request.raw_path)
        headers: AnyHeaders = request.headers
        if authority is not None:
            # What the target says goes before the header (RFC 9112, 3.2.2).
            headers = CIMultiDict(headers)
            headers[hdrs.HOST] = authority
        wire = Wire(request.method, path, query, headers)
        body = RequestBody(request) if hdrs.CONTENT_LENGTH in request.headers or request.body_exists else None
        incoming: Body | None = None
        response: web.StreamResponse | None = None
        try:
            try:
                self._check_origin(wire)
                operation, params = decode.request(wire, self._domains)
                if adminapis.is_meant(wire.method, params):
                    adminapis.check_allowed(self._admin_api)
                    # Whatever S3 would take it for.
                    operation = None
                if query:
                    # Of a name that is there twice, the first counts.
                    sigv4.check_presigned(dict(reversed(decode.query(query))), datetime.now(UTC))
                if body is not None:
                    source = await whole(body) if is_document(operation) and body.length is None else body
                    incoming = checksums.incoming(source, wire, names=())
                check_length(incoming)
                call = Call(operation.name if operation else "", params, wire, incoming, trace=request_id)
                if call.operation in answers.LONG:
                    return await self._patient(request, call, request_id)
                reply = await self._serve(call)
                # Before the head of the answer, which says it: a client that is not told would send its next request
                # into a connection that is being closed.
                closing = body is not None and not await self._drained(request, body)
                response = await self._respond(request, call, reply, request_id, closing=closing)
            except S3Error as error:
                response = self._refuse(request, error, request_id)
            except S3DError as error:
                # Of a body of the local dir whose bytes cannot be had.
                log.error("request %s (%s %s) failed: %s", request_id, wire.method, path, error)
                lost = S3Error("ServiceUnavailable", error.message, status=503, hint=error.hint)
                response = self._refuse(request, lost, request_id)
            except (asyncio.CancelledError, ConnectionError):
                raise
            except Exception:
                log.exception("a bug: request %s (%s %s) failed", request_id, wire.method, path)
                bug = S3Error("InternalError", "We encountered an internal error. Please try again.", status=500)
                response = self._refuse(request, bug, request_id)
        finally:
            if incoming is not None:
                await incoming.aclose()
            if body is not None and not await self._drained(request, body) and response is not None:
                response.force_close()
        return response

    async def _patient(self, request: web.BaseRequest, call: Call, request_id: str) -> web.StreamResponse:
        """Answer an operation that the remote takes its time for, and that is judged by the end of its document.

        As S3 does it: what takes long begins its answer with 200, keeps the client waiting by blanks, and ends it with
        the result, or with an error that a client of these operations expects there. Raises S3Error before that.
        """
        serving = asyncio.ensure_future(self._answered(call))
        try:
            await asyncio.wait([serving], timeout=BLANK_AFTER)
            if serving.done():
                return await self._respond(request, call, serving.result(), request_id, closing=False)
            response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: XML, "x-amz-request-id": request_id})
            await response.prepare(request)
            await response.write(encode.PROLOGUE.encode())
            while not serving.done():
                await response.write(b" ")
                await asyncio.wait([serving], timeout=BLANK_AFTER)
            await response.write((await self._end(request, call, serving, request_id)).removeprefix(PROLOGUE))
            await response.write_eof()
        except ConnectionError:
            # The client has left. What was begun is answered to nobody, but it ends in its own time.
            serving.add_done_callback(_ended)
            raise
        except asyncio.CancelledError:
            serving.cancel()
            raise
        finally:
            # An error in it knows this frame: all that the request held would stay until the garbage is collected.
            del serving
        return response

    async def _answered(self, call: Call) -> Reply:
        """An answer whose document is all there."""
        reply = await self._serve(call)
        if reply.body is not None:
            reply.body = BytesBody(await read_all(reply.body, PATIENT_LIMIT))
        return reply

    async def _end(
        self, request: web.BaseRequest, call: Call, serving: asyncio.Future[Reply], request_id: str
    ) -> bytes:
        """The document that ends an answer which has begun."""
        try:
            reply = serving.result()
        except S3Error as error:
            return self._error_document(request, error, request_id)
        document = await read_all(reply.body, PATIENT_LIMIT)
        return self._identified(request, document, request_id) if is_our_error(reply) else document

    def _error_document(self, request: web.BaseRequest, error: S3Error, request_id: str) -> bytes:
        return self._identified(request, encode.error(error), request_id)

    def _identified(self, request: web.BaseRequest, document: bytes, request_id: str) -> bytes:
        return encode.identified(document, request_id=request_id, host_id=self._host_id, resource=request.raw_path)

    def _check_origin(self, wire: Wire) -> None:
        """Refuse other people's host names and what a browser sends for another site (A-3)."""
        host = targets.host_of(wire.headers.get(hdrs.HOST, ""))
        if len(wire.headers.getall(hdrs.HOST, ())) > 1:
            raise S3Error("InvalidRequest", "The request has more than one Host header")
        if host not in self._hosts and not targets.is_named(host, self._domains) and not self._any_host:
            raise S3Error(
                "AccessDenied",
                f"The host {host!r} is not one of this door's names",
                status=403,
                hint="S3D_DOMAINS lists the names it answers to",
            )
        if not "".join(wire.headers.values()).isascii():
            for name, value in wire.headers.items():
                if SURROGATE.search(value):
                    raise S3Error("InvalidArgument", f"The header {name} is not UTF-8", details={"ArgumentName": name})
        if targets.is_foreign(wire.headers, host, self._hosts, self._origins):
            raise S3Error(
                "AccessDenied",
                "Another site's page may not use this door",
                status=403,
                hint="S3D_ORIGINS lists the sites whose pages may",
            )

    async def _respond(
        self, request: web.BaseRequest, call: Call, reply: Reply, request_id: str, *, closing: bool
    ) -> web.StreamResponse:
        status, headers, body = reply.status, reply.headers, reply.body
        if is_our_error(reply):
            headers["x-amz-id-2"] = self._host_id
            if isinstance(body, BytesBody):
                body = BytesBody(self._identified(request, body.data, request_id))
        headers.setdefault("x-amz-request-id", request_id)
        headers.setdefault(hdrs.SERVER, NAME)
        bare = request.method == "HEAD" or status in (204, 304)
        length = body.length if body is not None else None
        if length is not None:
            if not (bare and hdrs.CONTENT_LENGTH in headers) and status != 204:
                headers[hdrs.CONTENT_LENGTH] = str(length)
        elif body is None and not bare:
            headers[hdrs.CONTENT_LENGTH] = "0"
        if body is None or bare:
            if body is not None:
                await body.aclose()
            return Response(status=status, headers=headers)
        if isinstance(body, BytesBody) and len(body.data) <= SMALL:
            return Response(status=status, headers=headers, body=body.data)
        if body.send is not None and (length or 0) > SMALL:
            return await self._send(request, status, headers, body, body.send, closing=closing)
        return await self._stream(request, status, headers, body, closing=closing)

    async def _send(
        self, request: web.BaseRequest, status: int, headers: Headers, body: Body, send: Send, *, closing: bool
    ) -> web.StreamResponse:
        """Let a body that lies in a file go straight to the socket."""
        response = begun(status, headers, closing=closing)
        transport = request.transport
        try:
            if transport is None:
                return response
            # Nothing may be left in the transport when another writes to its socket: drain() waits for the last byte.
            transport.set_write_buffer_limits(0)
            try:
                await response.prepare(request)
                await request.writer.drain()
                await send(transport.get_extra_info("socket").fileno())
            finally:
                if not transport.is_closing():
                    transport.set_write_buffer_limits()
            await response.write_eof()
        except ConnectionError:
            raise
        except Exception as error:
            if not response.prepared:
                raise
            break_off(request, error)
        finally:
            await body.aclose()
        return response

    async def _stream(
        self, request: web.BaseRequest, status: int, headers: Headers, body: Body, *, closing: bool
    ) -> web.StreamResponse:
        response = begun(status, headers, closing=closing)
        try:
            blocks = body.chunks()
            try:
                # The first block before the headers: an error that comes instead of it is still an error document.
                first = await anext(blocks, b"")
                await response.prepare(request)
                if first:
                    await response.write(first)
                async for block in blocks:
                    await response.write(block)
                await response.write_eof()
            except ConnectionError:
                raise
            except Exception as error:
                if not response.prepared:
                    raise
                break_off(request, error)
        finally:
            await body.aclose()
        return response

    def _refuse(self, request: web.BaseRequest, error: S3Error, request_id: str) -> web.StreamResponse:
        headers: Headers = CIMultiDict(error.headers)
        headers["x-amz-request-id"] = request_id
        headers["x-amz-id-2"] = self._host_id
        headers[hdrs.SERVER] = NAME
        if request.method == "HEAD" or error.status == 304:
            return Response(status=error.status, headers=headers)
        headers[hdrs.CONTENT_TYPE] = XML
        return Response(status=error.status, headers=headers, body=self._error_document(request, error, request_id))

    async def _drained(self, request: web.BaseRequest, body: RequestBody) -> bool:
        """Read what is left of a refused body where it is little; whether nothing is left then.

        Where something is, the answer goes out, and the server reads on for LINGER seconds before it closes the
        connection: a client that is still sending would meet a reset instead of the answer.
        """
        content = request.content
        if content.is_eof():
            return True
        if (body.length or 0) > LITTLE or (not body.started and request.headers.get(hdrs.EXPECT)):
            return False
        with contextlib.suppress(TimeoutError, OSError, web.RequestPayloadError):
            async with asyncio.timeout(LINGER):
                while await content.readany():
                    pass
        return content.is_eof()


def _ended(serving: "asyncio.Future[Reply]") -> None:
    if not serving.cancelled() and (error := serving.exception()) is not None:
        log.warning("a request whose client has left failed: %s", error)


def begun(status: int, headers: Headers, *, closing: bool) -> web.StreamResponse:
    """A response that is sent piece by piece; with `closing` its head says that the connection ends with it."""
    response = web.StreamResponse(status=status, headers=headers)
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


def break_off(request: web.BaseRequest, error: Exception) -> None:
    """Cut the connection of a response that cannot be finished."""
    log.warning("a response broke off: %s", error)
    if request.transport is not None:
        request.transport.abort()


def is_document(operation: Operation | None) -> bool:
    """Whether what a request carries is a document, and not an object."""
    return operation is not None and not operation.streaming_input


async def whole(body: Body) -> Body:
    """A document that comes without its length: the remote is told one. Raises S3Error."""
    try:
        return BytesBody(await read_all(body, decode.REQUEST_BYTES))
    except ValueError:
        raise S3Error("MalformedXML", "The XML you provided is larger than any valid one") from None


def is_our_error(reply: Reply) -> bool:
    """Whether an answer is an error of the gateway's own, whose document does not name its request yet."""
    return reply.status >= 400 and reply.source != "remote"


def check_length(body: Body | None) -> None:
    """Refuse an object of unknown length, as S3 does."""
    if body is not None and body.length is None:
        raise S3Error("MissingContentLength", "You must provide the Content-Length HTTP header.", status=411)
