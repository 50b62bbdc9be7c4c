"""Two identities behind one door (SEMANTICS A-8, Q-2a): each gets the remote's verdict, or 503, whatever is pending.

`a` has written an object, `b` asks about it. What `b` may do is the remote's to say: nothing of what is pending by `a`
is shown to it, and nothing of `b` costs `a` anything.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from multidict import CIMultiDict

from s3d.api import BytesBody, Call, Reply
from s3d.errors import S3Error
from s3d.layers.health import Health
from s3d.layers.queue import Queue, open_queue
from s3d.metrics import Metrics
from s3d.protocol import encode
from s3d.settings import Gateway, Remote, Settings
from tests.callers import Answer, ask
from tests.fakes.contents import Bucket
from tests.fakes.fake import Fake
from tests.model import md5
from tests.queues import until

BUCKET: Final = "bucket"
OF_A, OF_B = b"the bytes of a", b"the bytes of b"
K: Final = {"Bucket": BUCKET, "Key": "k"}
TAGS: Final = {"TagSet": [{"Key": "t", "Value": "1"}]}
COPY: Final = {"Bucket": BUCKET, "Key": "copy", "CopySource": f"{BUCKET}/k"}
READS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "GET": ("GetObject", K),
    "a range": ("GetObject", {**K, "Range": "bytes=0-3"}),
    "HEAD": ("HeadObject", K),
    "attributes": ("GetObjectAttributes", {**K, "ObjectAttributes": ["ETag", "ObjectSize"]}),
    "tags": ("GetObjectTagging", K),
}
WRITES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "other tags": ("PutObjectTagging", {**K, "Tagging": TAGS}),
    "no tags": ("DeleteObjectTagging", K),
    "a copy": ("CopyObject", COPY),
}
CONDITIONS: Final[dict[str, tuple[dict[str, str], int]]] = {
    "it is what a has written": ({"IfMatch": f'"{md5(OF_A)}"'}, 200),
    "it is something else": ({"IfMatch": f'"{md5(OF_B)}"'}, 412),
    "it is not there": ({"IfNoneMatch": "*"}, 412),
}
"""Conditions of a put, and what the remote says to them where the object is there."""
COPIED: Final = {"Bucket": BUCKET, "Key": "copy"}
LISTS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "ListObjectsV2": ("ListObjectsV2", {"Bucket": BUCKET}),
    "ListObjects": ("ListObjects", {"Bucket": BUCKET}),
    "ListObjectVersions": ("ListObjectVersions", {"Bucket": BUCKET}),
}
LINES: Final = {"ListObjectVersions": "Versions"}


class Policed(Fake):
    """An S3 that minds who asks."""

    def __init__(self) -> None:
        """Deny nothing, and hold one bucket."""
        super().__init__()
        self.buckets[BUCKET] = Bucket(BUCKET, 0.0)
        self.denied: set[tuple[str, str]] = set()
        """Identities and what they may not do; "" for all."""
        self.refused: set[tuple[str, str]] = set()
        """Identities and keys whose puts are refused for good."""
        self.asked: list[tuple[str, str]] = []
        """Who asked what."""

    async def _answered(self, call: Call) -> Reply:
        self.asked.append((call.identity, call.operation))
        if {(call.identity, ""), (call.identity, call.operation)} & self.denied:
            error = S3Error("AccessDenied", "Access Denied", status=403)
        elif call.operation == "PutObject" and (call.identity, call.key) in self.refused:
            error = S3Error("EntityTooLarge", "too large")
        else:
            return await super()._answered(call)
        if call.body is not None:
            await call.body.aclose()
        document = b"" if call.wire.method == "HEAD" else encode.error(error)
        return Reply(error.status, CIMultiDict({"Content-Type": "application/xml"}), BytesBody(document))


async def asked(s3: Any, identity: str, operation: str, params: dict[str, Any], data: bytes | None = None) -> Any:
    """What an identity gets: the answer, or the error."""
    try:
        return await ask(s3, operation, params, data, identity=identity)
    except S3Error as error:
        return error


def said(answer: Any) -> tuple[Any, ...]:
    """What an answer says, so that two may be compared."""
    if isinstance(answer, S3Error):
        return answer.status, answer.code
    return answer.status, answer.etag, answer.data


@contextlib.asynccontextmanager
async def opened(directory: Path, remote: Policed, *, pushes: bool = False) -> AsyncIterator[Queue]:
    """A queue that both have written to before, so that it takes what they write; it pushes where it is told to."""
    settings = Settings(gateway=Gateway(local_dir=directory, barrier_timeout=5.0 if pushes else 0.05), remote=Remote())

    async def probe() -> None:
        """The remote is there."""

    health = Health(5.0, 30.0, probe)
    async with contextlib.AsyncExitStack() as stack:
        opened = open_queue(settings, remote, health, "http://remote.test", "eu", Metrics())
        queue = await stack.enter_async_context(opened)
        denied, remote.denied = remote.denied, set()
        for identity in ("a", "b"):
            for operation, data in (("PutObject", b"x"), ("DeleteObject", None)):
                answer = await ask(queue, operation, {"Bucket": BUCKET, "Key": identity}, data, identity=identity)
                assert answer.headers["x-s3d-durability"] == "remote"
        remote.denied = denied
        if pushes:
            await stack.enter_async_context(pushing(queue))
        yield queue


@contextlib.asynccontextmanager
async def pushing(queue: Queue) -> AsyncIterator[None]:
    """Have a queue push for as long as the context lasts."""
    task = asyncio.create_task(queue.pusher.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def put(queue: Queue, identity: str, data: bytes, key: str = "k", **headers: str) -> Answer:
    """Put an object that the queue takes."""
    params = {"Bucket": BUCKET, "Key": key}
    answer = await ask(queue, "PutObject", params, data, identity=identity, headers=headers)
    assert answer.headers["x-s3d-durability"] == "local"
    return answer


def state(queue: Queue, key: str = "k") -> str:
    return str(queue.object_status(BUCKET, key)["state"])


async def settle(queue: Queue, key: str = "k", *, into: str = "delivered") -> None:
    """Have the queue push until a key is in a state."""
    async with pushing(queue):
        await until(lambda: state(queue, key) == into)


async def bring(queue: Queue, remote: Policed, into: str) -> None:
    """Have `a` write an object, and bring it into a state."""
    if into == "held":
        await put(queue, "a", OF_A, **{"x-amz-tagging": "s3d.upload=false"})
    else:
        await put(queue, "a", OF_A)
    if into == "parked":
        remote.refused.add(("a", "k"))
        await settle(queue, into="parked")
    elif into == "settled":
        await settle(queue)
    else:
        assert state(queue) == {"pending": "waiting"}.get(into, into)


STATES: Final = ("pending", "settled", "held", "parked")
RIGHTS: Final = {"all": (), "none": ("",)}


@pytest.mark.semantics("A-8a")
@pytest.mark.parametrize("rights", RIGHTS)
@pytest.mark.parametrize("into", STATES)
@pytest.mark.parametrize("read", READS)
async def test_another_identitys_read_is_the_remotes_verdict_or_503(
    tmp_path: Path, read: str, into: str, rights: str
) -> None:
    operation, params = READS[read]
    remote = Policed()
    remote.denied = {("b", what) for what in RIGHTS[rights]}
    async with opened(tmp_path, remote) as queue:
        await bring(queue, remote, into)
        got = said(await asked(queue, "b", operation, params))
        if into == "settled":
            assert got == said(await asked(remote, "b", operation, params))
            assert got[0] == (403 if rights == "none" else 206 if read == "a range" else 200)
        else:
            assert got[0] == 503
        own = await asked(queue, "a", operation, params)
        assert isinstance(own, Answer), "who has written it reads it, wherever it is"


@pytest.mark.semantics("A-8")
@pytest.mark.parametrize("rights", RIGHTS)
@pytest.mark.parametrize("into", STATES)
@pytest.mark.parametrize("write", WRITES)
async def test_another_identitys_write_that_is_about_the_object_is_the_remotes_verdict_or_503(
    tmp_path: Path, write: str, into: str, rights: str
) -> None:
    operation, params = WRITES[write]
    remote = Policed()
    remote.denied = {("b", what) for what in RIGHTS[rights]}
    async with opened(tmp_path, remote) as queue:
        await bring(queue, remote, into)
        got = await asked(queue, "b", operation, params)
        if into == "settled":
            assert isinstance(got, S3Error) == (rights == "none")
        else:
            assert got.status == 503
            assert state(queue) == {"pending": "waiting"}.get(into, into), "and what is pending is as it was"
        assert (await asked(queue, "a", "GetObject", K)).data == OF_A


@pytest.mark.semantics("A-8", "Q-14")
@pytest.mark.parametrize("rights", RIGHTS)
@pytest.mark.parametrize("into", STATES)
@pytest.mark.parametrize("condition", CONDITIONS)
async def test_another_identitys_put_on_a_condition_is_the_remotes_verdict_or_503(
    tmp_path: Path, condition: str, into: str, rights: str
) -> None:
    said_of_it, verdict = CONDITIONS[condition]
    remote = Policed()
    remote.denied = {("b", what) for what in RIGHTS[rights]}
    async with opened(tmp_path, remote) as queue:
        await bring(queue, remote, into)
        got = await asked(queue, "b", "PutObject", {**K, **said_of_it}, OF_B)
        written = into == "settled" and rights == "all" and verdict == 200
        if into == "settled":
            assert got.status == (403 if rights == "none" else verdict)
        else:
            assert got.status == 503
            assert state(queue) == {"pending": "waiting"}.get(into, into), "and what is pending is as it was"
        assert (await asked(queue, "a", "GetObject", K)).data == (OF_B if written else OF_A)


@pytest.mark.semantics("A-8", "R-3")
@pytest.mark.parametrize("rights", RIGHTS)
@pytest.mark.parametrize("into", STATES)
async def test_another_identitys_copy_into_a_part_is_the_remotes_verdict_or_503(
    tmp_path: Path, into: str, rights: str
) -> None:
    remote = Policed()
    async with opened(tmp_path, remote) as queue:
        upload = (await ask(queue, "CreateMultipartUpload", COPIED, identity="b")).result["UploadId"]
        await bring(queue, remote, into)
        remote.denied = {("b", what) for what in RIGHTS[rights]}
        part = {**COPIED, "UploadId": upload, "PartNumber": 1, "CopySource": f"{BUCKET}/k"}
        got = await asked(queue, "b", "UploadPartCopy", part)
        if into == "settled":
            assert got.status == (403 if rights == "none" else 200)
        else:
            assert got.status == 503
            assert state(queue) == {"pending": "waiting"}.get(into, into), "and what is pending is as it was"


@pytest.mark.semantics("A-8b", "R-1")
@pytest.mark.parametrize("rights", RIGHTS)
@pytest.mark.parametrize("into", STATES)
@pytest.mark.parametrize("listing", LISTS)
async def test_another_identitys_listing_shows_what_is_pending_where_the_remote_lets_it_list(
    tmp_path: Path, listing: str, into: str, rights: str
) -> None:
    operation, params = LISTS[listing]
    remote = Policed()
    remote.denied = {("b", what) for what in RIGHTS[rights]}
    async with opened(tmp_path, remote) as queue:
        await bring(queue, remote, into)
        got = await asked(queue, "b", operation, params)
        if rights == "none":
            assert said(got) == (403, "AccessDenied")
        else:
            assert [one["Key"] for one in got.result[LINES.get(listing, "Contents")]] == ["k"]


@pytest.mark.semantics("A-8b", "R-1b")
async def test_a_listing_of_what_is_pending_shows_ones_own(tmp_path: Path) -> None:
    async with opened(tmp_path, Policed()) as queue:
        await put(queue, "a", OF_A, "k/of-a")
        await put(queue, "b", OF_B, "k/of-b")
        params = {"Bucket": BUCKET}
        for identity in ("a", "b"):
            page = await ask(queue, "ListObjectsV2", params, identity=identity, headers={"x-s3d-listing": "pending"})
            assert [one["Key"] for one in page.result["Contents"]] == [f"k/of-{identity}"]


@pytest.mark.semantics("A-8b")
async def test_a_barrier_on_a_bucket_names_no_key_of_another_identity(tmp_path: Path) -> None:
    async with opened(tmp_path, Policed()) as queue:
        await put(queue, "a", OF_A, "secret-name")
        refused = await asked(queue, "b", "PutBucketVersioning", {"Bucket": BUCKET, "VersioningConfiguration": {}})
        assert (refused.status, refused.details.get("PendingKey")) == (503, None)
        assert "secret-name" not in str(refused)
        own = await asked(queue, "a", "PutBucketVersioning", {"Bucket": BUCKET, "VersioningConfiguration": {}})
        assert "secret-name" in str(own)


@pytest.mark.semantics("A-8")
@pytest.mark.parametrize("rights", RIGHTS)
async def test_a_read_that_waits_gets_the_remotes_own_answer(tmp_path: Path, rights: str) -> None:
    remote = Policed()
    remote.denied = {("b", what) for what in RIGHTS[rights]}
    async with opened(tmp_path, remote, pushes=True) as queue:
        await put(queue, "a", OF_A)
        got = said(await asked(queue, "b", "GetObject", K))
        assert got == said(await asked(remote, "b", "GetObject", K))
        assert got[0] == (200 if rights == "all" else 403)


@pytest.mark.semantics("A-8", "Q-2a")
async def test_each_change_is_pushed_under_its_own_identity_and_in_order(tmp_path: Path) -> None:
    remote = Policed()
    async with opened(tmp_path, remote) as queue:
        await put(queue, "a", OF_A)
        await put(queue, "b", OF_B)
        assert (await asked(queue, "b", "GetObject", K)).data == OF_B
        assert (await asked(queue, "a", "GetObject", K)).status == 503, "only the remote knows whether it may"
        remote.asked.clear()
        await settle(queue)
        assert [one for one in remote.asked if one[1] == "PutObject"] == [("a", "PutObject"), ("b", "PutObject")]
        assert (await asked(remote, "a", "GetObject", K)).data == OF_B


DENIED: Final[dict[str, tuple[str, dict[str, Any], bytes | None]]] = {
    "put": ("PutObject", K, OF_B),
    "delete": ("DeleteObject", K, None),
    "bulk delete": ("DeleteObjects", {"Bucket": BUCKET, "Delete": {"Objects": [{"Key": "k"}]}}, None),
}


@pytest.mark.semantics("Q-2a")
@pytest.mark.parametrize("into", ["pending", "held", "parked"])
@pytest.mark.parametrize("write", DENIED)
async def test_a_denied_write_costs_nobody_elses_bytes(tmp_path: Path, write: str, into: str) -> None:
    operation, params, data = DENIED[write]
    remote = Policed()
    async with opened(tmp_path, remote) as queue:
        await bring(queue, remote, into)
        done = await ask(queue, operation, params, data, identity="b")
        assert done.headers["x-s3d-durability"] == "local"
        remote.denied = {("b", "PutObject"), ("b", "DeleteObject")}
        async with pushing(queue):
            await until(lambda: bool(queue.lanes()))
        assert [(lane["identity"], lane["state"]) for lane in queue.lanes()] == [("b", "paused")]
        got = await asked(queue, "b", "GetObject", K)
        assert got.data == OF_B if write == "put" else got.code == "NoSuchKey"
        if into == "pending":
            assert (await asked(remote, "a", "GetObject", K)).data == OF_A, "it was delivered before"
        else:
            assert [one["state"] for one in queue.kept(BUCKET, "", None, 0)] == [into]


@pytest.mark.semantics("Q-8b", "Q-2a")
async def test_a_paused_lane_slows_down_no_other_identity(tmp_path: Path) -> None:
    remote = Policed()
    async with opened(tmp_path, remote) as queue:
        await put(queue, "b", OF_B)
        remote.denied = {("b", "PutObject")}
        async with pushing(queue):
            await until(lambda: [lane["state"] for lane in queue.lanes()] == ["paused"])
            await put(queue, "a", OF_A)
            await put(queue, "a", OF_A, "another")
            await until(lambda: state(queue, "another") == "delivered" and state(queue) == "delivered")
        assert (await asked(remote, "a", "GetObject", K)).data == OF_A
        assert queue.pending()["changes"] == 0, "what waited in the paused lane is superseded by what was delivered"


@pytest.mark.semantics("A-8d", "Q-16")
async def test_an_upload_is_nobody_elses(tmp_path: Path) -> None:
    async with opened(tmp_path, Policed()) as queue:
        # The first of its kind is begun at the remote.
        for identity in ("a", "b"):
            first = (await ask(queue, "CreateMultipartUpload", K, identity=identity)).result["UploadId"]
            named = {**K, "UploadId": first}
            etag = (await ask(queue, "UploadPart", {**named, "PartNumber": 1}, b"x", identity=identity)).etag
            parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
            done = {**named, "MultipartUpload": parts}
            await ask(queue, "CompleteMultipartUpload", done, identity=identity)
        upload = {**K, "UploadId": (await ask(queue, "CreateMultipartUpload", K, identity="a")).result["UploadId"]}
        part = {**upload, "PartNumber": 1}
        etag = (await ask(queue, "UploadPart", part, OF_A, identity="a")).etag
        complete = {**upload, "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": etag}]}}
        for operation, params, data in (
            ("UploadPart", part, OF_B),
            ("UploadPartCopy", {**part, "CopySource": f"{BUCKET}/k"}, None),
            ("ListParts", upload, None),
            ("AbortMultipartUpload", upload, None),
            ("CompleteMultipartUpload", complete, None),
        ):
            assert said(await asked(queue, "b", operation, params, data)) == (404, "NoSuchUpload"), operation
        listed = await asked(queue, "b", "ListMultipartUploads", {"Bucket": BUCKET})
        assert "Uploads" not in listed.result
        listed = await asked(queue, "a", "ListMultipartUploads", {"Bucket": BUCKET})
        assert [one["UploadId"] for one in listed.result["Uploads"]] == [upload["UploadId"]]
        assert (await asked(queue, "a", "CompleteMultipartUpload", complete)).status == 200
        assert said(await asked(queue, "b", "CompleteMultipartUpload", complete)) == (404, "NoSuchUpload")
        assert (await asked(queue, "a", "CompleteMultipartUpload", complete)).status == 200, "it may be asked again"


@pytest.mark.semantics("A-8c", "R-6", "R-9")
async def test_that_a_bucket_is_there_is_known_to_all_and_who_may_look_is_not(tmp_path: Path) -> None:
    remote = Policed()
    async with opened(tmp_path, remote) as queue:
        remote.denied = {("b", "HeadBucket")}
        assert (await asked(queue, "a", "HeadBucket", {"Bucket": BUCKET})).status == 200
        assert (await asked(queue, "b", "HeadBucket", {"Bucket": BUCKET})).status == 403
        queue._context.health.failed("away")
        remote.denied = {("a", ""), ("b", "")}
        assert queue.bucket_status(BUCKET)["known"]
        buckets = queue._context.facts.buckets
        assert [buckets.is_shown_to(BUCKET, one) for one in ("a", "b", "c")] == [True, False, False]
