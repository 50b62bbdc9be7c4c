"""Nobody repeats a request below the remote's border (SEMANTICS Q-3a): each is sent once."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from s3d.errors import S3Error, Unavailable
from s3d.protocol import checksums
from tests.callers import Answer, ask, door_call
from tests.fakes.contents import Bucket, Version, md5
from tests.gateways import gateway
from tests.sidecar.layers.queue.push.odd_answers import s3_error
from tests.stores import Odd, Seen, Store, until

pytestmark = pytest.mark.usefixtures("quick")

KEY = {"Bucket": "b", "Key": "k"}
PART = {**KEY, "UploadId": "upload-00000001", "PartNumber": 1}
LARGE = bytes(1 << 20) + b"and some more"
REQUESTS: dict[str, tuple[str, dict[str, Any], bytes | None]] = {
    "GET": ("GetObject", KEY, None),
    "HEAD": ("HeadObject", KEY, None),
    "GET of a bucket": ("ListObjectsV2", {"Bucket": "b"}, None),
    "PUT": ("PutObject", KEY, b"small"),
    "PUT of nothing": ("PutObject", KEY, b""),
    "large PUT": ("PutObject", KEY, LARGE),
    "PUT on condition": ("PutObject", {**KEY, "Key": "new", "IfNoneMatch": "*"}, b"small"),
    "PUT of tags": ("PutObjectTagging", {**KEY, "Tagging": {"TagSet": [{"Key": "t", "Value": "1"}]}}, None),
    "DELETE": ("DeleteObject", KEY, None),
    "DELETE of tags": ("DeleteObjectTagging", KEY, None),
    "POST of deletes": ("DeleteObjects", {"Bucket": "b", "Delete": {"Objects": [{"Key": "k"}]}}, None),
    "POST that begins an upload": ("CreateMultipartUpload", KEY, None),
    "POST that ends an upload": (
        "CompleteMultipartUpload",
        {**KEY, "UploadId": "upload-00000001", "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": '"1"'}]}},
        None,
    ),
    "part": ("UploadPart", PART, b"small"),
    "large part": ("UploadPart", PART, LARGE),
    "copy": ("CopyObject", {**KEY, "CopySource": "b/other"}, None),
}
CUTS = {
    "cut": Odd(cut="read"),
    "reset": Odd(cut="read", reset=True),
    "cut after it was applied": Odd(cut="applied"),
    "cut in the head": Odd(200, cut="head"),
}
WAYS = {"a client's": False, "a layer's": True}


@pytest.fixture
def store() -> Store:
    """A store with one object."""
    store = Store()
    store.fake.buckets["b"] = Bucket("b", 0.0)
    for key in ("k", "other"):
        store.fake.buckets["b"].add(Version(key, "null", b"there", md5(b"there")))
    return store


def asked(store: Store, operation: str) -> Iterator[Seen]:
    """The requests for an operation that came."""
    return (one for one in store.seen if one.operation == operation)


@pytest.mark.semantics("Q-3a", "Q-3e")
@pytest.mark.parametrize("reused", [False, True], ids=["first use", "kept alive"])
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("way", WAYS)
async def test_a_request_whose_connection_ends_is_sent_once(
    way: str, cut: str, reused: bool, tmp_path: Path, store: Store
) -> None:
    found = {}
    async with store, gateway(tmp_path, store) as here:
        for name, (operation, params, data) in REQUESTS.items():
            store.clear()
            store.seen.clear()
            if reused:
                await ask(here.far, "HeadBucket", {"Bucket": "b"}, typed=True)
                store.seen.clear()
            hook = store.hook(CUTS[cut])
            try:
                await ask(here.far, operation, params, data, typed=WAYS[way])
            except S3Error as error:
                sent = isinstance(error, Unavailable) and error.sent
                found[name] = hook.hits, "unanswered" if sent else f"{error!r}"
            else:
                found[name] = hook.hits, "a success"
            assert [one.nth > 1 for one in asked(store, operation)][:1] == [reused]
    assert found == dict.fromkeys(REQUESTS, (1, "unanswered"))


@pytest.mark.semantics("Q-3a", "R-5")
async def test_a_lock_whose_answer_is_lost_is_not_asked_for_twice(tmp_path: Path, store: Store) -> None:
    """A small body with a trailing checksum is sent as bytes: whoever repeats it finds its own lock."""
    data = b"the owner"
    digest = checksums.ALGORITHMS["crc32"]()
    digest.update(data)
    framed = b"%x\r\n%b\r\n0\r\nx-amz-checksum-crc32:%b\r\n\r\n" % (
        len(data),
        data,
        checksums.to_base64(digest.digest()).encode(),
    )
    headers = {
        "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "x-amz-trailer": "x-amz-checksum-crc32",
        "x-amz-decoded-content-length": str(len(data)),
        "Content-Encoding": "aws-chunked",
        "If-None-Match": "*",
    }
    async with store, gateway(tmp_path, store) as here:
        hook = store.hook(Odd(cut="applied"), "PutObject")
        with pytest.raises(Unavailable):
            await here.queue(door_call("PutObject", {**KEY, "Key": "lock"}, framed, headers))
    assert (hook.hits, store.data("b", "lock")) == (1, data)


@pytest.mark.semantics("Q-3", "Q-3a", "Q-3e")
@pytest.mark.parametrize("cut", CUTS)
async def test_an_attempt_of_a_push_is_one_request(cut: str, tmp_path: Path, store: Store) -> None:
    drops = 3
    sizes = {"small": 5, "large": len(LARGE)}
    # On a slow machine they wait for long, and are looked for then.
    async with store, gateway(tmp_path, store, ("b",), conflict_check_after=3600.0) as here:
        for key, size in sizes.items():
            store.hook(CUTS[cut], "PutObject", key=key, times=drops)
            assert isinstance(await here.ask("PutObject", {"Bucket": "b", "Key": key}, bytes(size)), Answer)
        store.hook(CUTS[cut], "DeleteObject", key="k", times=drops)
        assert isinstance(await here.ask("DeleteObject", KEY), Answer)
        for key in (*sizes, "k"):
            await until(lambda key=key: here.state("b", key) == "delivered")  # type: ignore[misc]
    came = {key: store.count("PutObject", key=key) + store.count("DeleteObject", key=key) for key in (*sizes, "k")}
    # Where a drop had applied it, a HEAD may have saved the next attempt.
    assert all(count <= drops + 1 for count in came.values()), came
    assert {key: store.data("b", key) for key in sizes} == {key: bytes(size) for key, size in sizes.items()}
    assert store.data("b", "k") is None


@pytest.mark.semantics("Q-3a")
async def test_a_delete_in_a_versioned_bucket_leaves_one_marker(tmp_path: Path, store: Store) -> None:
    store.fake.buckets["b"].versioning = "Enabled"
    async with store, gateway(tmp_path, store) as here:
        store.hook(Odd(cut="applied"), "DeleteObject", times=1)
        assert isinstance(await here.ask("DeleteObject", KEY), S3Error)
        await asyncio.sleep(0)
    assert sum(version.marker for version in store.fake.buckets["b"].keys["k"]) == 1


# A connection that the store had given up.

IDLE = {**s3_error(400, "RequestTimeout").headers, "Connection": "close"}
GIVEN_UP = Odd(400, IDLE, s3_error(400, "RequestTimeout").body, early=0)
"""The store's answer on a connection that was idle for too long; it has not read what was sent on it."""
UNSENT = {name: REQUESTS[name] for name in ("GET", "HEAD", "GET of a bucket", "DELETE", "large PUT", "large part")}
"""Requests of which nothing but the head has left: they have no body, or one that waits for 100 Continue."""


