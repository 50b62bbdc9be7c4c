"""aws-chunked: the framing of a body that is signed in pieces or has a checksum behind it.

    <size in hex>[;chunk-signature=<hex>] CRLF <bytes> CRLF ...
    0[;chunk-signature=<hex>] CRLF [<name>:<value> CRLF]* CRLF

The decoder is a state machine over bytes, strict in framing, announced trailers and decoded length. It parses the
signatures of chunks and hands them to a Seal; without one, they are not verified. `wrap` holds the last block back
until everything behind it has been judged.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from enum import Enum
from typing import Protocol

from s3d.api import AnyHeaders, Body
from s3d.errors import S3Error

STREAMING = "STREAMING-"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
SCHEMES: Mapping[str, tuple[bool, bool]] = {
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD": (True, False),
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER": (True, True),
    "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD": (True, False),
    "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER": (True, True),
    UNSIGNED_TRAILER: (False, True),
}
"""By x-amz-content-sha256: whether chunks are signed, and whether trailers follow."""
SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;chunk-signature=([0-9A-Fa-f*]{1,256}))?\Z")
TRAILER = re.compile(rb"([A-Za-z0-9-]{1,64})[ \t]*:[ \t]*([!-~]*)[ \t]*\Z")
TRAILER_SIGNATURE = "x-amz-trailer-signature"
MAX_LINE = 1024
MAX_TRAILERS = 16
BLOCK_SIZE = 64 << 10
MAX_WHOLE = 64 << 10
"""Bytes of a framed body that are decoded in one piece."""


Apply = Callable[[Callable[[bytes], list[bytes]], bytes], Awaitable[list[bytes]]]
"""Applies a function to bytes, here or in a thread."""


class Seal(Protocol):
    """Judges the signatures of a chunked body. Each method raises S3Error SignatureDoesNotMatch."""

    def update(self, data: bytes) -> None:
        """Take bytes of the current chunk."""

    def chunk(self, signature: str) -> None:
        """Judge the chunk that ends here, the last one of size 0 included."""

    def trailer(self, lines: bytes, signature: str) -> None:
        """Judge the trailers: `name:value` and a line feed each."""


class _State(Enum):
    SIZE = "the size of a chunk"
    DATA = "the bytes of a chunk"
    AFTER = "the end of a chunk"
    TRAILERS = "a trailer"
    DONE = "nothing"


class Decoder:
    """Takes a body in pieces of any size and gives back what it carries."""

    def __init__(
        self, length: int, *, signed: bool = False, announced: frozenset[str] = frozenset(), seal: Seal | None = None
    ) -> None:
        """Take the decoded length, whether chunks are signed, and the lower-case names of the trailers to come."""
        self.trailers: dict[str, str] = {}
        self._left = length
        self._signed = signed
        self._announced = announced
        self._seal = seal
        self._state = _State.SIZE
        self._line = bytearray()
        self._chunk_left = 0
        self._signature = ""
        self._trailer_lines: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes and return what they carry. Raises S3Error."""
        out: list[bytes] = []
        at = 0
        size = len(data)
        while at < size:
            if self._state is _State.DATA:
                block = data[at : at + self._chunk_left]
                at += len(block)
                self._chunk_left -= len(block)
                if self._seal is not None:
                    self._seal.update(block)
                out.append(block)
                if not self._chunk_left:
                    self._state = _State.AFTER
                    if self._seal is not None:
                        self._seal.chunk(self._signature)
                continue
            if self._state is _State.DONE:
                raise _malformed("there are bytes behind its end")
            end = data.find(b"\n", at)
            stop = size if end < 0 else end + 1
            self._line += data[at:stop]
            at = stop
            if len(self._line) > MAX_LINE:
                raise _malformed(f"{self._state.value} is too long")
            if self._line.endswith(b"\r\n"):
                line = bytes(self._line[:-2])
                self._line.clear()
                self._take(line)
        return out

    def end(self) -> None:
        """Judge that the body is whole. Raises S3Error."""
        if self._state is not _State.DONE:
            raise S3Error("IncompleteBody", f"The request body terminated unexpectedly: {self._state.value} is missing")

    def _take(self, line: bytes) -> None:
        if self._state is _State.SIZE:
            self._take_size(line)
        elif self._state is _State.AFTER:
            if line:
                raise _malformed("a chunk is longer than its size")
            self._state = _State.SIZE
        elif line:
            self._take_trailers(line)
        else:
            self._judge_trailers()
            self._state = _State.DONE

    def _take_size(self, line: bytes) -> None:
        match = SIZE.match(line)
        if match is None or self._signed != bool(match[2]):
            raise _malformed("the head of a chunk cannot be read")
        self._chunk_left = int(match[1], 16)
        self._signature = (match[2] or b"").decode("ascii")
        self._left -= self._chunk_left
        if self._left < 0 or (self._left and not self._chunk_left):
            raise S3Error(
                "IncompleteBody",
                "You did not provide the number of bytes specified by the x-amz-decoded-content-length HTTP header",
            )
        if self._chunk_left:
            self._state = _State.DATA
            return
        self._state = _State.TRAILERS
        if self._seal is not None:
            self._seal.chunk(self._signature)

    def _take_trailers(self, line: bytes) -> None:
        # minio-go ends its trailers with a line feed and adds CRLF only behind the last one.
        for part in line.split(b"\n"):
            match = TRAILER.match(part.rstrip(b"\r"))
            if match is None and part:
                raise _malformed_trailer("a trailer cannot be read")
            if match is None:
                continue
            name, value = match[1].decode("ascii").lower(), match[2].decode("ascii")
            if name in self.trailers or len(self.trailers) >= MAX_TRAILERS:
                raise _malformed_trailer(f"{name} is there more than once")
            if name not in self._announced and not (name == TRAILER_SIGNATURE and self._signed and self._announced):
                raise _malformed_trailer(f"{name} was not announced in x-amz-trailer")
            self.trailers[name] = value
            if name != TRAILER_SIGNATURE:
                self._trailer_lines.append(f"{name}:{value}\n".encode("ascii"))

    def _judge_trailers(self) -> None:
        missing = self._announced - self.trailers.keys()
        if missing:
            raise _malformed_trailer(f"{', '.join(sorted(missing))} is missing")
        signature = self.trailers.pop(TRAILER_SIGNATURE, "")
        if self._seal is not None and self._signed and self._announced:
            self._seal.trailer(b"".join(self._trailer_lines), signature)


