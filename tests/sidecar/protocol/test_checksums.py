"""Digests: right ones pass and are kept, wrong ones stop the last block."""

import base64
import hashlib
import threading
import zlib

import pytest
from botocore import httpchecksum
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from s3d.api import Wire
from s3d.errors import S3Error
from s3d.protocol import checksums, chunked
from tests.sidecar.protocol.bodies import Blocks, drain, sliced

DATA = b"hello world"
MD5 = base64.b64encode(hashlib.md5(DATA).digest()).decode()
SHA256 = hashlib.sha256(DATA).hexdigest()
ZEROES = {"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64, "crc32": 4, "crc32c": 4, "crc64nvme": 8, "xxhash64": 8,
          "xxhash3": 8, "xxhash128": 16}  # fmt: skip
# SHA-256 is what requests are signed with, in hex, wherever it came from.
IN_HEX = {"sha256": {"sha256": SHA256}}
# Of "123456789", from the catalogue of parametrised CRC algorithms and from xxHash's own tool.
CHECK = {"crc32": "cbf43926", "crc32c": "e3069283", "crc64nvme": "ae8b14860a799888", "xxhash64": "8cb841db40e6ae83"}


def put(query: str = "", method: str = "PUT", **said: str) -> Wire:
    return Wire(method, "/b/k", query, CIMultiDict({name.replace("_", "-"): value for name, value in said.items()}))


def value(name: str, data: bytes = DATA) -> str:
    digests = checksums.Digests([name])
    digests.update(data)
    return checksums.to_base64(digests.digest(name))


@given(st.binary(max_size=300), st.integers(1, 50))
def test_digests_are_those_of_botocore(data: bytes, size: int) -> None:
    names = ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"]
    digests = checksums.Digests(names)
    for block in sliced(data, size):
        digests.update(block)
    for name in names:
        theirs = httpchecksum._CHECKSUM_CLS[name]()
        theirs.update(data)
        assert checksums.to_base64(digests.digest(name)) == theirs.b64digest()


@pytest.mark.parametrize(("name", "digest"), CHECK.items())
def test_checksums_have_their_published_check_value(name: str, digest: str) -> None:
    digests = checksums.Digests([name])
    digests.update(b"123456789")
    assert digests.digest(name).hex() == digest
    assert digests.digest(name).hex() == digest


def test_every_algorithm_of_the_model_is_known() -> None:
    from s3d.protocol.model import OPERATIONS

    headers = {h for h in OPERATIONS["PutObject"].headers if h.startswith("x-amz-checksum-")}
    assert headers == checksums.HEADERS
    assert set(chunked.VALUE_SIZES) == checksums.HEADERS


@pytest.mark.parametrize(("name", "size"), ZEROES.items())
def test_a_checksum_has_its_size(name: str, size: int) -> None:
    raw = checksums.Digests([name]).digest(name)
    assert len(raw) == size
    assert chunked.VALUE_SIZES[f"x-amz-checksum-{name}"] == len(base64.b64encode(raw))


@pytest.mark.semantics("Q-5")
@pytest.mark.parametrize("block", [1, 4, 100])
@pytest.mark.parametrize(
    ("said", "digests"),
    [
        ({}, {}),
        ({"Content_MD5": MD5}, {}),
        ({"x_amz_content_sha256": SHA256}, {"sha256": SHA256}),
        ({"x_amz_content_sha256": "UNSIGNED-PAYLOAD"}, {}),
        *[
            ({f"x_amz_checksum_{name}": value(name)}, {f"x-amz-checksum-{name}": value(name)} | IN_HEX.get(name, {}))
            for name in ZEROES
        ],
        (
            {"Content_MD5": MD5, "x_amz_content_sha256": SHA256, "x_amz_checksum_crc32": value("crc32")},
            {"sha256": SHA256, "x-amz-checksum-crc32": value("crc32")},
        ),
    ],
)
async def test_right_digests_pass_and_are_kept(said: dict[str, str], digests: dict[str, str], block: int) -> None:
    body = checksums.incoming(Blocks(sliced(DATA, block)), put(**said))
    assert body.length == len(DATA)
    assert body.digests == {}
    assert await drain(body, []) == DATA
    assert body.digests == {"md5": hashlib.md5(DATA).hexdigest()} | digests
    assert body.sent == {
        name.replace("_", "-").lower(): text for name, text in said.items() if text != "UNSIGNED-PAYLOAD"
    }


