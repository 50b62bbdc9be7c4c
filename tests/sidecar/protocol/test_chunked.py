"""aws-chunked: the frames of real clients, sliced anywhere, and everything that is wrong with broken ones."""

import hashlib
import hmac
from io import BytesIO
from itertools import pairwise

import pytest
from botocore.httpchecksum import AwsChunkedWrapper, Crc32Checksum
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from s3d.errors import S3Error
from s3d.protocol import checksums, chunked, sigv4
from tests.sidecar.protocol.bodies import Blocks, drain, sliced

CRC = "x-amz-checksum-crc32"
HELLO = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"
SIGNED = b"5;chunk-signature=ab\r\nhello\r\n0;chunk-signature=cd\r\n"


def unsigned(length: int, *names: str) -> chunked.Decoder:
    return chunked.Decoder(length, announced=frozenset(names))


def decoded(decoder: chunked.Decoder, pieces: list[bytes]) -> bytes:
    out = [block for piece in pieces for block in decoder.feed(piece)]
    decoder.end()
    return b"".join(out)


@given(
    data=st.binary(max_size=600),
    chunk=st.integers(1, 200),
    cuts=st.lists(st.integers(0, 900), max_size=20),
    trailers=st.sampled_from([{}, {CRC: "NhCmhg=="}, {CRC: "NhCmhg==", "x-amz-checksum-sha1": "abc="}]),
)
def test_what_is_framed_comes_back_however_it_is_sliced(
    data: bytes, chunk: int, cuts: list[int], trailers: dict[str, str]
) -> None:
    encoder = chunked.Encoder(chunk)
    framed = b"".join(encoder.feed(data)) + encoder.end(trailers)
    edges = sorted({0, len(framed), *(cut for cut in cuts if cut < len(framed))})
    pieces = [framed[a:b] for a, b in pairwise(edges)]
    decoder = unsigned(len(data), *trailers)
    assert decoded(decoder, pieces) == data
    assert decoder.trailers == trailers
    assert len(framed) == encoder.length(len(data), {name: len(value) for name, value in trailers.items()})


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 200_000])
def test_frames_are_those_of_botocore(size: int) -> None:
    data = b"x" * size
    wrapper = AwsChunkedWrapper(BytesIO(data), Crc32Checksum, CRC, chunk_size=65536)
    theirs = wrapper.read()
    encoder = chunked.Encoder()
    value = Crc32Checksum().handle(BytesIO(data))
    assert b"".join(encoder.feed(data)) + encoder.end({CRC: value}) == theirs
    assert encoder.length(size, {CRC: len(value)}) == len(theirs)
    assert decoded(unsigned(size, CRC), sliced(theirs, 1000)) == data


class Chain:
    """The signature chain of AWS, as whoever verifies chunks has it."""

    def __init__(self, key: bytes, seed: str, date: str, scope: str) -> None:
        self.key, self.previous, self.date, self.scope = key, seed, date, scope
        self.hash = hashlib.sha256()

    def update(self, data: bytes) -> None:
        self.hash.update(data)

    def judge(self, algorithm: str, hashes: str, signature: str) -> None:
        text = f"{algorithm}\n{self.date}\n{self.scope}\n{self.previous}\n{hashes}"
        if not hmac.compare_digest(hmac.digest(self.key, text.encode(), "sha256").hex(), signature):
            raise S3Error("SignatureDoesNotMatch", status=403)
        self.previous = signature
        self.hash = hashlib.sha256()

    def chunk(self, signature: str) -> None:
        empty = hashlib.sha256().hexdigest()
        self.judge("AWS4-HMAC-SHA256-PAYLOAD", f"{empty}\n{self.hash.hexdigest()}", signature)

    def trailer(self, lines: bytes, signature: str) -> None:
        self.judge("AWS4-HMAC-SHA256-TRAILER", hashlib.sha256(lines).hexdigest(), signature)


