"""Bodies that are signed in pieces: the examples of AWS, and everything that can be done to chunks on their way."""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Literal

import pytest

from s3d.access import verify
from s3d.access.chain import Chain
from s3d.errors import S3Error
from s3d.protocol import checksums, sigv4
from s3d.protocol.chunked import Decoder
from tests.sidecar.access.examples import DAY, EMPTY, KEYS, SCOPE, SECRET, SIGNED_CHUNKS, SIGNED_TRAILER, put
from tests.sidecar.protocol.bodies import Blocks, drain, sliced

STAMP = "20130524T000000Z"
CRC = "x-amz-checksum-crc32"
PIECES = [b"a" * 50_000, b"b" * 50_000, b"c" * 50_000, b"d" * 7]
DATA = b"".join(PIECES)
KEY = sigv4.signing_key(SECRET, "20130524", "us-east-1", "s3")
Way = Literal["blocks", "small blocks", "whole"]
WAYS: Sequence[Way] = ["blocks", "small blocks", "whole"]


def link(kind: str, previous: str, digests: str) -> str:
    text = f"AWS4-HMAC-SHA256-{kind}\n{STAMP}\n{SCOPE}\n{previous}\n{digests}"
    return hmac.new(KEY, text.encode(), hashlib.sha256).hexdigest()


def chained(seed: str, pieces: Sequence[bytes]) -> tuple[list[bytes], str]:
    """The chunks as they are sent, the last one of size 0 included, and the signature of the last one."""
    chunks = []
    for piece in (*pieces, b""):
        seed = link("PAYLOAD", seed, f"{EMPTY}\n{hashlib.sha256(piece).hexdigest()}")
        chunks.append(b"%x;chunk-signature=%b\r\n%b" % (len(piece), seed.encode(), piece + b"\r\n" if piece else b""))
    return chunks, seed


def trailers(last: str, value: str) -> list[bytes]:
    line = f"{CRC}:{value}\n".encode()
    signature = link("TRAILER", last, hashlib.sha256(line).hexdigest())
    return [line.replace(b"\n", b"\r\n"), f"x-amz-trailer-signature:{signature}\r\n".encode()]


class Upload:
    """An upload whose request is signed, and whose chunks may be changed before they come."""

    def __init__(self, scheme: str) -> None:
        said = {"Content-Encoding": "aws-chunked", "x-amz-decoded-content-length": str(len(DATA))}
        if scheme == SIGNED_TRAILER:
            said["x-amz-trailer"] = CRC
        self.wire = put(headers=said, payload=scheme)
        seed = self.wire.headers["Authorization"].rpartition("=")[2]
        self.chunks, last = chained(seed, PIECES)
        crc = checksums.Digests(["crc32"])
        crc.update(DATA)
        self.trailers = trailers(last, crc.result("crc32")) if scheme == SIGNED_TRAILER else []

    async def receive(self, way: Way = "blocks") -> bytes:
        """What is let go, in whole, or what was let go before the refusal."""
        framed = b"".join([*self.chunks, *self.trailers, b"\r\n"])
        caller = verify.authenticate(self.wire, KEYS, DAY, secure=False)
        body = Blocks([framed] if way == "whole" else sliced(framed, 999 if way == "small blocks" else 65536))
        decoded = checksums.incoming(body, self.wire, payload=caller.payload, seal=caller.seal)
        if way == "whole":
            return await decoded.whole()
        taken: list[bytes] = []
        try:
            return await drain(decoded, taken)
        except S3Error:
            # Nobody has a body that could be taken for the whole.
            assert len(b"".join(taken)) < len(DATA)
            raise


@pytest.fixture(params=[SIGNED_CHUNKS, SIGNED_TRAILER], ids=["chunks", "trailer"])
def upload(request: pytest.FixtureRequest) -> Upload:
    return Upload(request.param)


@pytest.mark.parametrize("way", WAYS)
async def test_a_whole_chain_is_let_through(upload: Upload, way: Way) -> None:
    assert await upload.receive(way) == DATA


CHUNKS = range(len(PIECES) + 1)


