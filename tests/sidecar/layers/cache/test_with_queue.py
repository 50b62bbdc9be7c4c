"""The cache behind the write queue: what is delivered is handed over, and what is pending wins (SEMANTICS C-8, R-2)."""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict

from s3d.api import BytesBody, Delivered
from s3d.errors import S3Error
from s3d.layers.cache import open_cache
from s3d.layers.health import Health
from s3d.layers.queue import Queue, open_queue
from s3d.metrics import Metrics
from s3d.settings import Gateway, ReadCache, Remote, Settings
from s3d.store.blocks import BLOCK_BYTES
from tests.caches import BUCKET, Cached, Far, cached, how
from tests.callers import ask
from tests.contracts.bodies import pattern
from tests.queues import until


@contextlib.asynccontextmanager
async def both(directory: Path, far: Far, **limits: Any) -> AsyncIterator[tuple[Queue, Cached]]:
    """A queue in front of a cache, at work."""
    if BUCKET not in far.fake.buckets:
        await ask(far.fake, "CreateBucket", {"Bucket": BUCKET})
    settings = Settings(
        gateway=Gateway(local_dir=directory),
        remote=Remote(buckets=(BUCKET,)),
        read_cache=ReadCache(enabled=True, **limits),
    )
    metrics = Metrics()

    async def probe() -> None:
        """The remote is there."""

    async with open_cache(settings, far, "http://remote.test", metrics) as cache:
        opened = open_queue(
            settings,
            cache,
            Health(5.0, 30.0, probe),
            "http://remote.test",
            "eu",
            metrics,
            shed=cache.capacity.shed,
            hand_over=cache.hand_over,
        )
        async with opened as queue:
            pushing = asyncio.gather(queue.pusher.run(), cache.run())
            try:
                yield queue, Cached(cache, far, settings, metrics)
            finally:
                pushing.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await pushing


async def put(queue: Queue, key: str, data: bytes, **members: Any) -> None:
    """Put an object, and wait until it is delivered."""
    await ask(queue, "PutObject", {"Bucket": BUCKET, "Key": key, **members}, data)
    await until(lambda: queue.object_status(BUCKET, key)["state"] == "delivered")


@pytest.mark.semantics("C-8", "C-9a")
@pytest.mark.parametrize("size", [0, 5, 100_000, 2 * BLOCK_BYTES + 3])
async def test_what_was_delivered_is_read_without_a_fetch(tmp_path: Path, size: int) -> None:
    far = Far()
    async with both(tmp_path, far) as (queue, there):
        await put(queue, "k", pattern(size))
        assert there.metric("s3d_cache_fills_total", end="handed") == 1
        answer = await ask(queue, "GetObject", {"Bucket": BUCKET, "Key": "k"})
        assert (answer.data, how(answer), far.given) == (pattern(size), "REVALIDATED", 0)
        # Whom the remote gave nothing is given nothing while it is away.
        far.away = True
        assert isinstance(await there.ask("GetObject", "k", identity="b"), S3Error)
        assert how(await there.get("k")) == "STALE"


@pytest.mark.semantics("C-7a", "C-8")
async def test_what_is_pinned_and_was_delivered_can_be_read_while_the_remote_is_away(tmp_path: Path) -> None:
    far = Far()
    async with both(tmp_path, far) as (queue, there):
        await put(queue, "k", b"the first of its kind is written through", Tagging="s3d.cache=pin")
        await put(queue, "k", pattern(BLOCK_BYTES), Tagging="s3d.cache=pin")
        await until(lambda: there.cache.status()["pins"]["kept"] == 1)
        far.away = True
        answer = await there.get("k")
        assert (how(answer), answer.data) == ("STALE", pattern(BLOCK_BYTES))


@pytest.mark.semantics("C-8")
async def test_a_file_is_handed_over_by_link(tmp_path: Path) -> None:
    far = Far()
    links: list[int] = []

    def look() -> None:
        found = [path for path in (tmp_path / "queue" / "bodies").iterdir() if path.is_file()]
        links.extend(path.stat().st_ino for path in found)

    async with both(tmp_path, far) as (queue, _):
        far.before = lambda call: look() if call.operation == "PutObject" else None
        await put(queue, "k", pattern(BLOCK_BYTES))
        far.before = None
        (file,) = [path for path in (tmp_path / "cache" / "blocks").rglob("*") if path.is_file()]
        assert file.stat().st_ino in links