def example(*, broken: bool = False) -> tuple[chunked.Decoder, bytes]:
    """The signed example of AWS: 66,560 letters in three chunks."""
    key = sigv4.signing_key("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "20130524", "us-east-1", "s3")
    seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
    chain = Chain(key, seed, "20130524T000000Z", "20130524/us-east-1/s3/aws4_request")
    framed = b"".join(
        b"%x;chunk-signature=%b\r\n%b\r\n" % (size, signature, b"a" * size)
        for size, signature in (
            (65536, b"ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
            (1024, b"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
            (0, b"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
        )
    )
    return chunked.Decoder(66560, signed=True, seal=chain), framed.replace(b"aaa", b"aba", 1) if broken else framed


def test_a_seal_can_verify_the_signed_example_of_aws() -> None:
    decoder, framed = example()
    assert decoded(decoder, sliced(framed, 1000)) == b"a" * 66560


def test_a_seal_stops_a_chunk_that_was_changed() -> None:
    decoder, framed = example(broken=True)
    with pytest.raises(S3Error, match="SignatureDoesNotMatch"):
        decoded(decoder, sliced(framed, 1000))


@pytest.mark.parametrize(
    ("tail", "trailers"),
    [
        (b"\r\n", {}),
        (b"x-amz-checksum-crc32:NhCmhg==\r\nx-amz-trailer-signature:ef\r\n\r\n", {CRC: "NhCmhg=="}),
        # minio-go
        (b"x-amz-checksum-crc32:NhCmhg==\n\r\nx-amz-trailer-signature:ef\r\n\r\n", {CRC: "NhCmhg=="}),
        (b"X-Amz-Checksum-Crc32: NhCmhg==\r\nx-amz-trailer-signature:ef\r\n\r\n", {CRC: "NhCmhg=="}),
    ],
    ids=["no trailer", "signed trailer", "minio-go", "upper case and a space"],
)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_signed_frames_of_real_clients_are_read(tail: bytes, trailers: dict[str, str], size: int) -> None:
    decoder = chunked.Decoder(5, signed=True, announced=frozenset(trailers))
    assert decoded(decoder, sliced(SIGNED + tail, size)) == b"hello"
    assert decoder.trailers == trailers


@pytest.mark.parametrize(
    ("framed", "length", "code"),
    [
        (b"", 5, "IncompleteBody"),
        (HELLO[:-1], 5, "IncompleteBody"),
        (HELLO[:-2], 5, "IncompleteBody"),
        (b"5\r\nhello\r\n", 5, "IncompleteBody"),
        (b"5\r\nhel", 5, "IncompleteBody"),
        (HELLO, 4, "IncompleteBody"),
        (HELLO, 6, "IncompleteBody"),
        (b"ffffffffffffffff\r\nhello", 5, "IncompleteBody"),
        (HELLO + b"x", 5, "InvalidRequest"),
        (b"5\r\nhelloo\r\n0\r\n\r\n", 5, "InvalidRequest"),
        (b"5\nhello\r\n0\r\n\r\n", 5, "InvalidRequest"),
        (b"5 \r\nhello\r\n0\r\n\r\n", 5, "InvalidRequest"),
        (b"0x5\r\nhello\r\n0\r\n\r\n", 5, "InvalidRequest"),
        (b"-5\r\nhello\r\n0\r\n\r\n", 5, "InvalidRequest"),
        (b"\r\nhello\r\n0\r\n\r\n", 5, "InvalidRequest"),
        (b"00000000000000005\r\nhello\r\n0\r\n\r\n", 5, "InvalidRequest"),
        (b"5;chunk-signature=ab\r\nhello\r\n", 5, "InvalidRequest"),
        (b"5;a=" + b"b" * 2000 + b"\r\nhello\r\n", 5, "InvalidRequest"),
        (b"5" * 2000, 5, "InvalidRequest"),
        (b"5\r\nhello\r\n0\r\n\r\n", 5, "MalformedTrailerError"),
        (b"5\r\nhello\r\n0\r\nno colon\r\n\r\n", 5, "MalformedTrailerError"),
        (b"5\r\nhello\r\n0\r\nx-amz-checksum-sha1:a=\r\n\r\n", 5, "MalformedTrailerError"),
        (b"5\r\nhello\r\n0\r\nx-amz-trailer-signature:a\r\n\r\n", 5, "MalformedTrailerError"),
        (HELLO[:-2] + b"x-amz-checksum-crc32:NhCmhg==\r\n\r\n", 5, "MalformedTrailerError"),
        (HELLO[:-2] + b"x" * 2000, 5, "InvalidRequest"),
    ],
    ids=range(25),
)
@pytest.mark.parametrize("size", [1, 7, 5000])
def test_broken_frames_are_refused(framed: bytes, length: int, code: str, size: int) -> None:
    with pytest.raises(S3Error) as caught:
        decoded(unsigned(length, CRC), sliced(framed, size))
    assert (caught.value.code, caught.value.status) == (code, 400)


@pytest.mark.parametrize("framed", [b"5\r\nhello\r\n", b"5;chunk-signature=\r\nhello\r\n", b"5;chunk-signature=zz\r\n"])
def test_a_signed_chunk_without_a_signature_is_refused(framed: bytes) -> None:
    with pytest.raises(S3Error, match="InvalidRequest"):
        decoded(chunked.Decoder(5, signed=True), [framed])


def headers(scheme: str, length: str | None = "5", trailer: str = "") -> CIMultiDict[str]:
    said = {"x-amz-content-sha256": scheme, "x-amz-decoded-content-length": length, "x-amz-trailer": trailer}
    return CIMultiDict({name: value for name, value in said.items() if value})


@pytest.mark.semantics("Q-5", "Q-5a")
async def test_the_last_block_waits_for_what_is_behind_it() -> None:
    body = chunked.wrap(Blocks(sliced(HELLO[:-2], 4)), headers(chunked.UNSIGNED_TRAILER, trailer=CRC))
    taken: list[bytes] = []
    with pytest.raises(S3Error, match="IncompleteBody"):
        await drain(body, taken)
    assert b"".join(taken) != b"hello"
    assert b"hello".startswith(b"".join(taken))


async def test_a_wrapped_body_has_the_decoded_length_and_the_trailers() -> None:
    framed = Blocks(sliced(HELLO, 4))
    body = chunked.wrap(framed, headers(chunked.UNSIGNED_TRAILER, trailer=CRC))
    assert body.length == 5
    assert await drain(body, []) == b"hello"
    assert body.trailers == {CRC: "NhCmhg=="}
    await body.aclose()
    assert framed.closed


@pytest.mark.parametrize(
    ("said", "code", "status"),
    [
        (headers("STREAMING-AWS4-HMAC-SHA256-EVENTS"), "InvalidArgument", 400),
        (headers(chunked.UNSIGNED_TRAILER, None), "MissingContentLength", 411),
        (headers(chunked.UNSIGNED_TRAILER, "-1"), "InvalidArgument", 400),
        (headers(chunked.UNSIGNED_TRAILER, "1_0"), "InvalidArgument", 400),
        (headers(chunked.UNSIGNED_TRAILER, "9" * 30), "InvalidArgument", 400),
        (headers("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", trailer=CRC), "InvalidRequest", 400),
    ],
)
def test_headers_that_contradict_themselves_are_refused(said: CIMultiDict[str], code: str, status: int) -> None:
    with pytest.raises(S3Error) as caught:
        chunked.wrap(Blocks([]), said)
    assert (caught.value.code, caught.value.status) == (code, status)


@pytest.mark.parametrize("size", [0, 5, 200_000])
@pytest.mark.parametrize("name", sorted(checksums.ALGORITHMS))
async def test_a_framed_body_is_as_long_as_it_says(name: str, size: int) -> None:
    trailer = f"x-amz-checksum-{name}"
    digests = checksums.Digests([name])
    digests.update(b"x" * size)
    source = checksums.verify(
        Blocks(sliced(b"x" * size, 70_000)), checksums.Expected(checksum=(name, digests.digest(name)))
    )
    body = chunked.frame(source, trailer)
    framed = await drain(body, [])
    assert len(framed) == body.length
    decoder = unsigned(size, trailer)
    assert decoded(decoder, [framed]) == b"x" * size
    assert decoder.trailers == {trailer: source.digests[trailer]}