@pytest.mark.semantics("Q-5")
@pytest.mark.parametrize("block", [1, 4, 100])
@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"Content_MD5": base64.b64encode(bytes(16)).decode()}, "BadDigest"),
        ({"x_amz_content_sha256": "0" * 64}, "XAmzContentSHA256Mismatch"),
        *[
            ({f"x_amz_checksum_{name}": base64.b64encode(bytes(size)).decode()}, "BadDigest")
            for name, size in ZEROES.items()
        ],
        ({"Content_MD5": MD5, "x_amz_checksum_crc32": "AAAAAA=="}, "BadDigest"),
    ],
)
async def test_a_wrong_digest_stops_the_last_block(said: dict[str, str], code: str, block: int) -> None:
    body = checksums.incoming(Blocks(sliced(DATA, block)), put(**said))
    taken: list[bytes] = []
    with pytest.raises(S3Error) as caught:
        await drain(body, taken)
    assert (caught.value.code, caught.value.status) == (code, 400)
    assert taken == sliced(DATA, block)[:-1]
    assert body.digests == {}


@pytest.mark.semantics("Q-5")
@pytest.mark.parametrize("length", [0, 5, len(DATA) - 1, len(DATA) + 1, 1 << 40])
@pytest.mark.parametrize("block", [1, 4, 100])
async def test_a_body_of_another_length_is_never_whole(length: int, block: int) -> None:
    body = checksums.incoming(Blocks(sliced(DATA, block), length), put())
    taken: list[bytes] = []
    with pytest.raises(S3Error, match="IncompleteBody"):
        await drain(body, taken)
    assert len(b"".join(taken)) < min(len(DATA), length + 1)


async def test_a_wrong_digest_of_an_empty_body_is_an_error() -> None:
    with pytest.raises(S3Error, match="BadDigest"):
        await drain(checksums.incoming(Blocks([]), put(Content_MD5=MD5)), [])


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"Content_MD5": "no"}, "InvalidDigest"),
        ({"Content_MD5": ""}, "InvalidDigest"),
        ({"Content_MD5": MD5[:-4]}, "InvalidDigest"),
        ({"Content_MD5": hashlib.md5(DATA).hexdigest()}, "InvalidDigest"),
        ({"Content_MD5": MD5 + "\u00e9"}, "InvalidDigest"),
        ({"x_amz_content_sha256": "abc"}, "InvalidArgument"),
        ({"x_amz_content_sha256": SHA256.upper()}, "InvalidArgument"),
        ({"x_amz_content_sha256": "STREAMING-SOMETHING"}, "InvalidArgument"),
        ({"x_amz_checksum_crc32": "AAAA"}, "InvalidRequest"),
        ({"x_amz_checksum_crc32": "AAAAAAAA"}, "InvalidRequest"),
        ({"x_amz_checksum_sha256": SHA256}, "InvalidRequest"),
        ({"x_amz_checksum_crc32": value("crc32"), "x_amz_checksum_sha1": value("sha1")}, "InvalidRequest"),
        ({"x_amz_checksum_crc32": value("crc32"), "x_amz_trailer": "x-amz-checksum-crc32"}, "InvalidRequest"),
        ({"x_amz_trailer": "x-amz-checksum-crc32, x-amz-checksum-sha1"}, "InvalidRequest"),
        ({"x_amz_trailer": "x-amz-meta-a"}, "InvalidRequest"),
        ({"x_amz_trailer": "x-amz-checksum-crc32"}, "InvalidRequest"),
    ],
)
def test_promises_that_cannot_be_read_are_refused_before_the_body(said: dict[str, str], code: str) -> None:
    with pytest.raises(S3Error) as caught:
        checksums.incoming(Blocks([]), put(**said))
    assert (caught.value.code, caught.value.status) == (code, 400)


