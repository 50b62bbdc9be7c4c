"""An HTTP request becomes a Wire, then a Call; a Reply becomes an HTTP response. It decides nothing.

Every error is an S3 error document with a request id. The first read of a body sends `100 Continue`, so whatever can be
judged without the body is judged before it. Once response headers are out, a failure cuts the connection: no client
takes half an object for a whole one.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from multidict import CIMultiDict

from s3d import connections, spans, targets
from s3d.access.verify import Caller
from s3d.api import S3, AnyHeaders, Body, BytesBody, Call, Headers, Reply, Send, Wire, read_all
from s3d.config import is_loopback
from s3d.connections import LINGER_SECONDS, Connection
from s3d.door.browsers import NO_PAGE, Browsers, Page, RulesOf, is_of_browser
from s3d.door.callers import GATEWAY, Callers
from s3d.door.exchange import Accounts, Exchange
from s3d.door.request_body import RequestBody
from s3d.door.response import NAME, XML, Response, begun, sending
from s3d.errors import S3DError, S3Error
from s3d.metrics import Metrics
from s3d.protocol import adminapis, answers, checksums, decode, encode, sigv4
from s3d.protocol.model import Operation
from s3d.settings import Gateway
from s3d.spans import Tracer

log = logging.getLogger(__name__)

MAX_DISCARDED = 1 << 20
"""A refused body up to this size is read, and its connection kept."""
# A body up to this size is sent in one write with its headers.
SMALL_BODY = 64 << 10
SURROGATE = re.compile("[\ud800-\udfff]")
"""What is left of header bytes that are not UTF-8."""
BLANK_INTERVAL = 15.0
"""Seconds between two blanks for a client that waits for one of these."""
PATIENT_LIMIT = 32 << 20
NO_SPAN = contextlib.nullcontext()
PROLOGUE = encode.PROLOGUE.encode().strip()


class Door:
    """One S3 front over one S3."""

    def __init__(
        self,
        serve: S3,
        settings: Gateway,
        rules_of: RulesOf,
        metrics: Metrics,
        callers: Callers | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        """Take what answers the calls, who knows the CORS rules of buckets, who counts, who may call (None: everyone
        who reaches the door), and who records requests (None: nobody)."""
        self.accounts = Accounts(metrics, settings)
        self._serve = serve
        self._callers = callers
        self._tracer = tracer
        host = urlsplit(settings.endpoint).hostname or "localhost"
        self._domains: Sequence[str] = (*settings.domains,)
        self._hosts = frozenset(["localhost", "127.0.0.1", "[::1]", "::1", host, *settings.domains])
        self._browsers = Browsers(rules_of, self._hosts, self._domains)
        self._insecure = settings.insecure
        self._admin_api = settings.admin_api
        self._host_id = secrets.token_hex(16)
        self._run = secrets.token_hex(4).upper()
        self._count = itertools.count(1)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        authority, path, query = targets.split(request.raw_path)
        exchange = Exchange(f"{self._run}{next(self._count):08X}", request.method, path)
        response: web.StreamResponse | None = None
        if self._tracer is not None:
            exchange.span = self._tracer.request(request.headers)
        connection = connections.of_request(request)
        connection.begin_answer()
        with NO_SPAN if exchange.span is None else spans.within(exchange.span):
            try:
                response = await self._answer(request, connection, exchange, authority, query)
            finally:
                connection.end_answer()
                self.accounts.close(exchange, response)
        return response

    async def _answer(
        self,
        request: web.BaseRequest,
        connection: Connection,
        exchange: Exchange,
        authority: str | None,
        query: str,
    ) -> web.StreamResponse:
        request_id, path = exchange.id, exchange.path
        headers: AnyHeaders = request.headers
        if authority is not None:
            # What the target says goes before the header (RFC 9112, 3.2.2).
            headers = CIMultiDict(headers)
            headers[hdrs.HOST] = authority
        wire = Wire(request.method, path, query, headers, scheme="https" if connection.is_encrypted else "http")
        body = RequestBody(request) if hdrs.CONTENT_LENGTH in request.headers or request.body_exists else None
        incoming: Body | None = None
        response: web.StreamResponse | None = None
        page = NO_PAGE
        is_drained = body is None
        try:
            try:
                self._check_host(wire)
                if is_of_browser(wire.headers):
                    page = await self._browsers.page_of(wire)
                if wire.method == hdrs.METH_OPTIONS:
                    response = self._preflight(wire, page, request_id)
                    return response
                if self._callers is None and page.foreign:
                    self._browsers.check(wire, page)
                operation, params = decode.request(wire, self._domains)
                if adminapis.is_meant(wire.method, params):
                    adminapis.check_allowed(self._admin_api)
                    # Whatever S3 would take it for.
                    operation = None
                exchange.operation = name = operation.name if operation else ""
                exchange.bucket, exchange.key = params.get("Bucket", ""), params.get("Key", "")
                caller: Caller = GATEWAY
                source: Body | None = body
                if self._callers is not None:
                    caller, source = await self._admit(self._callers, request, name, params, wire, body, page)
                elif wire.query:
                    # Without keys a presigned URL has no more than its time. Of equal names the first counts.
                    sigv4.check_presigned(dict(reversed(decode.query(wire.query))), datetime.now(UTC))
                if source is not None:
                    source = await whole(source) if is_document(operation) and source.length is None else source
                    incoming = source
                    if checksums.is_promised(wire, caller.payload):
                        incoming = checksums.incoming(source, wire, names=(), payload=caller.payload, seal=caller.seal)
                check_length(incoming)
                exchange.received = (incoming.length or 0) if incoming else 0
                call = Call(name, params, wire, incoming, identity=caller.key.identity, trace=request_id)
                if call.operation in answers.LONG:
                    return await self._patient(request, call, page, exchange)
                reply = await self._serve(call)
                # Before the head of the answer, which says it: a client that is not told would send its next request
                # into a connection that is being closed.
                is_drained = body is None or request.content.is_eof() or await self._drained(request, body)
                response = await self._respond(request, reply, page, exchange, closing=not is_drained)
            except S3Error as error:
                response = self._refuse(request, page, error, request_id)
            except S3DError as error:
                # Of a body of the local dir whose bytes cannot be had.
                log.error("request %s (%s %s) failed: %s", request_id, wire.method, path, error)
                lost = S3Error("ServiceUnavailable", error.message, status=503, hint=error.hint)
                response = self._refuse(request, page, lost, request_id)
            except (asyncio.CancelledError, ConnectionError):
                raise
            except Exception:
                log.exception("a bug: request %s (%s %s) failed", request_id, wire.method, path)
                bug = S3Error("InternalError", "We encountered an internal error. Please try again.", status=500)
                response = self._refuse(request, page, bug, request_id)
        finally:
            if incoming is not None:
                await incoming.aclose()
            if body is not None and not is_drained and not await self._drained(request, body) and response is not None:
                response.force_close()
        return response

    async def _admit(
        self,
        callers: Callers,
        request: web.BaseRequest,
        operation: str,
        params: dict[str, Any],
        wire: Wire,
        body: Body | None,
        page: Page,
    ) -> tuple[Caller, Body | None]:
        """Whose request it is, and its body from the start."""
        caller, source = await callers.admit(operation, params, wire, body, secure=is_secure(request))
        if caller.key.id:
            connections.of_request(request).authenticated()
        else:
            # A page that signs may come from anywhere.
            self._browsers.check(wire, page)
        return caller, source

    async def _patient(
        self, request: web.BaseRequest, call: Call, page: Page, exchange: Exchange
    ) -> web.StreamResponse:
        """Answer an operation that the remote takes its time for, and that is judged by the end of its document.

        As S3 does it: what takes long begins its answer with 200, keeps the client waiting by blanks, and ends it with
        the result, or with an error that a client of these operations expects there. Raises S3Error before that.
        """
        serving = asyncio.ensure_future(self._answered(call))
        try:
            await asyncio.wait([serving], timeout=BLANK_INTERVAL)
            if serving.done():
                return await self._respond(request, serving.result(), page, exchange, closing=False)
            headers: Headers = CIMultiDict({hdrs.CONTENT_TYPE: XML, "x-amz-request-id": exchange.id})
            page.tell(headers, forwarded=False)
            response = begun(200, headers, closing=False)
            await response.prepare(request)
            await response.write(encode.PROLOGUE.encode())
            while not serving.done():
                await response.write(b" ")
                await asyncio.wait([serving], timeout=BLANK_INTERVAL)
            await response.write((await self._end(request, call, serving, exchange)).removeprefix(PROLOGUE))
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
        self, request: web.BaseRequest, call: Call, serving: asyncio.Future[Reply], exchange: Exchange
    ) -> bytes:
        """The document that ends an answer which has begun."""
        try:
            reply = serving.result()
        except S3Error as error:
            return self._error_document(request, error, exchange.id)
        exchange.source = reply.source
        document = await read_all(reply.body, PATIENT_LIMIT)
        exchange.sent = len(document)
        return self._identified(request, document, exchange.id) if is_our_error(reply) else document

    def _error_document(self, request: web.BaseRequest, error: S3Error, request_id: str) -> bytes:
        return self._identified(request, encode.error(error), request_id)

    def _identified(self, request: web.BaseRequest, document: bytes, request_id: str) -> bytes:
        return encode.identified(document, request_id=request_id, host_id=self._host_id, resource=request.raw_path)

    @property
    def _takes_any_host(self) -> bool:
        """Whether no page of a browser can gain by another name of the door: where each request is signed, it cannot
        make one."""
        return self._insecure or (self._callers is not None and self._callers.all_sign)

    def _check_host(self, wire: Wire) -> None:
        """Refuse other people's host names (A-3), and headers that are no text."""
        host = targets.host_of(wire.headers.get(hdrs.HOST, ""))
        if len(wire.headers.getall(hdrs.HOST, ())) > 1:
            raise S3Error("InvalidRequest", "The request has more than one Host header")
        if host not in self._hosts and not targets.is_named(host, self._domains) and not self._takes_any_host:
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

    def _preflight(self, wire: Wire, page: Page, request_id: str) -> web.StreamResponse:
        """Answer a preflight. Raises S3Error."""
        headers = self._browsers.preflight(wire, page)
        headers["x-amz-request-id"] = request_id
        headers["x-amz-id-2"] = self._host_id
        headers[hdrs.SERVER] = NAME
        return Response(status=200, headers=headers)

    async def _respond(
        self, request: web.BaseRequest, reply: Reply, page: Page, exchange: Exchange, *, closing: bool
    ) -> web.StreamResponse:
        status, headers, body = reply.status, reply.headers, reply.body
        exchange.source = reply.source
        if status >= 400 and is_our_error(reply):
            headers["x-amz-id-2"] = self._host_id
            if isinstance(body, BytesBody):
                body = BytesBody(self._identified(request, body.data, exchange.id))
        if page is not NO_PAGE:
            page.tell(headers, forwarded=reply.is_remotes)
        headers.setdefault("x-amz-request-id", exchange.id)
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
        exchange.sent = length or 0
        if isinstance(body, BytesBody) and len(body.data) <= SMALL_BODY:
            return Response(status=status, headers=headers, body=body.data)
        if body.send is not None and (length or 0) > SMALL_BODY and not is_encrypted(request):
            return await self._send(request, status, headers, body, body.send, closing=closing)
        return await self._stream(request, status, headers, body, closing=closing)

    async def _send(
        self, request: web.BaseRequest, status: int, headers: Headers, body: Body, send: Send, *, closing: bool
    ) -> web.StreamResponse:
        """Let a body that lies in a file go straight to the socket."""
        response = begun(status, headers, closing=closing)
        transport = request.transport
        async with sending(request, response, body):
            if transport is None:
                return response
            # Nothing may be left in the transport when another writes to its socket: drain() waits for the last byte.
            transport.set_write_buffer_limits(0)
            try:
                await response.prepare(request)
                await request.writer.drain()
                with own_number(transport) as number:
                    await send(number)
            finally:
                if not transport.is_closing():
                    transport.set_write_buffer_limits()
            await response.write_eof()
        return response

    async def _stream(
        self, request: web.BaseRequest, status: int, headers: Headers, body: Body, *, closing: bool
    ) -> web.StreamResponse:
        response = begun(status, headers, closing=closing)
        async with sending(request, response, body):
            blocks = body.chunks()
            # The first block before the headers: an error that comes instead of it is still an error document.
            first = await anext(blocks, b"")
            await response.prepare(request)
            if first:
                await response.write(first)
            async for block in blocks:
                await response.write(block)
            await response.write_eof()
        return response

    def _refuse(self, request: web.BaseRequest, page: Page, error: S3Error, request_id: str) -> web.StreamResponse:
        headers: Headers = CIMultiDict(error.headers)
        page.tell(headers, forwarded=False)
        headers["x-amz-request-id"] = request_id
        headers["x-amz-id-2"] = self._host_id
        headers[hdrs.SERVER] = NAME
        if request.method == "HEAD" or error.status == 304:
            return Response(status=error.status, headers=headers)
        headers[hdrs.CONTENT_TYPE] = XML
        return Response(status=error.status, headers=headers, body=self._error_document(request, error, request_id))

    async def _drained(self, request: web.BaseRequest, body: RequestBody) -> bool:
        """Read what is left of a refused body where it is little; whether nothing is left then.

        Where something is, the answer goes out, and the server reads on for LINGER_SECONDS seconds before it closes the
        connection: a client that is still sending would meet a reset instead of the answer.
        """
        content = request.content
        if content.is_eof():
            return True
        if (body.length or 0) > MAX_DISCARDED or (not body.started and request.headers.get(hdrs.EXPECT)):
            return False
        with contextlib.suppress(TimeoutError, OSError, web.RequestPayloadError):
            async with asyncio.timeout(LINGER_SECONDS):
                while await content.readany():
                    pass
        return content.is_eof()


@contextlib.contextmanager
def own_number(transport: asyncio.Transport) -> Iterator[int]:
    """A number of a connection's socket that is ours. When a client leaves its connection is closed, while what sends
    to it may wait for more bytes, and the next connection is given its number. Raises OSError where it is gone."""
    number = os.dup(transport.get_extra_info("socket").fileno())
    try:
        yield number
    finally:
        os.close(number)


def _ended(serving: "asyncio.Future[Reply]") -> None:
    if not serving.cancelled() and (error := serving.exception()) is not None:
        log.warning("a request whose client has left failed: %s", error)


def is_encrypted(request: web.BaseRequest) -> bool:
    """Whether it comes by TLS. Nothing but the transport may write to the socket then: what else does would send the
    bytes as they are (A-10)."""
    return connections.of_request(request).is_encrypted


def is_secure(request: web.BaseRequest) -> bool:
    """Whether nobody on the way can read or change a request: it comes by TLS, or from this machine."""
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    return is_encrypted(request) or (peer is not None and is_loopback(peer[0]))


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