class Encoder:
    """Frames bytes as unsigned chunks of one size, so that the length of the whole is known before its first byte."""

    def __init__(self, block_size: int = BLOCK_SIZE) -> None:
        """Take the size of a chunk in bytes."""
        self._block_size = block_size
        self._held = bytearray()

    def length(self, decoded: int, trailers: Mapping[str, int] | None = None) -> int:
        """Length in bytes of `decoded` bytes framed, with trailers of the given names and value sizes."""
        full, rest = divmod(decoded, self._block_size)
        size = full * self._framed(self._block_size) + (self._framed(rest) if rest else 0)
        return size + 3 + sum(len(name) + 1 + value + 2 for name, value in (trailers or {}).items()) + 2

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes and return the chunks that are full."""
        if self._held or len(data) < self._block_size:
            self._held += data
            if len(self._held) < self._block_size:
                return []
            data = bytes(self._held)
        end = len(data) - len(data) % self._block_size
        view = memoryview(data)
        head = b"%x\r\n" % self._block_size
        out = [b"".join((head, view[at : at + self._block_size], b"\r\n")) for at in range(0, end, self._block_size)]
        self._held[:] = data[end:]
        return out

    def end(self, trailers: Mapping[str, str] | None = None) -> bytes:
        """The last chunk, what ends the body, and its trailers."""
        rest = b"%x\r\n%b\r\n" % (len(self._held), bytes(self._held)) if self._held else b""
        self._held.clear()
        lines = "".join(f"{name}:{value}\r\n" for name, value in (trailers or {}).items())
        return rest + b"0\r\n" + lines.encode("ascii") + b"\r\n"

    @staticmethod
    def _framed(size: int) -> int:
        return len(f"{size:x}") + 2 + size + 2


class Unwrapped(Body):
    """A body that decodes aws-chunked; its trailers are there after the last block."""

    length: int | None = None

    def __init__(self, body: Body, decoder: Decoder, length: int, apply: Apply | None = None) -> None:
        """Take the framed body, the length of what it carries, and how a block is decoded; by default at once."""
        self._body = body
        self._decoder = decoder
        self._apply = apply
        self.length = length

    @property
    def trailers(self) -> Mapping[str, str]:
        """Trailers by lower-case name."""
        return self._decoder.trailers

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield what the frames carry. Raises S3Error instead of yielding the last block."""
        if start or end is not None:
            raise ValueError("a framed body can be read once, from its start")
        held = b""
        async for data in self._body.chunks():
            for block in await self._decoded(data):
                if held:
                    yield held
                held = block
        self._decoder.end()
        if held:
            yield held

    async def whole(self) -> bytes:
        """All that the frames carry, for a body that is known to be small. Raises what `chunks` raises."""
        # The frames may outweigh what they carry.
        if self._body.length is None or self._body.length > MAX_WHOLE:
            return b"".join([block async for block in self.chunks()])
        blocks = await self._decoded(await self._body.whole())
        self._decoder.end()
        return b"".join(blocks)

    async def _decoded(self, data: bytes) -> list[bytes]:
        feed = self._decoder.feed
        return feed(data) if self._apply is None else await self._apply(feed, data)

    async def aclose(self) -> None:
        """Close the framed body."""
        await self._body.aclose()