@pytest.mark.semantics("F-6")
@pytest.mark.parametrize(
    ("members", "kept"),
    [
        ({}, False),
        ({"ContentType": "video/mp4"}, True),
        ({"ContentType": "video/mp4", "Tagging": "s3d.cache=false"}, False),
        ({"Tagging": "s3d.cache=true"}, True),
    ],
)
async def test_what_the_filter_leaves_out_is_not_handed_over(
    tmp_path: Path, members: dict[str, str], *, kept: bool
) -> None:
    far = Far()
    async with both(tmp_path, far, filter=f"{BUCKET}/*[hdr:content-type=video/*]") as (queue, there):
        await put(queue, "k", b"the first of its kind is written through", **members)
        await put(queue, "k", b"data", **members)
        assert there.cache.status()["entries"] == int(kept)
        assert far.given == 0


async def upload(queue: Queue, key: str, *parts: bytes) -> None:
    """Upload an object in parts, and wait until it is delivered."""
    named = {"Bucket": BUCKET, "Key": key}
    begun = await ask(queue, "CreateMultipartUpload", named)
    named["UploadId"] = begun.result["UploadId"]
    listed = []
    for number, data in enumerate(parts, 1):
        part = await ask(queue, "UploadPart", {**named, "PartNumber": number}, data)
        listed.append({"PartNumber": number, "ETag": part.result["ETag"]})
    await ask(queue, "CompleteMultipartUpload", {**named, "MultipartUpload": {"Parts": listed}})
    await until(lambda: queue.object_status(BUCKET, key)["state"] == "delivered")


PARTS = pattern(5 * BLOCK_BYTES + 7), pattern(5 * BLOCK_BYTES + 1), b"end"


@pytest.mark.semantics("F-6")
async def test_what_is_handed_over_before_the_first_look_is_judged_once(tmp_path: Path) -> None:
    async with cached(tmp_path, Far(), filter=f"{BUCKET}/*[hdr:content-type=video/*]") as there:
        delivered = Delivered(BUCKET, "k", "", {"content-type": "video/mp4"}, CIMultiDict(ETag='"etag"'))
        await there.cache.hand_over(delivered, BytesBody(b"data"))
        # Of what nobody has read since, only the request that wrote it told its headers.
        await there.cache.rejudge()
        assert there.cache.status()["entries"] == 1


@pytest.mark.semantics("C-8a")
async def test_the_parts_of_an_upload_are_read_without_a_fetch(tmp_path: Path) -> None:
    far = Far()
    async with both(tmp_path, far) as (queue, there):
        await upload(queue, "k", *PARTS)
        await until(lambda: there.metric("s3d_cache_fills_total", end="handed") == 1)
        answer = await ask(queue, "GetObject", {"Bucket": BUCKET, "Key": "k"})
        assert (answer.data, how(answer), far.given) == (b"".join(PARTS), "REVALIDATED", 0)
        # The files of the parts went when they were read.
        await until(lambda: not [path for path in (tmp_path / "queue" / "bodies").rglob("*") if path.is_file()])