@pytest.mark.semantics("Q-3a", "Q-3b", "Q-3e")
@pytest.mark.parametrize("name", UNSENT)
async def test_what_was_not_sent_goes_out_on_a_new_connection(name: str, tmp_path: Path, store: Store) -> None:
    operation, params, data = UNSENT[name]
    async with store, gateway(tmp_path, store) as here:
        if operation == "UploadPart":
            await ask(here.far, "CreateMultipartUpload", KEY, typed=True)
        await ask(here.far, "HeadBucket", {"Bucket": "b"}, typed=True)
        store.hook(GIVEN_UP, operation, reused=True)
        assert (await ask(here.far, operation, params, data)).status in (200, 204)
        assert [one.nth > 1 for one in asked(store, operation)] == [True, False]


@pytest.mark.semantics("Q-3a", "R-7")
@pytest.mark.parametrize(("name", "most"), [("GET", 2), ("PUT", 1), ("large PUT", 2)])
async def test_what_is_said_again_is_the_stores_answer(name: str, most: int, tmp_path: Path, store: Store) -> None:
    """A small body goes out with its head: it was sent."""
    operation, params, data = REQUESTS[name]
    async with store, gateway(tmp_path, store) as here:
        store.hook(GIVEN_UP, operation)
        with pytest.raises(S3Error, match="RequestTimeout") as caught:
            await ask(here.far, operation, params, data)
        assert (caught.value.status, caught.value.code) == (400, "RequestTimeout")
        assert store.count(operation) <= most