async def refused(upload: Upload, way: Way, *codes: str) -> None:
    with pytest.raises(S3Error) as caught:
        await upload.receive(way)
    assert caught.value.code in codes, caught.value


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("number", CHUNKS)
async def test_a_byte_changed_in_a_chunk_or_in_its_signature_is_refused(upload: Upload, way: Way, number: int) -> None:
    chunk = upload.chunks[number]
    if number < len(PIECES):
        upload.chunks[number] = chunk[:-3] + b"!" + chunk[-2:]
        await refused(upload, way, "SignatureDoesNotMatch")
    place = chunk.index(b"=") + 5
    upload.chunks[number] = chunk[:place] + (b"0" if chunk[place] != ord("0") else b"1") + chunk[place + 1 :]
    await refused(upload, way, "SignatureDoesNotMatch")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("number", CHUNKS[:-1])
async def test_chunks_that_changed_places_are_refused(upload: Upload, way: Way, number: int) -> None:
    chunks = upload.chunks
    chunks[number], chunks[number + 1] = chunks[number + 1], chunks[number]
    # Where the end comes too soon, the length says so first.
    await refused(upload, way, "SignatureDoesNotMatch" if number + 2 < len(chunks) else "IncompleteBody")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("number", CHUNKS)
async def test_a_chunk_that_is_missing_is_missed(upload: Upload, way: Way, number: int) -> None:
    del upload.chunks[number]
    if number < len(PIECES) - 1:
        await refused(upload, way, "SignatureDoesNotMatch")
    else:
        await refused(upload, way, "IncompleteBody", "InvalidRequest")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("number", CHUNKS)
async def test_a_chunk_that_comes_twice_is_refused(upload: Upload, way: Way, number: int) -> None:
    upload.chunks.insert(number, upload.chunks[number])
    await refused(upload, way, "SignatureDoesNotMatch", "IncompleteBody", "InvalidRequest", "MalformedTrailerError")


@pytest.mark.parametrize("way", WAYS)
async def test_a_chunk_of_a_stranger_is_refused(upload: Upload, way: Way) -> None:
    strange, _ = chained("0" * 64, PIECES)
    upload.chunks[2] = strange[2]
    await refused(upload, way, "SignatureDoesNotMatch")


Spoil = Callable[[list[bytes]], object]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda lines: lines.__setitem__(0, f"{CRC}:AAAAAA==\r\n".encode()), "SignatureDoesNotMatch"),
        (
            lambda lines: lines.__setitem__(1, b"x-amz-trailer-signature:" + b"0" * 64 + b"\r\n"),
            "SignatureDoesNotMatch",
        ),
        (lambda lines: lines.pop(1), "SignatureDoesNotMatch"),
        (lambda lines: lines.pop(0), "MalformedTrailerError"),
        (lambda lines: lines.clear(), "MalformedTrailerError"),
        (lambda lines: lines.insert(0, b"x-amz-checksum-sha1:abc=\r\n"), "MalformedTrailerError"),
        (lambda lines: lines.append(lines[0]), "MalformedTrailerError"),
        (lambda lines: lines.append(b"\r\nmore"), "InvalidRequest"),
    ],
    ids="value signature unsigned unannounced none added twice behind".split(),
)
async def test_trailers_that_are_not_the_signed_ones_are_refused(way: Way, spoil: Spoil, code: str) -> None:
    upload = Upload(SIGNED_TRAILER)
    spoil(upload.trailers)
    await refused(upload, way, code)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("line", [f"{CRC}:AAAAAA==", "x-amz-trailer-signature:" + "0" * 64])
async def test_a_trailer_that_nobody_signed_is_refused(way: Way, line: str) -> None:
    upload = Upload(SIGNED_CHUNKS)
    upload.trailers = [line.encode() + b"\r\n"]
    await refused(upload, way, "MalformedTrailerError")


def test_the_trailer_example_of_aws_is_verified() -> None:
    seed = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
    framed = b"".join(
        b"%x;chunk-signature=%b\r\n%b" % (size, signature, b"a" * size + b"\r\n" if size else b"")
        for size, signature in (
            (65536, b"b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2"),
            (1024, b"1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7"),
            (0, b"2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"),
        )
    )
    framed += (
        b"x-amz-checksum-crc32c:sOO8/Q==\r\n"
        b"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
    )
    chain = Chain(KEY, date=STAMP, scope=SCOPE, seed=seed)
    decoder = Decoder(66560, signed=True, announced=frozenset(["x-amz-checksum-crc32c"]), seal=chain)
    assert b"".join(block for piece in sliced(framed, 1000) for block in decoder.feed(piece)) == b"a" * 66560
    decoder.end()