@pytest.mark.semantics("C-8a")
async def test_uploads_are_copied_one_after_another_while_the_delivery_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far, go_on, copied = Far(), threading.Event(), list[str]()
    reserve = os.posix_fallocate

    def stand_still(fd: int, start: int, size: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if path.is_relative_to(tmp_path / "cache"):
            copied.append(path.name)
            assert go_on.wait(60)
        reserve(fd, start, size)

    def files(of: str) -> list[str]:
        return [path.name for path in (tmp_path / of).rglob("*") if path.is_file()]

    monkeypatch.setattr(os, "posix_fallocate", stand_still)
    async with both(tmp_path, far) as (queue, there):
        try:
            await upload(queue, "a", *PARTS)
            await until(lambda: bool(copied))
            # It is delivered while the copy of the one before stands still.
            await upload(queue, "b", *PARTS)
            await until(lambda: len(there.cache._handed._tasks) == 2)
            assert (len(copied), files("cache/blocks")) == (1, copied)
            # The third part of each is so small that it is in the tables.
            assert len(files("queue/bodies")) == 2 * len(PARTS[:2])
            assert there.cache.status()["entries"] == 0
        finally:
            go_on.set()
        await until(lambda: there.metric("s3d_cache_fills_total", end="handed") == 2)
        assert sorted(files("cache/blocks")) == sorted(copied)
        for key in ("a", "b"):
            answer = await ask(queue, "GetObject", {"Bucket": BUCKET, "Key": key})
            assert (answer.data, how(answer), far.given) == (b"".join(PARTS), "REVALIDATED", 0)
        await until(lambda: not files("queue/bodies"))


@pytest.mark.semantics("C-8a", "C-9")
async def test_parts_that_are_overtaken_by_a_change_are_not_kept(tmp_path: Path) -> None:
    far = Far()
    async with both(tmp_path, far) as (queue, there):
        async with there.cache._handed._turn:
            await upload(queue, "k", *PARTS)
            await ask(queue, "DeleteObject", {"Bucket": BUCKET, "Key": "k"})
            await until(lambda: queue.object_status(BUCKET, "k")["state"] == "delivered")
        await until(lambda: not there.cache._handed._tasks)
        assert there.cache.status()["entries"] == 0


@pytest.mark.semantics("C-8")
async def test_a_hand_over_that_fails_holds_up_no_delivery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    far = Far()
    async with both(tmp_path, far) as (queue, there):

        async def fail(*_: object) -> None:
            raise OSError("the disk fails")

        monkeypatch.setattr(there.cache._handed, "_take", fail)
        await put(queue, "k", b"data")
        assert there.metric("s3d_background_failures_total", look="the hand-over to the read cache") == 1
        assert (await ask(queue, "GetObject", {"Bucket": BUCKET, "Key": "k"})).data == b"data"


@pytest.mark.semantics("R-2", "C-9")
async def test_a_new_version_is_never_hidden_by_what_is_cached(tmp_path: Path) -> None:
    far = Far()
    async with both(tmp_path, far) as (queue, _):
        for number in range(20):
            data = str(number).encode() * 1000
            await ask(queue, "PutObject", {"Bucket": BUCKET, "Key": "k"}, data)
            assert (await ask(queue, "GetObject", {"Bucket": BUCKET, "Key": "k"})).data == data
            await until(lambda: queue.object_status(BUCKET, "k")["state"] == "delivered")
            assert (await ask(queue, "GetObject", {"Bucket": BUCKET, "Key": "k"})).data == data


@pytest.mark.semantics("C-7")
async def test_a_write_that_the_disk_has_no_room_for_is_given_that_of_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = Far()
    async with both(tmp_path, far) as (queue, there):
        await put(queue, "k", pattern(2 * BLOCK_BYTES))
        asked: list[int] = []

        def full(_: int, size: int) -> None:
            asked.append(size)
            if there.cache.capacity.files:
                raise OSError(28, "No space left on device")

        monkeypatch.setattr("s3d.store.files.refuse_full", full)
        monkeypatch.setattr(there.cache._blocks, "free", _free_of(there))
        await ask(queue, "PutObject", {"Bucket": BUCKET, "Key": "other"}, pattern(BLOCK_BYTES))
        assert (asked, there.cache.status()["entries"]) == ([BLOCK_BYTES, BLOCK_BYTES], 0)


@pytest.mark.semantics("C-9a", "C-2")
async def test_what_was_noted_of_one_object_is_never_taken_for_that_of_a_later_one(tmp_path: Path) -> None:
    far = Far()
    async with both(tmp_path, far) as (queue, there):
        await far.put("gone", b"another object", Metadata={"n": "gone"})
        for _ in range(2):
            await there.get("gone")
            await there.quiet()
        await ask(far.fake, "DeleteObject", {"Bucket": BUCKET, "Key": "gone"})
        assert isinstance(await there.ask("GetObject", "gone"), S3Error)
        await put(queue, "k", b"data")
        assert there.cache.status()["entries"] == 1
        # The remote has given nobody the new one.
        far.away = True
        assert isinstance(await there.ask("GetObject", "k"), S3Error)


def _free_of(there: Cached) -> Callable[[], Awaitable[int]]:
    """The room of a disk that only the cache fills."""

    async def free() -> int:
        return 0 if there.cache.capacity.files else 1 << 40

    return free