def streaming(trailer: str, scheme: str = chunked.UNSIGNED_TRAILER) -> Wire:
    return put(x_amz_content_sha256=scheme, x_amz_decoded_content_length=str(len(DATA)), x_amz_trailer=trailer)


@pytest.mark.semantics("Q-5")
@pytest.mark.parametrize("name", sorted(ZEROES))
async def test_a_trailing_checksum_is_verified_and_kept(name: str) -> None:
    trailer = f"x-amz-checksum-{name}"
    encoder = chunked.Encoder(4)
    framed = b"".join(encoder.feed(DATA)) + encoder.end({trailer: value(name)})
    body = checksums.incoming(Blocks(sliced(framed, 5)), streaming(trailer))
    assert body.length == len(DATA)
    assert await drain(body, []) == DATA
    assert body.digests == {"md5": hashlib.md5(DATA).hexdigest(), trailer: value(name)} | IN_HEX.get(name, {})
    assert body.sent == {trailer: value(name)}


@pytest.mark.semantics("Q-5")
@pytest.mark.parametrize(
    ("text", "code"),
    [("AAAAAA==", "BadDigest"), ("AAAA", "InvalidRequest"), ("", "InvalidRequest"), ("*", "InvalidRequest")],
)
async def test_a_wrong_trailing_checksum_stops_the_last_block(text: str, code: str) -> None:
    trailer = "x-amz-checksum-crc32"
    encoder = chunked.Encoder(4)
    framed = b"".join(encoder.feed(DATA)) + encoder.end({trailer: text})
    taken: list[bytes] = []
    with pytest.raises(S3Error) as caught:
        await drain(checksums.incoming(Blocks(sliced(framed, 5)), streaming(trailer)), taken)
    assert caught.value.code == code
    assert len(b"".join(taken)) < len(DATA)


async def test_a_body_of_signed_chunks_is_decoded() -> None:
    framed = b"b;chunk-signature=ab\r\nhello world\r\n0;chunk-signature=cd\r\n\r\n"
    body = checksums.incoming(Blocks([framed]), streaming("", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"))
    assert await drain(body, []) == DATA


async def test_the_checksums_of_a_complete_are_not_those_of_its_document() -> None:
    wire = put(method="POST", query="uploadId=u", x_amz_checksum_crc32="AAAAAA==", Content_MD5=MD5)
    body = checksums.incoming(Blocks([DATA]), wire)
    assert await drain(body, []) == DATA
    assert body.sent == {"content-md5": MD5}


async def test_a_checksum_in_a_presigned_query_is_no_promise() -> None:
    query = "X-Amz-Signature=s&x-amz-checksum-crc32=AAAAAA%3D%3D"
    assert await drain(checksums.incoming(Blocks([DATA]), put(query=query)), []) == DATA


async def test_large_blocks_are_hashed_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = set()
    plain = checksums.Digests.update

    def update(self: checksums.Digests, block: bytes) -> None:
        threads.add((len(block), threading.current_thread() is threading.main_thread()))
        plain(self, block)

    monkeypatch.setattr(checksums.Digests, "update", update)
    large = bytes(checksums.INLINE_MAX_BYTES + 1)
    body = checksums.incoming(Blocks([DATA, large, large, DATA]), put())
    data = await drain(body, [])
    assert threads == {(len(DATA), True), (len(large), False)}
    assert body.digests["md5"] == hashlib.md5(data).hexdigest()


async def test_a_body_that_is_closed_closes_what_it_wraps() -> None:
    inner = Blocks([DATA])
    body = checksums.incoming(inner, put())
    await body.aclose()
    await body.aclose()
    assert inner.closed


def test_crc32_is_that_of_zlib() -> None:
    assert base64.b64decode(value("crc32")) == zlib.crc32(DATA).to_bytes(4, "big")


async def test_the_last_block_is_judged_when_it_has_been_hashed() -> None:
    large = bytes(range(256)) * (16 << 10)
    sha256 = hashlib.sha256(large).hexdigest()
    wire = put(x_amz_checksum_crc32=value("crc32", large), x_amz_content_sha256=sha256)
    body = checksums.incoming(Blocks([large]), wire)
    assert await drain(body, []) == large
    assert body.digests["x-amz-checksum-crc32"] == value("crc32", large)