class Framed(Body):
    """A body as it goes out with a trailing checksum, of known length."""

    length: int | None = None

    def __init__(self, body: Body, length: int, trailer: str, value_size: int, block_size: int) -> None:
        """Take the bare body, which must have the checksum in its `digests` after its last block."""
        self._body = body
        self._trailer = trailer
        self._encoder = Encoder(block_size)
        self.length = self._encoder.length(length, {trailer: value_size})

    @property
    def digests(self) -> Mapping[str, str]:
        """Those of the bare body."""
        return self._body.digests

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the frames."""
        if start or end is not None:
            raise ValueError("a framed body can be read once, from its start")
        async for data in self._body.chunks():
            for block in self._encoder.feed(data):
                yield block
        yield self._encoder.end({self._trailer: self._body.digests[self._trailer]})

    async def aclose(self) -> None:
        """Close the bare body."""
        await self._body.aclose()


def is_chunked(headers: AnyHeaders) -> bool:
    """Whether a body comes as aws-chunked."""
    return headers.get("x-amz-content-sha256", "").startswith(STREAMING)


def codings(lines: Iterable[str]) -> str:
    """The codings that an object has, out of the lines of Content-Encoding, without that of the way here.

    Lines join to one list (RFC 9110, 5.3), whose members have no case (8.4.1).
    """
    named = (part.strip() for line in lines for part in line.split(","))
    return ",".join(part for part in named if part and part.lower() != "aws-chunked")


def announced(headers: AnyHeaders) -> frozenset[str]:
    """Lower-case names of the trailers that a request announces."""
    names = ",".join(headers.getall("x-amz-trailer", ())).split(",")
    return frozenset(name.strip().lower() for name in names if name.strip())


def wrap(body: Body, headers: AnyHeaders, *, seal: Seal | None = None, apply: Apply | None = None) -> Unwrapped:
    """A body that decodes `body` as the headers say. Raises S3Error where they contradict themselves.

    A seal hashes every byte: `apply` is what keeps that from the event loop.
    """
    scheme = SCHEMES.get(headers.get("x-amz-content-sha256", ""))
    if scheme is None:
        raise S3Error("InvalidArgument", "The x-amz-content-sha256 you specified is not supported for a chunked body")
    signed, trailing = scheme
    text = headers.get("x-amz-decoded-content-length", "")
    if not text:
        raise S3Error(
            "MissingContentLength", "You must provide the x-amz-decoded-content-length HTTP header.", status=411
        )
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise S3Error("InvalidArgument", "The x-amz-decoded-content-length you specified is not a length")
    names = announced(headers)
    if names and not trailing:
        raise S3Error("InvalidRequest", "x-amz-trailer needs an x-amz-content-sha256 that ends in -TRAILER")
    length = int(text)
    return Unwrapped(body, Decoder(length, signed=signed, announced=names, seal=seal), length, apply)


def frame(body: Body, trailer: str, value_size: int | None = None, *, block_size: int = BLOCK_SIZE) -> Framed:
    """Frame a body of known length for STREAMING-UNSIGNED-PAYLOAD-TRAILER.

    The trailer's value is `body.digests[trailer]` after the last block; its size follows from the name of the checksum.
    """
    if body.length is None:
        raise TypeError("only a body of known length can be framed")
    size = VALUE_SIZES[trailer] if value_size is None else value_size
    return Framed(body, body.length, trailer, size, block_size)


VALUE_SIZES: Mapping[str, int] = {
    "x-amz-checksum-crc32": 8,
    "x-amz-checksum-crc32c": 8,
    "x-amz-checksum-crc64nvme": 12,
    "x-amz-checksum-md5": 24,
    "x-amz-checksum-sha1": 28,
    "x-amz-checksum-sha256": 44,
    "x-amz-checksum-sha512": 88,
    "x-amz-checksum-xxhash64": 12,
    "x-amz-checksum-xxhash3": 12,
    "x-amz-checksum-xxhash128": 24,
}
"""Sizes of the checksums in base64."""


def _malformed(what: str) -> S3Error:
    return S3Error("InvalidRequest", f"The framing of the chunked body is broken: {what}")


def _malformed_trailer(what: str) -> S3Error:
    return S3Error(
        "MalformedTrailerError",
        "The request contained trailing data that was not well-formed or did not conform to our published schema.",
        hint=what,
    )
