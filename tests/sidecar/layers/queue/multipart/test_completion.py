"""Complete as S3 judges it."""

import base64
import hashlib
import zlib
from typing import Any

import pytest
from multidict import CIMultiDict

from s3d.errors import S3Error
from s3d.layers.queue.multipart import completion
from s3d.layers.queue.rows.states import UploadState
from s3d.layers.queue.rows.uploads import Part, Upload

LEAST = completion.MIN_PART


def upload(algorithm: str = "", kind: str = "") -> Upload:
    return Upload("u", "b", "k", "", UploadState.OPEN, {}, algorithm, kind, 1.0, 1.0)


def crc(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def part(number: int, data: bytes, size: int | None = None) -> Part:
    sums = {"x-amz-checksum-crc32": crc(data)}
    return Part(number, len(data) if size is None else size, hashlib.md5(data).hexdigest(), sums, 1.0)


def line(of: Part, **more: Any) -> dict[str, Any]:
    return {"PartNumber": of.number, "ETag": f'"{of.etag}"', **more}


ONE, TWO = part(1, b"one" * (LEAST // 3 + 1)), part(2, b"two")


def judged(of: Upload, *lines: dict[str, Any], **headers: str) -> completion.Made:
    return completion.judge(of, [ONE, TWO], lines, CIMultiDict({k.replace("_", "-"): v for k, v in headers.items()}))


@pytest.mark.semantics("Q-4")
def test_the_etag_is_the_md5_of_the_md5s_and_their_number() -> None:
    made = judged(upload(), line(ONE), line(TWO))
    digest = hashlib.md5(bytes.fromhex(ONE.etag) + bytes.fromhex(TWO.etag)).hexdigest()
    assert (made.etag, made.size, made.members) == (f"{digest}-2", ONE.size + 3, {})


@pytest.mark.semantics("Q-15")
def test_a_full_object_checksum_is_that_of_the_bytes() -> None:
    made = judged(upload("crc32", "FULL_OBJECT"), line(ONE), line(TWO))
    whole = crc(b"one" * (LEAST // 3 + 1) + b"two")
    assert made.members == {"x-amz-checksum-crc32": whole, "x-amz-checksum-type": "FULL_OBJECT"}
    assert judged(upload("crc32", "FULL_OBJECT"), line(ONE), line(TWO), x_amz_checksum_crc32=whole).size == made.size
    with pytest.raises(S3Error, match="BadDigest"):
        judged(upload("crc32", "FULL_OBJECT"), line(ONE), line(TWO), x_amz_checksum_crc32=crc(b"other"))


@pytest.mark.semantics("Q-15")
def test_a_composite_checksum_is_that_of_the_parts_checksums_and_their_number() -> None:
    sums = [one.sums["x-amz-checksum-crc32"] for one in (ONE, TWO)]
    made = judged(upload("crc32", "COMPOSITE"), line(ONE, ChecksumCRC32=sums[0]), line(TWO, ChecksumCRC32=sums[1]))
    expected = crc(b"".join(map(base64.b64decode, sums))) + "-2"
    assert made.members == {"x-amz-checksum-crc32": expected, "x-amz-checksum-type": "COMPOSITE"}
    assert (made.result["ChecksumCRC32"], made.result["ChecksumType"]) == (expected, "COMPOSITE")


@pytest.mark.semantics("Q-15")
@pytest.mark.parametrize(
    ("of", "lines", "headers", "code"),
    [
        (upload(), [line(TWO), line(ONE)], {}, "InvalidPartOrder"),
        (upload(), [line(ONE), line(ONE)], {}, "InvalidPartOrder"),
        (upload(), [line(ONE), {**line(TWO), "PartNumber": 3}], {}, "InvalidPart"),
        (upload(), [{**line(ONE), "PartNumber": 0}], {}, "InvalidArgument"),
        (upload(), [{**line(ONE), "PartNumber": 10_001}], {}, "InvalidArgument"),
        (upload(), [line(ONE, ChecksumCRC32=crc(b"other"))], {}, "InvalidPart"),
        (upload("crc32", "COMPOSITE"), [line(ONE), line(TWO)], {}, "InvalidRequest"),
        (upload(), [line(ONE)], {"x_amz_mp_object_size": "7"}, "InvalidRequest"),
        (upload("crc32", "FULL_OBJECT"), [line(ONE)], {"x_amz_checksum_type": "COMPOSITE"}, "InvalidRequest"),
    ],
)
def test_what_s3_refuses_is_refused(of: Upload, lines: Any, headers: dict[str, str], code: str) -> None:
    with pytest.raises(S3Error, match=code):
        judged(of, *lines, **headers)


@pytest.mark.semantics("Q-15")
def test_only_the_last_part_may_be_small_and_no_object_is_larger_than_5_tb() -> None:
    small, large = part(1, b"x", LEAST - 1), [part(n, b"x", 5 << 30) for n in range(1, 1026)]
    with pytest.raises(S3Error, match="EntityTooSmall"):
        completion.judge(upload(), [small, TWO], [line(small), line(TWO)], CIMultiDict())
    with pytest.raises(S3Error, match="EntityTooLarge"):
        completion.judge(upload(), large, [line(one) for one in large], CIMultiDict())


@pytest.mark.parametrize(
    ("algorithm", "kind", "expected"),
    [
        ("", "", ("", "")),
        ("CRC32", "", ("crc32", "COMPOSITE")),
        ("CRC64NVME", "", ("crc64nvme", "FULL_OBJECT")),
        ("CRC32C", "FULL_OBJECT", ("crc32c", "FULL_OBJECT")),
        ("SHA256", "FULL_OBJECT", None),
        ("CRC64NVME", "COMPOSITE", None),
        ("MD4", "", None),
        ("", "COMPOSITE", None),
    ],
)
def test_only_what_s3_offers_can_be_asked_for(algorithm: str, kind: str, expected: tuple[str, str] | None) -> None:
    asked = {"x-amz-checksum-algorithm": algorithm, "x-amz-checksum-type": kind}
    headers = CIMultiDict((name, value) for name, value in asked.items() if value)
    if expected is not None:
        assert completion.promised(headers) == expected
        return
    with pytest.raises(S3Error, match="InvalidRequest"):
        completion.promised(headers)


def test_a_document_names_one_to_ten_thousand_parts() -> None:
    for listed in ([], [{"PartNumber": 1}], [{"ETag": "e"}], [{"PartNumber": 1, "ETag": "e"}] * 10_001):
        with pytest.raises(S3Error, match="MalformedXML"):
            completion.of_document({"MultipartUpload": {"Parts": listed}})
