"""The aws-chunked framing: decoded as it comes in, and written anew where a body goes on with a trailer.

Sans I/O: `Decoder` takes bytes and gives bytes. Strict, for what stands between the frames would otherwise become part of
an object: a frame that is not as announced, a wrong decoded length, a missing end or trailer is an S3Error. Signatures of
chunks are parsed, and verified only where there are keys to verify them with.
"""

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field

from s3d.api import AnyHeaders, Body
from s3d.errors import S3Error

STREAMING = "STREAMING-"
TRAILER = "-TRAILER"
LONGEST_LINE = 4096
MOST_TRAILERS = 8
BLOCK = 64 << 10
CHUNK = re.compile(rb"([0-9a-fA-F]{1,16})(?:;chunk-signature=([0-9a-f]{64}))?")
SIGNATURE = "x-amz-trailer-signature"
# Characters of each checksum in base64: what makes the length of a framed body known beforehand.
WIDTHS = {
    "x-amz-checksum-crc32": 8,
    "x-amz-checksum-crc32c": 8,
    "x-amz-checksum-crc64nvme": 12,
    "x-amz-checksum-sha1": 28,
    "x-amz-checksum-sha256": 44,
}


@dataclass(slots=True)
class Decoder:
    """Takes the framing off. `announced` is the trailer's name, "" where none was announced."""

    length: int
    announced: str = ""
    signed: bool = False
    trailers: dict[str, str] = field(default_factory=dict)
    done: bool = False
    _line: bytes = b""
    _left: int = 0
    """Bytes of the current chunk that are still to come."""
    _state: str = "head"
    """head, data, end (of a chunk), trailer."""
    _received: int = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes and yield what they hold of the object. Raises S3Error."""
        start = 0
        while start < len(data):
            if self.done:
                raise malformed("there is more after the last chunk")
            if self._state == "data":
                stretch = data[start : start + self._left] if start or self._left < len(data) else data
                start += len(stretch)
                self._left -= len(stretch)
                if not self._left:
                    self._state = "end"
                yield stretch
                continue
            at = data.find(b"\n", start)
            self._line += data[start : at + 1 if at >= 0 else len(data)]
            if len(self._line) > LONGEST_LINE:
                raise malformed("a line between chunks is too long")
            if at < 0:
                return
            start = at + 1
            line, self._line = self._line, b""
            self._take(line)

    def end(self) -> None:
        """Say that no more comes. Raises S3Error where something is missing."""
        if not self.done:
            raise S3Error("IncompleteBody", "The request body ended before the last chunk")
        if self.announced and self.announced not in self.trailers:
            raise S3Error("MalformedTrailerError", f"The trailer {self.announced} was announced and did not come")

    def _take(self, line: bytes) -> None:
        if self._state == "trailer":
            self._trailer(line.rstrip(b"\r\n"))
            return
        if not line.endswith(b"\r\n"):
            raise malformed("a line does not end with CRLF")
        if self._state == "end":
            if line != b"\r\n":
                raise malformed("a chunk is longer than it says")
            self._state = "head"
            return
        match = CHUNK.fullmatch(line[:-2])
        if not match or (self.signed and not match[2]):
            raise malformed("a chunk's header cannot be read")
        size = int(match[1], 16)
        self._received += size
        if self._received > self.length:
            raise S3Error("IncompleteBody", "The chunks hold more than x-amz-decoded-content-length says")
        if size:
            self._left, self._state = size, "data"
            return
        if self._received != self.length:
            raise S3Error("IncompleteBody", "The chunks hold less than x-amz-decoded-content-length says")
        self._state = "trailer"

    def _trailer(self, line: bytes) -> None:
        if not line:
            self.done = True
            return
        name, colon, value = line.decode("latin-1").partition(":")
        name = name.strip().lower()
        if not colon or name not in (self.announced, SIGNATURE) or name in self.trailers:
            raise S3Error("MalformedTrailerError", f"The trailer {name!r} was not announced or comes twice")
        if len(self.trailers) >= MOST_TRAILERS:
            raise S3Error("MalformedTrailerError", "There are too many trailers")
        self.trailers[name] = value.strip()


def decoder(headers: AnyHeaders) -> Decoder | None:
    """The decoder that a request's headers ask for; None where its body is not framed. Raises S3Error."""
    mode = headers.get("x-amz-content-sha256", "")
    if not mode.startswith(STREAMING):
        return None
    length = headers.get("x-amz-decoded-content-length", "")
    if not (length.isascii() and length.isdigit() and len(length) < 17):
        raise S3Error("MissingContentLength", "You must provide x-amz-decoded-content-length.", status=411)
    announced = headers.get("x-amz-trailer", "").strip().lower()
    if announced and announced not in WIDTHS:
        raise S3Error(
            "InvalidRequest", f"The value specified in the x-amz-trailer header is not supported: {announced}"
        )
    if announced and not mode.endswith(TRAILER):
        raise S3Error("InvalidRequest", "A trailer is announced, and x-amz-content-sha256 says that there is none")
    return Decoder(int(length), announced, signed="-HMAC-" in mode)


@dataclass(slots=True)
class Framed:
    """A verified body, framed anew with its checksum as the trailer; its length is known beforehand."""

    body: Body
    trailer: str
    length: int
    replayable: bool = False

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the frames."""
        if start or end is not None:
            raise ValueError("a framed body can be read once, from its start")
        held = bytearray()
        async for block in self.body.chunks():
            held += block
            while len(held) >= BLOCK:
                yield b"%x\r\n%b\r\n" % (BLOCK, bytes(held[:BLOCK]))
                del held[:BLOCK]
        if held:
            yield b"%x\r\n%b\r\n" % (len(held), bytes(held))
        digests: Mapping[str, str] = getattr(self.body, "digests", {})
        yield f"0\r\n{self.trailer}:{digests[self.trailer]}\r\n\r\n".encode("ascii")

    async def aclose(self) -> None:
        """Let go of the body."""
        await self.body.aclose()


def frame(body: Body, trailer: str) -> Framed:
    """Frame a verified body of known length, with the checksum that came in its own trailer."""
    if body.length is None:
        raise ValueError("the length of a framed body is known beforehand")
    whole, rest = divmod(body.length, BLOCK)
    length = whole * (len(f"{BLOCK:x}") + 4 + BLOCK)
    if rest:
        length += len(f"{rest:x}") + 4 + rest
    return Framed(body, trailer, length + len("0\r\n") + len(trailer) + 1 + WIDTHS[trailer] + len("\r\n\r\n"))


def malformed(what: str) -> S3Error:
    """The answer to broken framing."""
    return S3Error(
        "InvalidChunkSizeError" if "longer" in what else "InvalidRequest", f"The aws-chunked body is broken: {what}"
    )
