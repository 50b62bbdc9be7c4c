"""What every implementation of a seam keeps. A fake is an implementation that passes.

A test module gives `make`, which wraps bytes into its kind of body:

    @body_contract
    async def test_bytes_bodies_keep_the_contract(check: BodyCheck) -> None:
        await check(make)
"""

import asyncio
import base64
import functools
import hashlib
import socket
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote_plus

import pytest

from s3d.api import S3, Body
from s3d.client import Client
from s3d.errors import CorruptBody, S3Error
from s3d.protocol.model import OPERATIONS
from tests import callers
from tests.callers import Answer

MakeBody = Callable[[bytes], Awaitable[Body]]
BodyCheck = Callable[[MakeBody], Awaitable[None]]

SIZES = (0, 1, 4096, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (5 << 19) + 7)
RANGES = ((0, None), (0, 1), (1, None), (4096, 4096), (1 << 20, None), (100, (2 << 20) + 5), (0, 1 << 40))


@functools.lru_cache(maxsize=32)
def pattern(size: int) -> bytes:
    """Bytes of which no two aligned blocks are equal."""
    numbers = array("Q", range(size // 8 + 1))
    numbers.byteswap()
    return numbers.tobytes()[:size]


async def blocks_of(body: Body, start: int = 0, end: int | None = None) -> list[bytes]:
    """All blocks that a body yields."""
    return [block async for block in body.chunks(start, end)]


async def all_bytes_come_once_and_in_order(make: MakeBody) -> None:
    for size in SIZES:
        body = await make(pattern(size))
        assert b"".join(await blocks_of(body)) == pattern(size)
        await body.aclose()


async def the_length_is_known_before_the_bytes(make: MakeBody) -> None:
    for size in SIZES:
        body = await make(pattern(size))
        assert body.length == size
        await body.aclose()


async def no_block_is_empty(make: MakeBody) -> None:
    for size in SIZES:
        body = await make(pattern(size))
        assert all(await blocks_of(body))
        await body.aclose()


async def a_replayable_body_comes_again(make: MakeBody) -> None:
    body = await make(pattern(3 << 20))
    first = await blocks_of(body)
    assert not body.replayable or await blocks_of(body) == first
    await body.aclose()


async def a_replayable_body_yields_any_range(make: MakeBody) -> None:
    data = pattern(SIZES[-1])
    body = await make(data)
    for start, end in RANGES if body.replayable else ():
        assert b"".join(await blocks_of(body, start, end)) == data[start:end]
    await body.aclose()


async def a_small_body_may_be_read_at_once(make: MakeBody) -> None:
    for size in (0, 1, 4096):
        body = await make(pattern(size))
        assert await body.whole() == pattern(size)
        await body.aclose()


async def a_body_goes_to_a_socket_as_it_is_read_or_refuses(make: MakeBody) -> None:
    for size in (4096, 5 << 20):
        body = await make(pattern(size))
        if body.send is not None:
            assert await sent_by(body.send, size) == pattern(size)
            if body.replayable:
                part = functools.partial(body.send, start=100, end=4000)
                assert await sent_by(part, 3900) == pattern(size)[100:4000]
        await body.aclose()


async def sent_by(send: Callable[[int], Awaitable[None]], size: int) -> bytes:
    """What arrives at the other end of a socket; more than `size` bytes are seen, too."""
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        sending = asyncio.ensure_future(send(near.fileno()))
        came = b""
        while len(came) < size:
            came += await asyncio.get_running_loop().sock_recv(far, 1 << 20)
        await sending
        near.shutdown(socket.SHUT_WR)
        return came + await asyncio.get_running_loop().sock_recv(far, 1 << 20)


async def a_body_may_be_left_unread(make: MakeBody) -> None:
    await (await make(pattern(1 << 20))).aclose()


async def a_body_may_be_left_in_the_middle_and_closed_twice(make: MakeBody) -> None:
    body = await make(pattern(4 << 20))
    async for _ in body.chunks():
        break
    await body.aclose()
    await body.aclose()


BODY_CHECKS: tuple[BodyCheck, ...] = (
    all_bytes_come_once_and_in_order,
    the_length_is_known_before_the_bytes,
    no_block_is_empty,
    a_replayable_body_comes_again,
    a_replayable_body_yields_any_range,
    a_small_body_may_be_read_at_once,
    a_body_goes_to_a_socket_as_it_is_read_or_refuses,
    a_body_may_be_left_unread,
    a_body_may_be_left_in_the_middle_and_closed_twice,
)
body_contract = pytest.mark.parametrize("check", BODY_CHECKS, ids=lambda check: check.__name__)


# An S3, as whoever is in front of it sees it: `check(far, bucket)`, with an empty bucket.


@dataclass(frozen=True, slots=True)
class Far:
    """An S3 and the way in which it is asked: by the typed client, or by requests as the door makes them."""

    s3: S3
    typed: bool


async def ask(far: Far, operation: str, params: dict[str, Any], data: bytes | None = None) -> Answer:
    """Ask in the one way; what only reads is asked in the other way too, and the answers are equal. Raises S3Error."""
    if OPERATIONS[operation].method not in ("GET", "HEAD"):
        return await callers.ask(far.s3, operation, params, data, typed=far.typed)
    answer, other = [await answer_to(far.s3, operation, params, typed=typed) for typed in (far.typed, not far.typed)]
    if seen(operation, answer) != seen(operation, other):
        # A change that was delivered between the two shows from the second one on.
        answer = await answer_to(far.s3, operation, params, typed=far.typed)
    assert seen(operation, answer) == seen(operation, other)
    if isinstance(answer, S3Error):
        raise answer
    return answer


async def answer_to(s3: S3, operation: str, params: dict[str, Any], *, typed: bool) -> Answer | S3Error:
    """An answer, whatever it is."""
    try:
        return await callers.ask(s3, operation, params, typed=typed)
    except S3Error as error:
        return error


def seen(operation: str, answer: Answer | S3Error) -> tuple[Any, ...]:
    """What must be equal in two answers to one question; a store may write each token and marker anew."""
    if isinstance(answer, S3Error):
        return answer.code, answer.status
    said = {name: value for name, value in answer.result.items() if name not in ("NextContinuationToken", "NextMarker")}
    if "TagSet" in said:
        # In no order: versitygw gives them in another one each time.
        said["TagSet"] = by_key(said["TagSet"])
    return answer.status, said, answer.source, answer.data if operation == "GetObject" else b""


RemoteCheck = Callable[[Far, str], Awaitable[None]]
KEYS = ("a", "a b+c", "b/1", "b/2", "b/c/3", "c", "d/\u00e9")
TAGS = [{"Key": "k", "Value": "v 1"}, {"Key": "l", "Value": ""}]


def md5(data: bytes) -> str:
    """The ETag of a single put."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


async def fill(s3: Far, bucket: str, keys: Iterable[str] = KEYS) -> None:
    """Put an object of each key, its content the key."""
    for key in keys:
        await ask(s3, "PutObject", {"Bucket": bucket, "Key": key}, key.encode())


async def refused(s3: Far, operation: str, params: dict[str, Any], data: bytes | None = None) -> S3Error:
    """The error of a call that must not succeed."""
    with pytest.raises(S3Error) as error:
        await ask(s3, operation, params, data)
    return error.value


async def keys_of(s3: Far, bucket: str, **params: Any) -> list[str]:
    """Keys and common prefixes of one page."""
    found = (await ask(s3, "ListObjectsV2", {"Bucket": bucket, **params})).result
    names = [one["Key"] for one in found.get("Contents", ())] + [
        one["Prefix"] for one in found.get("CommonPrefixes", ())
    ]
    return sorted(names, key=str.encode)


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


def by_key(tags: list[dict[str, str]]) -> list[dict[str, str]]:
    """Tags by name."""
    return sorted(tags, key=lambda tag: tag["Key"])


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


async def a_listing_is_in_order_and_says_what_is_there(s3: Far, bucket: str) -> None:
    await fill(s3, bucket, reversed(KEYS))
    for operation in ("ListObjects", "ListObjectsV2"):
        found = (await ask(s3, operation, {"Bucket": bucket})).result
        assert [one["Key"] for one in found["Contents"]] == list(KEYS)
        assert [one["Size"] for one in found["Contents"]] == [len(key.encode()) for key in KEYS]
        assert [one["ETag"].strip('"') for one in found["Contents"]] == [md5(key.encode()) for key in KEYS]
        assert not found["IsTruncated"]
    assert found["KeyCount"] == len(KEYS)


async def a_listing_selects_and_groups(s3: Far, bucket: str) -> None:
    await fill(s3, bucket)
    assert await keys_of(s3, bucket, Prefix="b/") == ["b/1", "b/2", "b/c/3"]
    assert await keys_of(s3, bucket, Delimiter="/") == ["a", "a b+c", "b/", "c", "d/"]
    assert await keys_of(s3, bucket, Delimiter="/", Prefix="b/") == ["b/1", "b/2", "b/c/"]
    assert await keys_of(s3, bucket, StartAfter="b/2") == ["b/c/3", "c", "d/\u00e9"]
    assert await keys_of(s3, bucket, Prefix="none") == []


async def pages_follow_each_other(s3: Far, bucket: str) -> None:
    await fill(s3, bucket)
    for params in ({}, {"Delimiter": "/"}, {"Prefix": "b"}, {"StartAfter": "a"}):
        whole = await keys_of(s3, bucket, **params)
        for size in (1, 2):
            assert await paged(s3, bucket, params | {"MaxKeys": size}) == whole


async def paged(s3: Far, bucket: str, params: dict[str, Any]) -> list[str]:
    """All keys and common prefixes, in the order in which the pages give them."""
    names: list[str] = []
    token: dict[str, str] = {}
    while True:
        found = (await ask(s3, "ListObjectsV2", {"Bucket": bucket, **params, **token})).result
        page = [one["Key"] for one in found.get("Contents", ())]
        page += [one["Prefix"] for one in found.get("CommonPrefixes", ())]
        assert len(page) <= params["MaxKeys"]
        names += sorted(page, key=str.encode)
        if not found["IsTruncated"]:
            return names
        assert page
        token = {"ContinuationToken": found["NextContinuationToken"]}


async def the_first_listing_goes_on_from_a_marker(s3: Far, bucket: str) -> None:
    await fill(s3, bucket)
    for delimiter, names in (({}, list(KEYS)), ({"Delimiter": "/"}, ["a", "a b+c", "b/", "c", "d/"])):
        seen: list[str] = []
        marker: dict[str, str] = {}
        while True:
            found = (await ask(s3, "ListObjects", {"Bucket": bucket, "MaxKeys": 2, **delimiter, **marker})).result
            page = [one["Key"] for one in found.get("Contents", ())]
            page += [one["Prefix"] for one in found.get("CommonPrefixes", ())]
            seen += sorted(page, key=str.encode)
            if not found["IsTruncated"]:
                break
            marker = {"Marker": found.get("NextMarker") or seen[-1]}
        assert seen == names


async def names_in_a_listing_are_encoded_where_it_says_so(s3: Far, bucket: str) -> None:
    await fill(s3, bucket)
    found = (await ask(s3, "ListObjectsV2", {"Bucket": bucket, "EncodingType": "url"})).result
    decode = unquote_plus if found.get("EncodingType") == "url" else str
    assert [decode(one["Key"]) for one in found["Contents"]] == list(KEYS)


async def no_entries_are_a_page_too(s3: Far, bucket: str) -> None:
    await fill(s3, bucket)
    found = (await ask(s3, "ListObjectsV2", {"Bucket": bucket, "MaxKeys": 0})).result
    assert (found.get("Contents", []), found["IsTruncated"]) == ([], False)


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


REMOTE_CHECKS: tuple[RemoteCheck, ...] = (
    an_object_comes_back_as_it_was_put,
    the_last_put_is_what_is_there,
    what_is_not_there_is_no_such_key,
    a_bucket_that_is_not_there_is_no_such_bucket,
    a_new_bucket_is_there_and_plain,
    a_delete_takes_the_object_and_may_come_twice,
    many_are_deleted_at_once,
    a_range_is_a_stretch_of_the_bytes,
    reads_judge_conditions,
    writes_judge_conditions,
    bytes_that_do_not_match_their_digest_are_refused,
    a_body_that_breaks_off_stores_nothing,
    tags_travel_and_change,
    a_copy_has_the_bytes_and_members_of_its_source,
    parts_become_an_object,
    parts_are_listed_page_by_page,
    an_upload_shows_nothing_until_it_is_complete,
    an_upload_that_cannot_be_completed_stays,
    a_part_may_be_copied,
    a_listing_is_in_order_and_says_what_is_there,
    a_listing_selects_and_groups,
    pages_follow_each_other,
    the_first_listing_goes_on_from_a_marker,
    names_in_a_listing_are_encoded_where_it_says_so,
    no_entries_are_a_page_too,
    a_versioned_bucket_keeps_what_was_there,
    attributes_say_what_is_asked,
)
by_check = pytest.mark.parametrize("check", REMOTE_CHECKS, ids=lambda check: check.__name__)
by_way = pytest.mark.parametrize("typed", [False, True], ids=["by wire", "by client"])


def remote_contract(test: Callable[..., Awaitable[None]]) -> Any:
    """Run a test for each check, and for each way in which an S3 is asked (`typed`)."""
    return by_way(by_check(test))
