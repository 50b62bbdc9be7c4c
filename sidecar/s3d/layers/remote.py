"""The remote S3 store: the innermost layer, and the only wire path to it.

A request is forwarded: same headers, query and body, only addressed and signed anew, and answered by the remote's own
response, which `judge` judges. Nothing is sent twice here, nor below, but where the remote has said that it took
nothing: it names another region, or closed an idle connection just as it was used. A request that cannot be sent or
stays unanswered raises Unavailable, which says whether it may have arrived.
"""

import asyncio
import contextlib
import functools
import io
import logging
import math
import os
import select
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, cast
from urllib.parse import quote, urlsplit

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict
from yarl import URL

from s3d import config
from s3d.api import AnyHeaders, Body, BytesBody, Call, Headers, Reply, read_all
from s3d.errors import ConfigError, CorruptBody, S3Error, Unavailable
from s3d.layers.health import Exchange, Health
from s3d.layers.judge import Judge
from s3d.layers.splice import Pipe, SourceFailed
from s3d.metrics import Metrics
from s3d.protocol import chunked, decode, sigv4

T = TypeVar("T")
log = logging.getLogger(__name__)

# Not end to end (RFC 9110, 7.6.1), or said anew for each hop.
HOP_BY_HOP = frozenset(
    "connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer "
    "transfer-encoding upgrade host content-length expect".split()
)
NOT_SENT_ON = HOP_BY_HOP | {"x-amz-decoded-content-length", "x-amz-trailer"}
NOT_ANSWERED = HOP_BY_HOP | {"x-cache", "age"}
"""Headers of the remote that would be taken for ours."""
SKIP_AUTO = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
UNSIGNED = "UNSIGNED-PAYLOAD"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
# A refusal that comes before the bytes is worth a round trip from this size on.
EXPECT_FROM = 1 << 20
# A body up to this size is read whole to learn its trailer, which then travels as a header.
TRAILER_BUFFER = 256 << 10
LARGEST_SKEW = 240.0
"""Seconds by which the clocks may differ before ours is corrected for signatures; S3 allows 900."""
EARLIEST, LATEST = datetime(2006, 3, 14, tzinfo=UTC).timestamp(), datetime(2106, 2, 7, tzinfo=UTC).timestamp()
"""Between these (Unix times: S3's first day, and the end of 32 bits) a remote's clock is believed."""
# Answers of these may take as long as the object is large.
PATIENT = frozenset(["CompleteMultipartUpload", "CopyObject", "UploadPartCopy", "SelectObjectContent"])
SPLICED = 4 << 20
"""Bytes from which on the kernel moves a body. It costs the connection, which cannot be used again."""
REDIRECTS = frozenset([301, 307, 400])
PACED = 64 << 10
"""Bytes from which on a body is sent block by block, with an eye on what the remote says meanwhile."""
HEARD = 0.05
"""Seconds that a body waits for the rest of an answer whose beginning is there."""
SETTLING = 5
"""Turns of the loop until the head of an answer has reached who waits for it."""
EARLY_LIMIT = 1 << 20
"""Bytes of the largest answer that is saved from a connection which broke under a body."""
IDLE_CLOSED = b"<Code>RequestTimeout</Code>"
"""What S3 says on a connection that it closes for its idleness, also to a request that comes at that moment."""
PROFILES = frozenset(["AWS_PROFILE", "AWS_DEFAULT_PROFILE"])
KEY_FILES = ("accessKeyID", "secretAccessKey", "sessionToken")
KEYS_REFUSED = frozenset([400, 401, 403])
KEYS_WRONG = frozenset(
    "ExpiredToken TokenRefreshRequired InvalidToken InvalidAccessKeyId SignatureDoesNotMatch Forbidden "
    "Unauthorized".split()
)
"""Errors that other keys may mend; the last two are those of a HEAD, which has no document."""
RENEWAL = 5.0
"""Seconds between two looks for other keys."""
SOURCE_PAUSE = 1.0
"""Seconds for which the failure of a source of credentials is not looked at again."""
KEY_SECONDS = 2.0
"""How old keys from files may be."""


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


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes: the URL without query, and what is signed."""

    scheme: str
    host: str
    path: str
    region: str


class Keys(NamedTuple):
    """What requests are signed with."""

    access_key: str
    secret_key: str
    token: str | None


class KeyFiles:
    """Keys in the files of a directory, as a Secret is mounted; changed ones are used from some seconds later on.

    Where the files are gone or cannot be read, the last keys stay.
    """

    def __init__(self, directory: Path) -> None:
        """Take the directory; nothing is read yet."""
        self._directory = directory
        self._keys: Keys | None = None
        self._read_at = -math.inf

    async def keys(self) -> Keys | None:
        """The keys that are valid now; None where there never were any."""
        if time.monotonic() - self._read_at >= KEY_SECONDS:
            self._read_at = time.monotonic()
            self._keys = await asyncio.to_thread(read_keys, self._directory) or self._keys
        return self._keys


def read_keys(directory: Path) -> Keys | None:
    """The keys in a directory; None where they are not all there."""
    try:
        # A kubelet changes all files of a volume at once, by the link that the names in it lead through.
        there = (directory / "..data").resolve() if (directory / "..data").exists() else directory
        found = [
            (there / name).read_text(encoding="utf-8").strip() if (there / name).exists() else "" for name in KEY_FILES
        ]
    except (OSError, ValueError) as error:
        log.warning("%s cannot be read: %s", directory, error)
        return None
    access_key, secret_key, token = found
    return Keys(access_key, secret_key, token or None) if access_key and secret_key else None


class Chain:
    """Where credentials, regions and endpoints come from: the AWS SDK's chain, in which the environment is first.

    Keys in the environment are all that most daemons have, so the SDK itself, a third of a daemon's memory and of its
    start, is loaded only where they are not.
    """

    def __init__(self, *, needed: bool) -> None:
        """Find keys in the environment, or load the SDK where they are `needed` and not there."""
        self._credentials: Any = None
        self._keys = keys_in(os.environ)
        if needed and self._keys is None:
            self.session  # noqa: B018 (loading takes a while, which no request should wait for)

    @functools.cached_property
    def session(self) -> Any:
        """The SDK's session."""
        from aiobotocore.session import get_session

        return get_session()

    def renew(self) -> None:
        """Look at every source again before the next request: what was found before is refused."""
        self._credentials = None

    def region(self) -> str:
        """The region that the environment or the profile names."""
        region = os.environ.get("AWS_DEFAULT_REGION")
        if not region and (PROFILES & os.environ.keys() or any(map(os.path.exists, profile_files()))):
            region = self.session.get_config_variable("region")
        return region or "us-east-1"

    async def keys(self) -> Keys | None:
        """The keys that are valid now; None where there are none."""
        if self._keys is not None:
            return self._keys
        if self._credentials is None:
            self._credentials = await self.session.get_component("credential_provider").load_credentials()
        if self._credentials is None:
            return None
        now = await self._credentials.get_frozen_credentials()
        return Keys(now.access_key, now.secret_key, now.token)


