"""The remote S3 store: the innermost layer, and the only wire path to it.

A request is forwarded: same headers, query and body, only addressed and signed anew, and answered by the remote's own
response, which `judge` judges. Nothing is sent twice here, nor below, but where the remote has said that it took
nothing: it names another region, or closed an idle connection just as it was used. A request that cannot be sent or
stays unanswered raises Unavailable, which says whether it may have arrived.
"""

import asyncio
import contextlib
import logging
import os
import ssl
from collections.abc import AsyncIterator
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict
from yarl import URL

from s3d import spans
from s3d.api import MAX_HEADERS, AnyHeaders, Body, BytesBody, Call, Headers, Outcome, Reply, Wire, read_all
from s3d.client import DOCUMENT_LIMIT
from s3d.errors import ConfigError, NotS3, Unavailable
from s3d.layers import blanks
from s3d.layers.addresses import Addresses, Target
from s3d.layers.blanks import Blanks
from s3d.layers.credentials import Chain
from s3d.layers.health import Exchange, Health
from s3d.layers.identities import OWN, Identities, Identity
from s3d.layers.judge import PATIENT, Judge, read_document
from s3d.layers.proxies import Proxies, shown
from s3d.layers.skew import Skew
from s3d.layers.standing import NO_BUCKET
from s3d.layers.transfers import EARLY_LIMIT, HOP_BY_HOP, NOT_ANSWERED, PACE_MIN_BYTES, Download, Upload, leave_out
from s3d.metrics import Metrics
from s3d.protocol import chunked, decode, sigv4
from s3d.protocol.canonical import Reading
from s3d.protocol.checksums import EMPTY_SHA256
from s3d.settings import Remote as RemoteSettings

T = TypeVar("T")
log = logging.getLogger(__name__)

NOT_SENT_ON = HOP_BY_HOP | {"x-amz-decoded-content-length", "x-amz-trailer"}
SKIP_AUTO = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
UNSIGNED = "UNSIGNED-PAYLOAD"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
# A refusal that comes before the bytes is worth a round trip from this size on.
EXPECT_MIN_BYTES = 1 << 20
# A body up to this size is read whole to learn its trailer, which then travels as a header.
TRAILER_BUFFER = 256 << 10
REDIRECTS = frozenset([301, 307, 400])
SAYING = frozenset([400, 401, 403, 404])
"""Statuses of errors that may be about us."""
EXPECTATION_FAILED, NOT_IMPLEMENTED = 417, 501
MAX_SENT = 3
"""How often a request is sent at most: for another region, and for an expectation that is not known."""
IDLE_CLOSED = b"<Code>RequestTimeout</Code>"
"""What S3 says on a connection that it closes for its idleness, also to a request that comes at that moment."""


class Request(aiohttp.ClientRequest):
    """A request that stops waiting for 100 Continue after a second, as RFC 9110 (10.1.1) asks of clients."""

    def update_expect_continue(self, expect: bool = False) -> None:
        """Arm the deadline beside aiohttp's own waiter."""
        super().update_expect_continue(expect)
        if self._continue is not None:
            self.loop.call_later(1.0, _release, self._continue)


def _release(waiter: "asyncio.Future[bool]") -> None:
    if not waiter.done():
        waiter.set_result(True)


