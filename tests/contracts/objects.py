"""What every implementation of a remote keeps about objects and buckets."""

import base64
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import quote

import pytest

from s3d.api import Body
from s3d.client import Client
from s3d.errors import CorruptBody, S3Error
from tests.contracts.bodies import pattern
from tests.contracts.far import TAGS, Far, ask, by_key, fill, keys_of, md5, refused


async def an_object_comes_back_as_it_was_put(s3: Far, bucket: str) -> None:
    data = pattern(100_000)
    params = {
        "Bucket": bucket,
        "Key": "a/b c",
        "ContentType": "text/x-test",
        "Metadata": {"one": "1"},
        "CacheControl": "no-cache",
    }
    put = await ask(s3, "PutObject", params, data)
    assert put.etag == md5(data)
    got = await ask(s3, "GetObject", {"Bucket": bucket, "Key": "a/b c"})
    assert (got.data, got.etag) == (data, md5(data))
    headed = await ask(s3, "HeadObject", {"Bucket": bucket, "Key": "a/b c"})
    assert headed.result["ContentLength"] == len(data)
    for shown in (got, headed):
        said = shown.result
        assert (said["ContentType"], said["Metadata"], said["CacheControl"]) == (
            "text/x-test",
            {"one": "1"},
            "no-cache",
        )


async def the_last_put_is_what_is_there(s3: Far, bucket: str) -> None:
    for data in (b"first", b"", b"last"):
        await ask(s3, "PutObject", {"Bucket": bucket, "Key": "k"}, data)
        assert (await ask(s3, "GetObject", {"Bucket": bucket, "Key": "k"})).data == data


async def what_is_not_there_is_no_such_key(s3: Far, bucket: str) -> None:
    error = await refused(s3, "GetObject", {"Bucket": bucket, "Key": "k"})
    assert (error.code, error.status) == ("NoSuchKey", 404)
    assert (await refused(s3, "HeadObject", {"Bucket": bucket, "Key": "k"})).status == 404


async def a_bucket_that_is_not_there_is_no_such_bucket(s3: Far, bucket: str) -> None:
    missing = f"{bucket}-missing"
    assert (await refused(s3, "HeadBucket", {"Bucket": missing})).status == 404
    assert (await refused(s3, "PutObject", {"Bucket": missing, "Key": "k"}, b"x")).code == "NoSuchBucket"
    assert (await refused(s3, "ListObjectsV2", {"Bucket": missing})).code == "NoSuchBucket"


async def a_new_bucket_is_there_and_plain(s3: Far, bucket: str) -> None:
    assert (await ask(s3, "HeadBucket", {"Bucket": bucket})).status == 200
    assert not (await ask(s3, "GetBucketVersioning", {"Bucket": bucket})).result.get("Status")
    assert (await refused(s3, "GetObjectLockConfiguration", {"Bucket": bucket})).status == 404


async def a_delete_takes_the_object_and_may_come_twice(s3: Far, bucket: str) -> None:
    await fill(s3, bucket, ["k", "l"])
    for _ in range(2):
        assert (await ask(s3, "DeleteObject", {"Bucket": bucket, "Key": "k"})).status == 204
    assert await keys_of(s3, bucket) == ["l"]


async def many_are_deleted_at_once(s3: Far, bucket: str) -> None:
    await fill(s3, bucket)
    named = [{"Key": key} for key in ("a", "b/1", "not there")]
    gone = (await ask(s3, "DeleteObjects", {"Bucket": bucket, "Delete": {"Objects": named}})).result
    assert {one["Key"] for one in gone["Deleted"]} >= {"a", "b/1"}
    await ask(s3, "DeleteObjects", {"Bucket": bucket, "Delete": {"Objects": [{"Key": "c"}], "Quiet": True}})
    assert await keys_of(s3, bucket) == ["a b+c", "b/2", "b/c/3", "d/\u00e9"]


async def a_range_is_a_stretch_of_the_bytes(s3: Far, bucket: str) -> None:
    data = pattern(1000)
    await ask(s3, "PutObject", {"Bucket": bucket, "Key": "k"}, data)
    for header, part in (
        ("bytes=0-9", data[:10]),
        ("bytes=990-", data[990:]),
        ("bytes=-7", data[-7:]),
        ("bytes=990-5000", data[990:]),
    ):
        got = await ask(s3, "GetObject", {"Bucket": bucket, "Key": "k", "Range": header})
        assert (got.status, got.data) == (206, part)
    got = await ask(s3, "GetObject", {"Bucket": bucket, "Key": "k", "Range": "bytes=5-9"})
    assert got.result["ContentRange"] == "bytes 5-9/1000"
    assert (await refused(s3, "GetObject", {"Bucket": bucket, "Key": "k", "Range": "bytes=1000-"})).status == 416


async def reads_judge_conditions(s3: Far, bucket: str) -> None:
    etag = (await ask(s3, "PutObject", {"Bucket": bucket, "Key": "k"}, b"x")).result["ETag"]
    named = {"Bucket": bucket, "Key": "k"}
    assert (await ask(s3, "GetObject", {**named, "IfMatch": etag})).data == b"x"
    assert (await ask(s3, "GetObject", {**named, "IfNoneMatch": '"other"'})).data == b"x"
    assert (await refused(s3, "GetObject", {**named, "IfMatch": '"other"'})).status == 412
    assert (await refused(s3, "GetObject", {**named, "IfNoneMatch": etag})).status == 304