def keys_in(environment: Mapping[str, str]) -> Keys | None:
    """The keys of the environment; None where there are none, or where they expire and the SDK has to look again."""
    access_key, secret_key = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    if not access_key or not secret_key or environment.get("AWS_CREDENTIAL_EXPIRATION"):
        return None
    token = environment.get("AWS_SESSION_TOKEN") or environment.get("AWS_SECURITY_TOKEN")
    return Keys(access_key, secret_key, token or None)


def profile_files() -> tuple[str, str]:
    """Where profiles are kept."""
    # Path's own raises where there is no home.
    return (
        os.path.expanduser(os.environ.get("AWS_CONFIG_FILE", "~/.aws/config")),  # noqa: PTH111
        os.path.expanduser(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")),  # noqa: PTH111
    )


class Remote:
    """The S3 store named by the settings."""

    def __init__(self, settings: config.Remote, metrics: Metrics) -> None:
        """Prepare the connections; nothing is sent before the first call."""
        self._metrics = metrics
        self._settings = settings
        self._files = KeyFiles(settings.credentials_dir) if settings.credentials_dir else None
        self._chain = Chain(needed=not settings.anonymous and not self._files)
        self.credentials: Literal["unknown", "found", "missing", "failing", "not required"] = (
            "not required" if settings.anonymous else "unknown"
        )
        """What is known of them: `missing` where the last look found none, `failing` where it could not be made."""
        self._finding = asyncio.Lock()
        self._renewed_at = -math.inf
        self._source_failed = ""
        """How the source of the credentials failed at the last look; "" where it did not."""
        self._source_failed_at = 0.0
        self.region = settings.region or self._chain.region()
        self.endpoint = settings.endpoint or self._aws_endpoint(self.region)
        parts = urlsplit(self.endpoint)
        self._scheme, self._host, self._base = parts.scheme, parts.netloc, parts.path
        self._virtual = settings.addressing == "virtual" or (settings.addressing == "auto" and not settings.endpoint)
        self._regions: dict[str, str] = {}
        self._last_bucket = ""
        self._skew = 0.0
        """Seconds by which the remote's clock is ahead, where it refused us for that."""
        self.health = Health(settings.away_after, settings.request_timeout, self._probe)
        tls = _tls()
        self._client = self._open_client(tls, keep=True)
        self._fresh = self._open_client(tls, keep=False)
        """Makes a connection for each request."""
        self._judge = Judge(self._forward)

    def _open_client(self, tls: ssl.SSLContext, *, keep: bool) -> aiohttp.ClientSession:
        # No limit of connections: waiting for a free one would look like a silent remote.
        client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=tls, force_close=not keep),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._settings.away_after),
            skip_auto_headers=SKIP_AUTO,
            auto_decompress=False,
            request_class=Request,
        )
        # It would send a request again whose connection was lost, and nobody would know that it went out twice.
        client._retry_connection = False  # noqa: SLF001 (there is no public way, and a test counts requests)
        return client

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()
        await self._fresh.close()

    async def __call__(self, call: Call) -> Reply:
        """Send a call, as it came over a wire or as a layer made it, and judge its answer."""
        if self.health.away:
            if call.body:
                await call.body.aclose()
            raise self._unavailable(sent=False)
        if call.bucket:
            self._last_bucket = call.bucket
        try:
            reply = await self._judge(call)
        except S3Error as error:
            self._renew_keys(error.status, error.code)
            raise
        if reply.status in KEYS_REFUSED:
            document = reply.body.data if isinstance(reply.body, BytesBody) else b""
            self._renew_keys(reply.status, decode.error(reply.status, reply.headers, document).code)
        return reply

    def _renew_keys(self, status: int, code: str) -> None:
        """Look for other credentials where the store refuses these: somebody may have written new ones. A source that
        tells when its keys expire may also be judged by a clock that is wrong."""
        due = time.monotonic() - self._renewed_at >= RENEWAL
        if status in KEYS_REFUSED and code in KEYS_WRONG and due:
            self._renewed_at = time.monotonic()
            self._chain.renew()

    async def _forward(self, call: Call) -> Reply:
        wire = call.wire
        if wire is None:
            raise TypeError("only a call that came over a wire can be forwarded")
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
            headers[trailer] = getattr(body, "digests", {})[trailer]
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
        """Sign, send and answer one request; once more where the remote has taken nothing and says why: the bucket is
        in another region, or the connection was being closed for its idleness."""
        client = self._client
        while True:
            target = self._target(call.bucket, path)
            upload = Upload(body) if body is not None else None
            response = await self._exchange(client, call, method, target, query, headers, upload, payload_hash)
            if isinstance(response, Reply):
                return response
            download = Download(response, upload, self.health)
            reply = Reply(response.status, _end_to_end(response), body=download)
            unspent = upload is None or not upload.started or upload.body.replayable
            if client is self._fresh or not unspent or not await self._took_nothing(call, method, response, reply):
                if reply.body is download:
                    await download.begin()
                return reply
            response.close()
            client = self._fresh

    async def _took_nothing(self, call: Call, method: str, response: aiohttp.ClientResponse, reply: Reply) -> bool:
        """Whether the remote says that it would take the same request if it was sent again at once."""
        if response.status not in REDIRECTS:
            return False
        region = response.headers.get("x-amz-bucket-region", "")
        if region and region != self._regions.get(call.bucket, self.region) and method != "HEAD":
            self._regions[call.bucket] = region
            return True
        if response.status != 400 or reply.body is None or (reply.body.length or 0) > EARLY_LIMIT:
            return False
        if method == "HEAD":
            # Its error has no document. What is wrong with the request itself is said again.
            return response.headers.get(hdrs.CONNECTION, "").lower() == "close"
        document = await read_all(reply.body, EARLY_LIMIT)
        reply.body = BytesBody(document)
        return IDLE_CLOSED in document

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
    ) -> aiohttp.ClientResponse | Reply:
        """Send one request, once; its response, or the Reply that was saved from a connection which broke."""
        signed = headers.copy()
        signed["Host"] = target.host
        length = upload.body.length if upload else None
        if length is not None:
            signed["Content-Length"] = str(length)
        await self._sign(signed, method, target, query, payload_hash)
        url = URL(f"{target.scheme}://{target.host}{target.path}{'?' + query if query else ''}", encoded=True)
        exchange: Exchange | None = None
        try:
            async with self.health.exchange(patient=call.operation in PATIENT, probe=probe) as exchange:
                data: Any = upload
                if upload:
                    upload.exchange = exchange
                    if isinstance(upload.body, BytesBody) and (length or 0) <= PACED:
                        data = upload.whole()
                response = await client.request(
                    method,
                    url,
                    headers=signed,
                    data=data,
                    allow_redirects=False,
                    expect100=(length or 0) >= EXPECT_FROM,
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
        return response

    def _heard(self, status: int, headers: AnyHeaders) -> None:
        """Note that the remote has answered."""
        self._metrics.remote_requests.labels(str(status)).inc()
        self.health.answered()
        if status == 403:
            self._note_skew(headers.get(hdrs.DATE, ""))

    def _note_skew(self, date: str) -> None:
        """Learn from a refusal how far the remote's clock is from ours: a signature holds for a quarter of an hour."""
        try:
            moment = parsedate_to_datetime(date).timestamp()
        except (ValueError, TypeError, OverflowError):
            return
        if not EARLIEST <= moment <= LATEST:
            return
        skew = moment - time.time()
        skew = skew if abs(skew) > LARGEST_SKEW else 0.0
        if abs(skew - self._skew) > LARGEST_SKEW:
            log.warning("the remote's clock is %+.0f s from ours: requests are signed by its time from now on", skew)
            self._skew = skew

    def _lost(self, error: Exception, exchange: Exchange | None, upload: "Upload | None") -> Unavailable:
        """Say what a failed exchange means, and let the remote's health know."""
        if isinstance(error, aiohttp.ClientConnectorError | ssl.SSLError):
            self.health.failed(str(error))
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

    async def _sign(self, headers: Headers, method: str, target: Target, query: str, payload_hash: str) -> None:
        if self._settings.anonymous:
            if payload_hash == UNSIGNED_TRAILER:
                headers["x-amz-content-sha256"] = payload_hash
            return
        keys = await self.find_keys()
        if keys is None:
            raise Unavailable(
                "No AWS credentials were found for the remote",
                code="NoCredentials",
                hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a profile, or S3D_ANONYMOUS=true",
            )
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
            now=datetime.now(UTC) + timedelta(seconds=self._skew),
        )

    async def find_keys(self) -> Keys | None:
        """The keys to sign with, and note whether there are any. Raises Unavailable where their source fails.

        A source that fails takes its time for it: all who ask meanwhile share the failure, and so do those who ask
        within SOURCE_PAUSE after it.
        """
        async with self._finding:
            if self._source_failed and time.monotonic() - self._source_failed_at < SOURCE_PAUSE:
                raise source_failed(self._source_failed)
            return await self._find_keys()

    async def _find_keys(self) -> Keys | None:
        try:
            keys = await (self._files or self._chain).keys()
        except Exception as error:
            # Whatever a source raises (a process, an agent, STS), it is no fault of the request or of s3d.
            self.credentials = "failing"
            said = f"{type(error).__name__}: {error}"
            if said != self._source_failed:
                log.error("the source of the credentials fails: %s", said)
            self._source_failed, self._source_failed_at = said, time.monotonic()
            raise source_failed(said) from error
        self._source_failed = ""
        self.credentials = "missing" if keys is None else "found"
        return keys

    def _target(self, bucket: str, path: str) -> Target:
        """Address a bucket, or a key of it by `path`: a slash and the key, which may itself begin with one."""
        region = self._regions.get(bucket, self.region)
        host = self._host
        if region != self.region and not self._settings.endpoint:
            host = urlsplit(self._aws_endpoint(region)).netloc
        if not bucket:
            return Target(self._scheme, host, self._base + "/", region)
        if self._virtual and "." not in bucket:
            return Target(self._scheme, f"{bucket}.{host}", f"{self._base}/{path.removeprefix('/')}", region)
        key = path.removeprefix("/")
        return Target(
            self._scheme, host, f"{self._base}/{quote(bucket, safe='-_.~')}" + (f"/{key}" if key else ""), region
        )

    def _aws_endpoint(self, region: str) -> str:
        found = self._chain.session.get_component("endpoint_resolver").construct_endpoint("s3", region)
        if not found:
            raise ConfigError(f"AWS_REGION: {region} is not a region of AWS", hint="or set S3_ENDPOINT")
        return f"https://{found['hostname']}"

    async def _probe(self) -> None:
        call = Call("HeadBucket", {"Bucket": self._last_bucket})
        target = self._target(self._last_bucket, "/")
        response = await self._exchange(
            self._client, call, "HEAD", target, "", CIMultiDict(), None, EMPTY_SHA256, probe=True
        )
        if isinstance(response, aiohttp.ClientResponse):
            response.release()