class Remote:
    """The S3 store named by the settings."""

    def __init__(self, settings: RemoteSettings, metrics: Metrics) -> None:
        """Prepare the connections; nothing is sent before the first call."""
        self._metrics = metrics
        self._settings = settings
        chain = Chain(settings.region, needed=not settings.anonymous and not settings.credentials_dir)
        self._addresses = Addresses(settings, chain)
        self.region, self.endpoint = self._addresses.region, self._addresses.endpoint
        self.is_virtual = self._addresses.is_virtual
        self.identities = Identities(settings, chain, self._addresses.base)
        self._last = ("", OWN)
        """The bucket that was asked last, and by whom."""
        self._expects = True
        """Whether the remote may be asked to answer before the bytes; not once it has refused that."""
        self._skew = Skew()
        self.health = Health(settings.away_after, settings.request_timeout, self._probe)
        self._proxies = Proxies()
        if proxy := self._proxies.of(self._addresses.scheme, self._addresses.host):
            log.info("the remote is reached through the proxy %s", shown(proxy))
        self._judge = Judge(self._forward, settings.request_timeout)
        self._blanks = Blanks(self._send_blanks)
        # Last, since nobody closes the connections of a remote that could not be made.
        tls = _tls()
        self._client = self._open_client(tls, keep=True)
        self._fresh = self._open_client(tls, keep=False)
        """Makes a connection for each request."""

    def _open_client(self, tls: ssl.SSLContext, *, keep: bool) -> aiohttp.ClientSession:
        # No limit of connections: waiting for a free one would look like a silent remote.
        client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=tls, force_close=not keep),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._settings.away_after),
            skip_auto_headers=SKIP_AUTO,
            auto_decompress=False,
            request_class=Request,
            max_headers=MAX_HEADERS,
        )
        # It would send a request again whose connection was lost, and nobody would know that it went out twice.
        client._retry_connection = False  # noqa: SLF001 (there is no public way, and a test counts requests)
        return client

    async def aclose(self) -> None:
        """Close the connections."""
        try:
            await self._client.close()
        finally:
            await self._fresh.close()

    async def __call__(self, call: Call) -> Reply:
        """Send a call and judge its answer."""
        if self.health.away:
            if call.body:
                await call.body.aclose()
            raise self._unavailable(sent=False)
        if call.bucket:
            self._last = (call.bucket, call.identity)
        try:
            identity = self.identities.get(call.identity)
        except BaseException:
            if call.body:
                await call.body.aclose()
            raise
        try:
            reply = await self._judge(call)
        except NotS3:
            identity.standing.not_s3()
            raise
        if reply.status < 300 or reply.outcome is Outcome.DONE:
            identity.standing.passed()
        elif reply.status < 500 or reply.status == NOT_IMPLEMENTED:
            self._refused(call, identity, reply)
        return reply

    def _refused(self, call: Call, identity: Identity, reply: Reply) -> None:
        """Note an error that may be about us and not about what was asked."""
        document = reply.body.data if isinstance(reply.body, BytesBody) else b""
        error = decode.error(reply.status, reply.headers, document)
        identity.credentials.refused(error.status, error.code)
        if reply.outcome is Outcome.UNKNOWN:
            identity.standing.not_s3()
            return
        if reply.outcome is Outcome.REFUSED:
            identity.standing.answered()
        if reply.status in SAYING:
            absent = error.status == 404 and call.operation == "HeadBucket"
            looked = call.origin in ("door", "queue") and call.wire.method in ("GET", "HEAD")
            identity.standing.refused(NO_BUCKET if absent else error.code, has_key=bool(call.key), looked=looked)

    async def _forward(self, call: Call) -> Reply:
        wire = call.wire
        query, headers = sigv4.strip_auth(wire.query, wire.headers)
        named = {name.strip().lower() for name in wire.headers.get("Connection", "").split(",")}
        leave_out(headers, NOT_SENT_ON | named)
        if call.operation != "GetObject":
            # What is read here must be plain; of an object its client may have another coding.
            headers.popall("Accept-Encoding", None)
        if "aws-chunked" in ",".join(lines := headers.popall("Content-Encoding", [])).lower():
            lines = [kept] if (kept := chunked.codings(lines)) else []
        headers.extend(("Content-Encoding", line) for line in lines)
        body = call.body
        payload_hash = wire.headers.get("x-amz-content-sha256", UNSIGNED)
        if payload_hash.startswith("STREAMING-"):
            body, payload_hash = await self._reframe(body, wire.headers, headers)
        elif body is None and payload_hash == UNSIGNED:
            payload_hash = EMPTY_SHA256
        return await self._request(
            call,
            wire.method,
            "/" + quote(call.key, safe="/-_.~"),
            query.replace("+", "%20"),
            headers,
            body,
            payload_hash,
        )

    async def _reframe(self, body: Body | None, wire_headers: Any, headers: Headers) -> tuple[Body | None, str]:
        """Turn a decoded aws-chunked body into what the remote is sent, keeping the checksum of its trailer."""
        kept = ",".join(headers.getall("Content-Encoding", []))
        trailer = wire_headers.get("x-amz-trailer", "").strip().lower()
        if body is None or not trailer:
            return body, UNSIGNED
        if body.length is not None and body.length <= TRAILER_BUFFER:
            data = await read_all(body, TRAILER_BUFFER)
            headers[trailer] = body.digests[trailer]
            return BytesBody(data), UNSIGNED
        if self._settings.checksums == "when_required":
            return body, UNSIGNED
        framed = chunked.frame(body, trailer)
        headers["x-amz-trailer"] = trailer
        headers["x-amz-decoded-content-length"] = str(body.length)
        headers["Content-Encoding"] = f"{kept},aws-chunked" if kept else "aws-chunked"
        return framed, UNSIGNED_TRAILER

    async def _request(
        self, call: Call, method: str, path: str, query: str, headers: Headers, body: Body | None, payload_hash: str
    ) -> Reply:
        """Sign, send and answer one request; once more for each reason for which the remote says that it has taken
        nothing: the bucket is in another region, it knows no `Expect`, or the connection was being closed for its
        idleness."""
        client, sent = self._client, 0
        while True:
            sent += 1
            target = self._addresses.target(call.bucket, path)
            upload = Upload(body) if body is not None else None
            expects = self._expects and upload is not None and (upload.body.length or 0) >= EXPECT_MIN_BYTES
            about = {spans.METHOD: method, spans.SERVER: target.host, spans.BUCKET: call.bucket, spans.KEY: call.key}
            with spans.child(call.operation or method, about) as span:
                response = await self._exchange(
                    client, call, method, target, query, headers, upload, payload_hash, expects=expects
                )
                if span is not None:
                    answered: dict[str, spans.Value] = {
                        spans.STATUS: response.status,
                        spans.REQUEST_ID: response.headers.get("x-amz-request-id", ""),
                    }
                    span.tell(answered, failed=response.status >= 400)
            if isinstance(response, Reply):
                return response
            download = Download(response, upload, self.health)
            reply = Reply(response.status, _end_to_end(response), body=download)
            unspent = upload is None or not upload.started or upload.body.replayable
            if response.status == EXPECTATION_FAILED and expects and unspent:
                log.info("the remote knows no Expect: large bodies are sent without it from now on")
                self._expects = False
            elif (
                sent == MAX_SENT
                or not unspent
                or not await self._took_nothing(call, method, target, response, reply, sent)
            ):
                if reply.body is download:
                    await download.begin()
                return reply
            response.close()
            client = self._fresh

    async def _took_nothing(
        self, call: Call, method: str, target: Target, response: aiohttp.ClientResponse, reply: Reply, sent: int
    ) -> bool:
        """Whether the remote says that it would take the same request if it was sent again at once. It was `sent` so
        often; only the first connection can have been idle. A region is another than that of `target`, for which this
        request was signed: what other requests have learnt while this one was under way says nothing about it."""
        if response.status not in REDIRECTS:
            return False
        region = response.headers.get("x-amz-bucket-region", "")
        if region and region != target.region:
            self._addresses.learn(call.bucket, region)
            return True
        if sent > 1 or response.status != 400 or reply.body is None or (reply.body.length or 0) > EARLY_LIMIT:
            return False
        if method == "HEAD":
            # Its error has no document. What is wrong with the request itself is said again.
            return response.headers.get(hdrs.CONNECTION, "").lower() == "close"
        return IDLE_CLOSED in await read_document(call, reply, DOCUMENT_LIMIT, self._settings.request_timeout)

    async def _exchange(
        self,
        client: aiohttp.ClientSession,
        call: Call,
        method: str,
        target: Target,
        query: str,
        headers: Headers,
        upload: "Upload | None",
        payload_hash: str,
        *,
        probe: bool = False,
        expects: bool = False,
        reading: Reading | None = None,
    ) -> aiohttp.ClientResponse | Reply:
        """Send one request, once; its response, or the Reply that was saved from a connection which broke."""
        signed = headers.copy()
        signed["Host"] = target.host
        length = upload.body.length if upload else None
        if length is not None:
            signed["Content-Length"] = str(length)
        reading = reading or await self._blanks.reading(call.bucket, call.identity, headers)
        try:
            await self._sign(call.identity, signed, method, target, query, payload_hash, reading)
        except Unavailable:
            # Any answer to a probe says that the remote is there, also one to a request that nobody has signed.
            if not probe:
                raise
        url = URL(f"{target.scheme}://{target.host}{target.path}{'?' + query if query else ''}", encoded=True)
        exchange: Exchange | None = None
        try:
            async with self.health.exchange(patient=call.operation in PATIENT, probe=probe) as exchange:
                data: Any = upload
                if upload:
                    upload.exchange = exchange
                    if isinstance(upload.body, BytesBody) and (length or 0) <= PACE_MIN_BYTES:
                        data = upload.whole()
                response = await client.request(
                    method,
                    url,
                    headers=signed,
                    data=data,
                    allow_redirects=False,
                    expect100=expects,
                    proxy=self._proxies.of(target.scheme, target.host),
                )
        except BaseException as error:
            early = None
            if upload:
                early = upload.saved()
                await upload.aclose()
                if upload.error is not None and not isinstance(error, asyncio.CancelledError):
                    raise upload.error from error
            if not isinstance(error, aiohttp.ClientError | OSError | TimeoutError):
                raise
            if early is None:
                self._metrics.remote_requests.labels("none").inc()
                raise self._lost(error, exchange, upload) from error
            self._heard(early.status, early.headers)
            return early
        if upload:
            upload.answered(response.status)
        self._heard(response.status, response.headers)
        if response.status == 403:
            self._blanks.refused(headers)
        return response

    def _heard(self, status: int, headers: AnyHeaders) -> None:
        """Note that the remote has answered."""
        self._metrics.remote_requests.labels(str(status)).inc()
        self.health.answered()
        if status == 403:
            self._skew.learn(headers.get(hdrs.DATE, ""))

    def _lost(self, error: Exception, exchange: Exchange | None, upload: "Upload | None") -> Unavailable:
        """Say what a failed exchange means, and let the remote's health know."""
        if isinstance(error, aiohttp.ClientConnectorError | ssl.SSLError):
            self.health.failed(str(error))
            return self._unavailable(sent=False)
        if isinstance(error, aiohttp.ClientHttpProxyError):
            self.health.failed(f"the proxy makes no connection to it: status {error.status} {error.message}")
            return self._unavailable(sent=False)
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            if exchange is not None and not exchange.missed:
                self.health.missed()
            return Unavailable(f"No connection to the remote within {self.health.away_after:g} s")
        sent = exchange is not None and (upload is None or upload.finished)
        if exchange is not None and exchange.gave_up and self.health.away:
            return self._unavailable(sent=sent)
        reason = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        return Unavailable(f"The connection to the remote was lost: {reason}", sent=sent)

    def _unavailable(self, *, sent: bool) -> Unavailable:
        return Unavailable(
            f"The remote {self.endpoint} is away: {self.health.reason}",
            hint="writes are queued meanwhile; what needs the remote works again when it is back",
            sent=sent,
        )

    async def _sign(
        self,
        identity: str,
        headers: Headers,
        method: str,
        target: Target,
        query: str,
        payload_hash: str,
        reading: Reading,
    ) -> None:
        """Sign a request by the keys of an identity. Raises Unavailable where it has none."""
        keys = await self.identities.get(identity).credentials.find()
        if keys is None:
            if payload_hash == UNSIGNED_TRAILER:
                headers["x-amz-content-sha256"] = payload_hash
            return
        sigv4.sign(
            method=method,
            path=target.path,
            query=query,
            headers=headers,
            payload_hash=payload_hash,
            access_key=keys.access_key,
            secret_key=keys.secret_key,
            token=keys.token,
            region=target.region,
            now=self._skew.now(),
            reading=reading,
        )

    async def _probe(self) -> None:
        bucket, identity = self._last
        call = Call("HeadBucket", {"Bucket": bucket}, Wire("HEAD", "/", "", CIMultiDict()), identity=identity)
        target = self._addresses.target(bucket, "/")
        response = await self._exchange(
            self._client, call, "HEAD", target, "", CIMultiDict(), None, EMPTY_SHA256, probe=True
        )
        if isinstance(response, aiohttp.ClientResponse):
            response.release()

    async def _send_blanks(self, bucket: str, identity: str, reading: Reading) -> str:
        """Ask a bucket something with blanks in a header, signed by a reading; the code of its error, "" for none."""
        call = Call(
            "GetBucketLocation" if bucket else "ListBuckets",
            {"Bucket": bucket} if bucket else {},
            Wire("GET", "/", "", CIMultiDict()),
            identity=identity,
        )
        headers: Headers = CIMultiDict(blanks.SAMPLE)
        query, target = "location" if bucket else "", self._addresses.target(bucket, "/")
        response = await self._exchange(
            self._client, call, "GET", target, query, headers, None, EMPTY_SHA256, reading=reading
        )
        if isinstance(response, Reply):
            raise TypeError("a request without a body cannot break under it")
        document = await read_all(Download(response, None, self.health), EARLY_LIMIT)
        return decode.error(response.status, response.headers, document).code if response.status >= 300 else ""


def _end_to_end(response: aiohttp.ClientResponse) -> Headers:
    headers = response.headers.copy()
    leave_out(headers, NOT_ANSWERED)
    return headers


def _tls() -> ssl.SSLContext:
    bundle = os.environ.get("AWS_CA_BUNDLE")
    try:
        return ssl.create_default_context(cafile=bundle or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"AWS_CA_BUNDLE: {bundle} cannot be read: {error}") from None


@contextlib.asynccontextmanager
async def connect(settings: RemoteSettings, metrics: Metrics) -> AsyncIterator[Remote]:
    """Open the remote and keep its health watched for as long as the context lasts. Raises ConfigError."""
    async with contextlib.aclosing(Remote(settings, metrics)) as remote:
        await remote.identities.read()
        if settings.credentials_dir:
            with contextlib.suppress(Unavailable):
                await remote.identities.own.credentials.find()
        watch = asyncio.create_task(remote.health.watch(metrics))
        try:
            yield remote
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
