"""Digests of bodies: what a client sends is verified before its last block is handed on (SEMANTICS Q-5).

`incoming` is what a request's body becomes: unframed, of known length, and verified against every digest that came with
it, in a header or in a trailer. Blocks from 32 KiB on are hashed in a thread while the block is already on its way; the
last one waits for the verdict.
"""

import asyncio
import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Protocol

from s3d.api import AnyHeaders, Body, Wire
from s3d.errors import S3Error
from s3d.protocol import chunked

PREFIX = "x-amz-checksum-"
SIZES = {"crc32": 4, "crc32c": 4, "crc64nvme": 8, "sha1": 20, "sha256": 32}
"""Bytes of each checksum."""
THREAD_FROM = 32 << 10
HEX_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
UNSIGNED = "UNSIGNED-PAYLOAD"


class Digest(Protocol):
    """A running digest."""

    def update(self, block: bytes, /) -> None:
        """Take the next bytes."""

    def digest(self) -> bytes:
        """The digest of all bytes so far."""


@dataclass(slots=True)
class Crc:
    """A running CRC of so many bytes."""

    step: Callable[[bytes, int], int]
    width: int
    value: int = 0

    def update(self, block: bytes, /) -> None:
        """Take the next bytes."""
        self.value = self.step(block, self.value)

    def digest(self) -> bytes:
        """The CRC, big-endian as S3 has it."""
        return self.value.to_bytes(self.width, "big")


def running(name: str) -> Digest:
    """A new digest: md5, sha1, sha256, crc32, crc32c or crc64nvme."""
    if name in ("md5", "sha1", "sha256"):
        return hashlib.new(name, usedforsecurity=False)
    if name == "crc32":
        return Crc(zlib.crc32, 4)
    # The library is large, and few clients ask for these.
    from awscrt import checksums as crt

    return Crc(*{"crc32c": (crt.crc32c, 4), "crc64nvme": (crt.crc64nvme, 8)}[name])


@dataclass(frozen=True, slots=True)
class Expected:
    """A digest that a client sent."""

    header: str
    """Lower-case name of the header or trailer."""
    name: str
    """md5, sha1, ..."""
    value: bytes | None
    """None while it is still to come, in a trailer."""


def expected(headers: AnyHeaders, *, of_body: bool = True) -> list[Expected]:
    """The digests that a request's headers give of its body. Raises S3Error for one that is none.

    With `of_body` False the x-amz-checksum-* headers describe something else (CompleteMultipartUpload: the object).
    """
    found: list[Expected] = []
    if (md5 := headers.get("Content-MD5")) is not None:
        found.append(Expected("content-md5", "md5", decoded(md5, 16, "Content-MD5", "InvalidDigest")))
    payload_hash = headers.get("x-amz-content-sha256", UNSIGNED)
    if HEX_SHA256.fullmatch(payload_hash):
        found.append(Expected("x-amz-content-sha256", "sha256", bytes.fromhex(payload_hash)))
    elif payload_hash != UNSIGNED and not payload_hash.startswith(chunked.STREAMING):
        raise S3Error(
            "InvalidArgument",
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD or a valid sha256 value.",
            details={"ArgumentName": "x-amz-content-sha256", "ArgumentValue": payload_hash},
        )
    if not of_body:
        return found
    sums = [name for name in SIZES if f"{PREFIX}{name}" in headers]
    trailer = headers.get("x-amz-trailer", "").strip().lower()
    if len(sums) + bool(trailer) > 1:
        raise S3Error(
            "InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
        )
    for name in sums:
        header = PREFIX + name
        value = decoded(headers[header], SIZES[name], header, "InvalidRequest")
        found.append(Expected(header, name, value))
    if trailer.startswith(PREFIX):
        found.append(Expected(trailer, trailer.removeprefix(PREFIX), None))
    return found


def decoded(text: str, size: int, header: str, code: str) -> bytes:
    """A digest from base64. Raises S3Error `code` for another size or no base64."""
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != size:
        raise S3Error(code, f"Value for {header} header is invalid.")
    return value


@dataclass(slots=True)
class VerifiedBody:
    """A request's body, without its framing. The last block comes only when every digest and the length are right."""

    body: Body
    length: int
    wanted: list[Expected]
    decoder: chunked.Decoder | None = None
    replayable: bool = False
    digests: dict[str, str] = field(default_factory=dict)
    """After the last block: what the client sent and what was found to be so, by lower-case header name, in base64."""

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the object's bytes. Raises S3Error BadDigest, XAmzContentSHA256Mismatch or IncompleteBody."""
        if start or end is not None:
            raise ValueError("a request body can be read once, from its start")
        hashes = {want.name: running(want.name) for want in self.wanted}
        left = self.length
        last = b""
        hashing: asyncio.Future[None] | None = None
        try:
            async for block in self._unframed():
                left -= len(block)
                if left < 0:
                    raise S3Error("IncompleteBody", "The request body is longer than its length says")
                if hashing is not None:
                    await hashing
                    hashing = None
                if len(block) < THREAD_FROM:
                    for digest in hashes.values():
                        digest.update(block)
                elif hashes:
                    loop = asyncio.get_running_loop()
                    hashing = loop.run_in_executor(None, update_all, list(hashes.values()), block)
                if left:
                    yield block
                else:
                    last = block
        finally:
            if hashing is not None:
                await hashing
        if left:
            raise S3Error("IncompleteBody", "The request body is shorter than its length says")
        self._judge(hashes)
        if last:
            yield last

    async def aclose(self) -> None:
        """Let go of the body."""
        await self.body.aclose()

    async def _unframed(self) -> AsyncIterator[bytes]:
        async for raw in self.body.chunks():
            if self.decoder is None:
                yield raw
            else:
                for block in self.decoder.feed(raw):
                    yield block
        if self.decoder is not None:
            self.decoder.end()

    def _judge(self, hashes: dict[str, Digest]) -> None:
        for want in self.wanted:
            value = want.value
            if value is None and self.decoder is not None:
                text = self.decoder.trailers[want.header]
                value = decoded(text, SIZES[want.name], want.header, "InvalidRequest")
            found = hashes[want.name].digest()
            if found != value:
                raise mismatch(want)
            self.digests[want.header] = base64.b64encode(found).decode("ascii")


def update_all(digests: list[Digest], block: bytes) -> None:
    """Feed a block to several digests."""
    for digest in digests:
        digest.update(block)


def mismatch(want: Expected) -> S3Error:
    """The answer to a digest that does not match."""
    if want.header == "x-amz-content-sha256":
        return S3Error(
            "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed."
        )
    named = "Content-MD5" if want.name == "md5" else want.name.upper()
    return S3Error("BadDigest", f"The {named} you specified did not match the calculated checksum.")


def incoming(body: Body, wire: Wire) -> VerifiedBody:
    """What a request's body is to everybody inside: unframed, verified, of known length.

    Raises S3Error MissingContentLength (411) where no length was sent, and what `expected` and `decoder` raise.
    """
    decoder = chunked.decoder(wire.headers)
    length = decoder.length if decoder else body.length
    if length is None:
        raise S3Error("MissingContentLength", "You must provide the Content-Length HTTP header.", status=411)
    of_body = wire.method != "POST" or "uploadId=" not in wire.query
    return VerifiedBody(body, length, expected(wire.headers, of_body=of_body), decoder)
