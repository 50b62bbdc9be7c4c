"""What every implementation of a remote keeps about multipart uploads."""

from typing import Any

import pytest

from s3d.errors import S3Error
from tests.contracts.bodies import pattern
from tests.contracts.far import Far, ask, keys_of, md5, refused


async def create_upload(s3: Far, bucket: str, key: str, **params: Any) -> dict[str, Any]:
    """Open an upload: the members that name it."""
    made = (await ask(s3, "CreateMultipartUpload", {"Bucket": bucket, "Key": key, **params})).result
    return {"Bucket": bucket, "Key": key, "UploadId": made["UploadId"]}


async def put_part(s3: Far, upload: dict[str, Any], number: int, data: bytes) -> dict[str, Any]:
    """Upload a part: how Complete names it."""
    answer = await ask(s3, "UploadPart", {**upload, "PartNumber": number}, data)
    return {"PartNumber": number, "ETag": answer.result["ETag"]}


async def parts_become_an_object(s3: Far, bucket: str) -> None:
    first, second = pattern(5 << 20), b"the end"
    upload = await create_upload(s3, bucket, "k", Metadata={"m": "1"})
    parts = [await put_part(s3, upload, number, data) for number, data in ((2, second), (1, b"replaced"), (1, first))]
    named = {"MultipartUpload": {"Parts": [parts[2], parts[0]]}}
    whole = md5(bytes.fromhex(md5(first)) + bytes.fromhex(md5(second)))
    assert (await ask(s3, "CompleteMultipartUpload", {**upload, **named})).etag == f"{whole}-2"
    got = await ask(s3, "GetObject", {"Bucket": bucket, "Key": "k"})
    assert (got.data, got.etag, got.result["Metadata"]) == (first + second, f"{whole}-2", {"m": "1"})
    part = await ask(s3, "GetObject", {"Bucket": bucket, "Key": "k", "PartNumber": 2})
    assert (part.status, part.data) == (206, second)


async def parts_are_listed_page_by_page(s3: Far, bucket: str) -> None:
    upload = await create_upload(s3, bucket, "k")
    for number in (1, 3, 7):
        await put_part(s3, upload, number, b"%d" % number)
    first = (await ask(s3, "ListParts", {**upload, "MaxParts": 2})).result
    assert [(one["PartNumber"], one["ETag"].strip('"')) for one in first["Parts"]] == [(1, md5(b"1")), (3, md5(b"3"))]
    assert first["IsTruncated"]
    rest = (await ask(s3, "ListParts", {**upload, "PartNumberMarker": first["NextPartNumberMarker"]})).result
    assert ([one["PartNumber"] for one in rest["Parts"]], rest["IsTruncated"]) == ([7], False)


async def an_upload_shows_nothing_until_it_is_complete(s3: Far, bucket: str) -> None:
    upload = await create_upload(s3, bucket, "k")
    await put_part(s3, upload, 1, b"x")
    assert await keys_of(s3, bucket) == []
    listed = (await ask(s3, "ListMultipartUploads", {"Bucket": bucket})).result
    assert [(one["Key"], one["UploadId"]) for one in listed["Uploads"]] == [("k", upload["UploadId"])]
    assert (await ask(s3, "AbortMultipartUpload", upload)).status == 204
    assert (await refused(s3, "UploadPart", {**upload, "PartNumber": 1}, b"x")).code == "NoSuchUpload"
    assert (await refused(s3, "ListParts", upload)).code == "NoSuchUpload"


async def an_upload_that_cannot_be_completed_stays(s3: Far, bucket: str) -> None:
    upload = await create_upload(s3, bucket, "k")
    parts = [await put_part(s3, upload, number, b"small") for number in (1, 2)]
    for bad, codes in (
        ([{"PartNumber": 3, "ETag": parts[0]["ETag"]}], ["InvalidPart"]),
        ([{"PartNumber": 1, "ETag": f'"{md5(b"other")}"'}], ["InvalidPart"]),
        ([parts[1], parts[0]], ["InvalidPartOrder", "EntityTooSmall"]),
        (parts, ["EntityTooSmall"]),
    ):
        with pytest.raises(S3Error) as error:
            await ask(s3, "CompleteMultipartUpload", {**upload, "MultipartUpload": {"Parts": bad}})
        assert error.value.code in codes
    named = {"MultipartUpload": {"Parts": parts[:1]}}
    assert (await ask(s3, "CompleteMultipartUpload", {**upload, **named})).etag.endswith("-1")


async def a_part_may_be_copied(s3: Far, bucket: str) -> None:
    await ask(s3, "PutObject", {"Bucket": bucket, "Key": "from"}, b"0123456789")
    upload = await create_upload(s3, bucket, "k")
    source = {"PartNumber": 1, "CopySource": f"{bucket}/from", "CopySourceRange": "bytes=2-4"}
    copied = (await ask(s3, "UploadPartCopy", {**upload, **source})).result["CopyPartResult"]
    assert copied["ETag"].strip('"') == md5(b"234")
    part = {"PartNumber": 1, "ETag": copied["ETag"]}
    await ask(s3, "CompleteMultipartUpload", {**upload, "MultipartUpload": {"Parts": [part]}})
    assert (await ask(s3, "GetObject", {"Bucket": bucket, "Key": "k"})).data == b"234"
