"""What comes from outside is read or refused with an S3Error, wherever it is cut, changed or made up."""

from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from s3d.api import BytesBody, Wire
from s3d.errors import S3Error
from s3d.protocol import checksums, chunked, decode, sigv4
from s3d.protocol.model import OPERATIONS
from tests.contracts.bodies import BodyCheck, body_contract
from tests.sidecar.protocol.bodies import Blocks, sliced

CRC = "x-amz-checksum-crc32"
SIGNATURE = b";chunk-signature=" + b"a" * 64
NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
CHUNKS = st.lists(st.binary(min_size=1, max_size=40), max_size=5)
CUTS = st.lists(st.integers(0, 400), max_size=10)


def framed(chunks: list[bytes], *, signed: bool, trailing: bool) -> bytes:
    signature = SIGNATURE if signed else b""
    trailer = b"x-amz-checksum-crc32:AAAAAA==\r\n" if trailing else b""
    trailer += b"x-amz-trailer-signature:" + b"b" * 64 + b"\r\n" if signed and trailing else b""
    data = b"".join(b"%x%b\r\n%b\r\n" % (len(chunk), signature, chunk) for chunk in chunks)
    return b"%b0%b\r\n%b\r\n" % (data, signature, trailer)


def decoded(data: bytes, length: int, cuts: list[int], *, signed: bool, trailing: bool) -> bytes:
    decoder = chunked.Decoder(length, signed=signed, announced=frozenset([CRC] if trailing else []))
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    out = [block for a, b in pairwise(edges) for block in decoder.feed(data[a:b])]
    decoder.end()
    return b"".join(out)


@given(chunks=CHUNKS, cuts=CUTS, signed=st.booleans(), trailing=st.booleans())
def test_chunks_of_any_size_come_back_however_they_are_sliced(
    chunks: list[bytes], cuts: list[int], signed: bool, trailing: bool
) -> None:
    whole = b"".join(chunks)
    data = framed(chunks, signed=signed, trailing=trailing)
    assert decoded(data, len(whole), cuts, signed=signed, trailing=trailing) == whole


@pytest.mark.semantics("Q-5")
@given(chunks=CHUNKS, signed=st.booleans(), trailing=st.booleans())
def test_no_beginning_of_a_framed_body_is_whole(chunks: list[bytes], signed: bool, trailing: bool) -> None:
    data = framed(chunks, signed=signed, trailing=trailing)
    for end in range(len(data)):
        with pytest.raises(S3Error):
            decoded(data[:end], sum(map(len, chunks)), [], signed=signed, trailing=trailing)


@pytest.mark.semantics("Q-5")
@given(chunks=CHUNKS, cuts=CUTS, signed=st.booleans(), at=st.integers(0, 1 << 16), flip=st.integers(1, 255))
def test_a_changed_byte_moves_no_other(chunks: list[bytes], cuts: list[int], signed: bool, at: int, flip: int) -> None:
    """Digests find changed bytes of the object; the framing sees to it that none is lost, moved or added."""
    whole = b"".join(chunks)
    data = bytearray(framed(chunks, signed=signed, trailing=True))
    data[at % len(data)] ^= flip
    with suppress(S3Error):
        found = decoded(bytes(data), len(whole), cuts, signed=signed, trailing=True)
        assert len(found) == len(whole)
        assert sum(a != b for a, b in zip(found, whole, strict=True)) <= 1


@given(chunks=CHUNKS, signed=st.booleans(), trailing=st.booleans(), more=st.binary(min_size=1, max_size=5))
def test_nothing_may_follow_a_framed_body(chunks: list[bytes], signed: bool, trailing: bool, more: bytes) -> None:
    data = framed(chunks, signed=signed, trailing=trailing)
    with pytest.raises(S3Error, match="InvalidRequest"):
        decoded(data + more, sum(map(len, chunks)), [], signed=signed, trailing=trailing)


@pytest.mark.semantics("A-6")
def test_a_chunk_beyond_the_said_length_is_refused_before_its_bytes() -> None:
    with pytest.raises(S3Error, match="IncompleteBody"):
        chunked.Decoder(4).feed(b"5\r\nhello")


@body_contract
async def test_verified_bodies_keep_the_contract(check: BodyCheck) -> None:
    async def make(data: bytes) -> checksums.VerifiedBody:
        return checksums.incoming(Blocks(sliced(data, 70_000)), Wire("PUT", "/b/k", "", CIMultiDict()))

    await check(make)


@body_contract
async def test_unframed_bodies_keep_the_contract(check: BodyCheck) -> None:
    async def make(data: bytes) -> checksums.VerifiedBody:
        encoder = chunked.Encoder()
        frames = b"".join(encoder.feed(data)) + encoder.end()
        said = {"x-amz-content-sha256": chunked.UNSIGNED_TRAILER, "x-amz-decoded-content-length": str(len(data))}
        return checksums.incoming(Blocks(sliced(frames, 70_001)), Wire("PUT", "/b/k", "", CIMultiDict(said)))

    await check(make)