def source_failed(said: str) -> Unavailable:
    """The error of a request that cannot be signed, because the source of the credentials failed as `said`."""
    return Unavailable(
        f"The source of the credentials for the remote fails: {said}",
        code="NoCredentials",
        hint="see where AWS_* or the profile send s3d for credentials; writes are queued meanwhile",
    )


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
        if transport is None or (self.body.length or 0) <= PACED:
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
            async with asyncio.timeout(HEARD):
                while not self._refused.is_set() and looks.poll(0):  # noqa: ASYNC110 (the kernel sets no Event)
                    await asyncio.sleep(0)
                # The head that was read just now may still be on its way to who waits for it.
                for _ in range(SETTLING):
                    await asyncio.sleep(0)
        return self._refused.is_set()

    def saved(self) -> Reply | None:
        """The whole answer that is left in a socket whose connection broke while the body was sent."""
        if self._socket is None:
            return None
        came = b""
        try:
            while len(came) < EARLY_LIMIT and (block := os.read(self._socket, PACED)):
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


class Download:
    """The body of the remote's response."""

    replayable = False

    def __init__(self, response: aiohttp.ClientResponse, upload: Upload | None, health: Health) -> None:
        """Take the response and the upload that may still be under way beside it."""
        self._response = response
        self._upload = upload
        self._health = health
        length = response.headers.get(hdrs.CONTENT_LENGTH)
        self.length = int(length) if length is not None and length.isdigit() else None
        self._first = b""
        self._pipe: Pipe | None = None
        self.send: Callable[[int], Awaitable[None]] | None = None
        """Sends all of it to a non-blocking socket; None for a body that has to come by `chunks`."""

    def _may_be_spliced(self) -> bool:
        connection = self._response.connection
        return (
            self._upload is None
            and (self.length or 0) >= SPLICED
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
            self.send = functools.partial(self._send, self._pipe)
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

    async def _send(self, pipe: Pipe, socket: int) -> None:
        """Send the body: what has been read of it, and the rest by the kernel. Raises Unavailable when it breaks off or
        stalls, and the OSError of the socket."""
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


def _end_to_end(response: aiohttp.ClientResponse) -> Headers:
    headers = response.headers.copy()
    leave_out(headers, NOT_ANSWERED)
    return headers


def leave_out(headers: Headers, unwanted: frozenset[str]) -> None:
    """Drop headers by their names in lower case, and our own."""
    for name in {low for name in headers if (low := name.lower()) in unwanted or low.startswith("x-s3d-")}:
        del headers[name]


def _tls() -> ssl.SSLContext:
    bundle = os.environ.get("AWS_CA_BUNDLE")
    try:
        return ssl.create_default_context(cafile=bundle or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"AWS_CA_BUNDLE: {bundle} cannot be read: {error}") from None


@contextlib.asynccontextmanager
async def connect(settings: config.Remote, metrics: Metrics) -> AsyncIterator[Remote]:
    """Open the remote and keep its health watched for as long as the context lasts."""
    remote = Remote(settings, metrics)
    if settings.credentials_dir and not settings.anonymous:
        await remote.find_keys()
    watch = asyncio.create_task(remote.health.watch(metrics))
    try:
        yield remote
    finally:
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch
        await remote.aclose()
