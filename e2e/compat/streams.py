"""A raw HTTP client for bodies that do not fit into memory: it sends and reads block by block.

It does not sign: a door without access keys asks for no signature.
"""

import base64
import hashlib
import http.client
import random
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

BLOCK = 1 << 20
TRAILER = "x-amz-checksum-crc32"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status, headers by lower-case name, length and SHA-256 of the body."""

    status: int
    headers: dict[str, str]
    length: int
    digest: str


def blocks(size: int) -> Iterator[bytes]:
    """The bytes of an object, no two blocks alike, the same on each call."""
    pattern = random.Random(size).randbytes(BLOCK - 8)
    for number in range(0, size, BLOCK):
        yield (number.to_bytes(8, "big") + pattern)[: size - number]


def digest_of(size: int) -> str:
    """The SHA-256 of what `blocks` yields."""
    sha256 = hashlib.sha256()
    for block in blocks(size):
        sha256.update(block)
    return sha256.hexdigest()


def framed(size: int) -> Iterator[bytes]:
    """The same bytes as aws-chunked, with their CRC32 in a trailer."""
    crc = 0
    for block in blocks(size):
        crc = zlib.crc32(block, crc)
        yield b"%x\r\n%b\r\n" % (len(block), block)
    yield b"0\r\n%b:%b\r\n\r\n" % (TRAILER.encode(), base64.b64encode(crc.to_bytes(4, "big")))


def framed_length(size: int) -> int:
    """How many bytes `framed` yields."""
    whole, rest = divmod(size, BLOCK)
    frames = [BLOCK] * whole + [rest] * bool(rest)
    end = len(f"0\r\n{TRAILER}:") + len(base64.b64encode(b"1234")) + len("\r\n\r\n")
    return size + sum(len(f"{length:x}") + 4 for length in frames) + end


def put(endpoint: str, path: str, size: int, *, timeout: float = 120, **headers: str) -> Answer:
    """Put an object of so many bytes; `timeout` is for each step of it, in seconds."""
    return send(endpoint, path, blocks(size), {"Content-Length": str(size), **spelt(headers)}, timeout)


def put_framed(endpoint: str, path: str, size: int, **headers: str) -> Answer:
    """Put it as an SDK does that learns the checksum while it sends."""
    framing = {
        "Content-Length": str(framed_length(size)),
        "Content-Encoding": "aws-chunked",
        "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "x-amz-decoded-content-length": str(size),
        "x-amz-trailer": TRAILER,
    }
    return send(endpoint, path, framed(size), {**framing, **spelt(headers)})


def send(endpoint: str, path: str, body: Iterator[bytes], headers: dict[str, str], timeout: float = 120) -> Answer:
    """Send a body block by block."""
    connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=timeout)
    try:
        connection.putrequest("PUT", path)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        for block in body:
            connection.send(block)
        return receive(connection.getresponse(), 0)
    finally:
        connection.close()


def get(endpoint: str, path: str, *, rate: int = 0) -> Answer:
    """Get an object, reading so many bytes a second (0: as they come)."""
    connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=120)
    try:
        connection.request("GET", path)
        return receive(connection.getresponse(), rate)
    finally:
        connection.close()


def receive(answer: http.client.HTTPResponse, rate: int) -> Answer:
    """Read an answer at a rate and forget its bytes."""
    sha256, length, began = hashlib.sha256(), 0, time.monotonic()
    while block := answer.read(BLOCK):
        sha256.update(block)
        length += len(block)
        if rate:
            time.sleep(max(0.0, began + length / rate - time.monotonic()))
    headers = {name.lower(): value for name, value in answer.getheaders()}
    return Answer(answer.status, headers, length, sha256.hexdigest())


def spelt(headers: dict[str, str]) -> dict[str, str]:
    """Header names as they are on the wire, from names as Python takes them."""
    return {name.replace("_", "-"): value for name, value in headers.items()}