NAMES = """
    acl tagging uploads uploadId partNumber versionId list-type max-keys x-id response-expires x-amz-acl x-amz-meta-a
    X-Amz-Signature X-Amz-Date X-Amz-Expires Expires Signature AWSAccessKeyId %zz %ff a+b x-amz-checksum-crc32
""".split()
HEADERS = """
    Range If-Match If-Modified-Since x-amz-acl x-amz-meta-A Expires Content-MD5 x-amz-copy-source Content-Length
    x-amz-object-lock-retain-until-date x-amz-bypass-governance-retention x-amz-content-sha256 x-amz-trailer
    x-amz-decoded-content-length Content-Encoding x-amz-checksum-crc32
""".split()
VALUES = [
    *["", "1", "x", "-1", "1_0", "9" * 5000, "é", "²", "true", "aws-chunked", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"],
    *["20260101T000000Z", "00010101T000000Z", "99991231T235959Z", "Tue, 99 Jan 0001 00:00:00 GMT", CRC, "\udcff"],
    *["Tue, 01 Jan 0001 00:00:00 -2359", "9999-12-31T23:59:59-23:59", "%0a", "%C3"],
]


@pytest.mark.semantics("A-6")
@given(
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD", "PATCH"]),
    path=st.sampled_from(["/", "/b", "/b/k", "/b/%2F", "//", "/b//", "/b/\udcff"]),
    query=st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=4),
    headers=st.dictionaries(st.sampled_from(HEADERS), st.sampled_from(VALUES), max_size=4),
)
def test_a_request_is_read_or_refused(
    method: str, path: str, query: list[tuple[str, str]], headers: dict[str, str]
) -> None:
    wire = Wire(method, path, "&".join(f"{n}={v}" for n, v in query), CIMultiDict({"Host": "h"} | headers))
    with suppress(S3Error):
        decode.request(wire, ["localhost"])
    with suppress(S3Error):
        decode.unknown_members(wire, None, frozenset())
    with suppress(S3Error):
        sigv4.strip_auth(wire.query, wire.headers)
    with suppress(S3Error):
        checksums.incoming(BytesBody(b"a"), wire)


@pytest.mark.semantics("A-6")
@pytest.mark.parametrize("text", VALUES)
def test_the_time_of_a_presigned_url_is_read_or_refused(text: str) -> None:
    for date, seconds in ((text, "1"), ("20260101T000000Z", text), (text, text)):
        with suppress(S3Error):
            sigv4.check_presigned({"X-Amz-Signature": "s", "X-Amz-Date": date, "X-Amz-Expires": seconds}, NOW)
    with suppress(S3Error):
        sigv4.check_presigned({"AWSAccessKeyId": "a", "Signature": "s", "Expires": text}, NOW)


FRAGMENTS = st.sampled_from(
    [
        *[b"<Delete>", b"</Delete>", b"<Object>", b"</Object>", b"<Key>", b"</Key>", b"<Size>", b"</Size>"],
        *[b"a", b"1", b"&lt;", b"&#0;", b"\xff", b"\x00", b"<![CDATA[", b"]]>", b"<!DOCTYPE x>", b"<a:>", b"</a:>"],
        *[b"<LastModifiedTime>", b"</LastModifiedTime>", b"0001-01-01T00:00:00Z", b"<Error>", b"</Error>", b"<Code>"],
    ]
)
DECLARATIONS = st.sampled_from(["", "utf-8", "hex", "punycode", "utf-7", "idna", "rot13", "bogus", "utf-16"]).map(
    lambda name: f"<?xml version='1.0' encoding='{name}'?>".encode() if name else b""
)
DOCUMENTS = st.builds(bytes.__add__, DECLARATIONS, st.lists(FRAGMENTS, max_size=10).map(b"".join))
WITH_DOCUMENT = sorted(name for name, op in OPERATIONS.items() if op.payload and not op.streaming_input)


@pytest.mark.semantics("A-6")
@given(DOCUMENTS, st.sampled_from(WITH_DOCUMENT))
def test_the_document_of_a_request_is_read_or_refused(document: bytes, name: str) -> None:
    with suppress(S3Error):
        decode.input_xml(OPERATIONS[name], document)


@given(DOCUMENTS, st.sampled_from(sorted(OPERATIONS)))
def test_the_document_of_a_remote_is_read_or_refused(document: bytes, name: str) -> None:
    with suppress(S3Error):
        decode.response(name, 200, CIMultiDict(), document)
    assert decode.error(503, CIMultiDict(), document).status == 503