async def writes_judge_conditions(s3: Far, bucket: str) -> None:
    named = {"Bucket": bucket, "Key": "k"}
    etag = (await ask(s3, "PutObject", {**named, "IfNoneMatch": "*"}, b"1")).result["ETag"]
    assert (await refused(s3, "PutObject", {**named, "IfNoneMatch": "*"}, b"2")).status == 412
    assert (
        await refused(s3, "PutObject", {**named, "IfMatch": '"00000000000000000000000000000000"'}, b"2")
    ).status == 412
    await ask(s3, "PutObject", {**named, "IfMatch": etag}, b"3")
    assert (await ask(s3, "GetObject", named)).data == b"3"


async def bytes_that_do_not_match_their_digest_are_refused(s3: Far, bucket: str) -> None:
    named = {"Bucket": bucket, "Key": "k"}
    wrong = base64.b64encode(hashlib.md5(b"other", usedforsecurity=False).digest()).decode()
    with pytest.raises(S3Error) as error:
        await ask(s3, "PutObject", {**named, "ContentMD5": wrong}, b"bytes")
    assert error.value.status == 400
    assert await keys_of(s3, bucket) == []


async def a_body_that_breaks_off_stores_nothing(s3: Far, bucket: str) -> None:
    """What stopped the body comes out, not what became of the connection. Without a digest, some keep what came."""
    digest = base64.b64encode(hashlib.md5(bytes(300_000), usedforsecurity=False).digest()).decode()
    for error in (CorruptBody("bad"), S3Error("BadDigest", "no")):
        params = {"Bucket": bucket, "Key": "k", "ContentMD5": digest}
        with pytest.raises(type(error)) as raised:
            await Client(s3.s3).ask("PutObject", params, BrokenBody(error))
        assert str(raised.value) == str(error)
    assert await keys_of(s3, bucket) == []


@dataclass(slots=True)
class BrokenBody(Body):
    """A body that ends in an error instead of its last block."""

    error: Exception
    length: int = 300_000
    replayable: bool = False

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield less than was promised."""
        yield bytes(100_000)
        raise self.error

    async def aclose(self) -> None:
        """Nothing to let go of."""


async def tags_travel_and_change(s3: Far, bucket: str) -> None:
    named = {"Bucket": bucket, "Key": "k"}
    await ask(s3, "PutObject", {**named, "Tagging": "k=v%201&l="}, b"x")
    assert by_key((await ask(s3, "GetObjectTagging", named)).result["TagSet"]) == TAGS
    await ask(s3, "PutObjectTagging", {**named, "Tagging": {"TagSet": TAGS[:1]}})
    assert (await ask(s3, "GetObjectTagging", named)).result["TagSet"] == TAGS[:1]
    assert (await ask(s3, "HeadObject", named)).etag == md5(b"x")
    assert (await ask(s3, "DeleteObjectTagging", named)).status == 204
    assert (await ask(s3, "GetObjectTagging", named)).result["TagSet"] == []
    assert (await refused(s3, "GetObjectTagging", {**named, "Key": "not there"})).code == "NoSuchKey"


async def a_copy_has_the_bytes_and_members_of_its_source(s3: Far, bucket: str) -> None:
    await ask(
        s3,
        "PutObject",
        {"Bucket": bucket, "Key": "from/\u00e9 1", "Metadata": {"m": "1"}, "ContentType": "text/x"},
        b"data",
    )
    source = bucket + "/" + quote("from/\u00e9 1")
    copied = await ask(s3, "CopyObject", {"Bucket": bucket, "Key": "to", "CopySource": source})
    assert copied.result["CopyObjectResult"]["ETag"].strip('"') == md5(b"data")
    got = await ask(s3, "GetObject", {"Bucket": bucket, "Key": "to"})
    assert (got.data, got.result["Metadata"], got.result["ContentType"]) == (b"data", {"m": "1"}, "text/x")
    replaced = {"MetadataDirective": "REPLACE", "Metadata": {"n": "2"}}
    await ask(s3, "CopyObject", {"Bucket": bucket, "Key": "to", "CopySource": source, **replaced})
    assert (await ask(s3, "HeadObject", {"Bucket": bucket, "Key": "to"})).result["Metadata"] == {"n": "2"}
    missing = {"Bucket": bucket, "Key": "to", "CopySource": f"{bucket}/none"}
    assert (await refused(s3, "CopyObject", missing)).code == "NoSuchKey"


async def a_versioned_bucket_keeps_what_was_there(s3: Far, bucket: str) -> None:
    enabled = {"VersioningConfiguration": {"Status": "Enabled"}}
    await ask(s3, "PutBucketVersioning", {"Bucket": bucket, **enabled})
    assert (await ask(s3, "GetBucketVersioning", {"Bucket": bucket})).result["Status"] == "Enabled"
    named = {"Bucket": bucket, "Key": "k"}
    ids = [(await ask(s3, "PutObject", named, data)).result["VersionId"] for data in (b"1", b"2")]
    assert (await ask(s3, "GetObject", named)).result["VersionId"] == ids[1]
    assert (await ask(s3, "GetObject", {**named, "VersionId": ids[0]})).data == b"1"
    gone = await ask(s3, "DeleteObject", named)
    assert gone.result["DeleteMarker"]
    assert (await refused(s3, "GetObject", named)).status == 404
    await ask(s3, "DeleteObject", {**named, "VersionId": gone.result["VersionId"]})
    assert (await ask(s3, "GetObject", named)).data == b"2"


async def attributes_say_what_is_asked(s3: Far, bucket: str) -> None:
    await ask(s3, "PutObject", {"Bucket": bucket, "Key": "k"}, b"12345")
    asked = {"Bucket": bucket, "Key": "k", "ObjectAttributes": ["ETag", "ObjectSize"]}
    said = (await ask(s3, "GetObjectAttributes", asked)).result
    assert (said["ETag"].strip('"'), said["ObjectSize"]) == (md5(b"12345"), 5)
