"""What changes an object drops what is cached of it, for good and before it is done (SEMANTICS C-9)."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from s3d.api import Call
from s3d.errors import S3Error
from s3d.layers.cache.index import Index
from s3d.store.blocks import BLOCK_BYTES
from s3d.store.failures import StoreFailed
from tests.caches import BUCKET, Far, cached, how
from tests.callers import Answer, ask, door_call
from tests.contracts.bodies import pattern

CHANGES: tuple[tuple[str, str, dict[str, Any], bytes | None], ...] = (
    ("PutObject", "k", {}, b"new"),
    ("DeleteObject", "k", {}, None),
    ("DeleteObjects", "", {"Delete": {"Objects": [{"Key": "k"}]}}, None),
    ("PutObjectTagging", "k", {"Tagging": {"TagSet": []}}, None),
    ("CopyObject", "k", {"CopySource": f"{BUCKET}/other"}, None),
    ("PutBucketPolicy", "", {"Policy": "{}"}, None),
    ("RenameObject", "other", {"RenameSource": "k"}, None),
)


async def fill(there: Any, *keys: str) -> None:
    """Have some keys cached."""
    for key in keys:
        await there.get(key)
    await there.quiet()


@pytest.mark.semantics("C-9")
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change[0])
async def test_a_change_drops_before_the_remote_sees_it_also_across_a_crash(
    tmp_path: Path, change: tuple[str, str, dict[str, Any], bytes | None]
) -> None:
    operation, key, params, data = change
    far, cut = Far(), tmp_path / "cut"
    async with cached(tmp_path / "life", far) as there:
        await far.put("other", b"other")
        await far.put("k", b"old")
        await fill(there, "k")

        def crash(call: Call) -> None:
            if call.operation == operation and not cut.exists():
                shutil.copytree(tmp_path / "life", cut)

        far.before = crash
        await there.ask(operation, key, data, **params)
        far.before = None
    far.away = True
    async with cached(cut, far) as after:
        assert isinstance(await after.ask("GetObject", "k"), S3Error)


@pytest.mark.semantics("C-9")
async def test_an_unknown_call_drops_its_key_and_one_without_a_key_its_bucket(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        for key in ("a", "b"):
            await far.put(key, b"data")
        await fill(there, "a", "b")
        call = door_call("GetObject", {"Bucket": BUCKET, "Key": "a"}, None, {})
        call.operation = ""
        await there.cache(call)
        assert there.cache.status()["entries"] == 1
        call = door_call("ListObjectsV2", {"Bucket": BUCKET}, None, {})
        call.operation = ""
        await there.cache(call)
        assert there.cache.status()["entries"] == 0


async def test_what_only_reads_drops_nothing(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await far.put("k", b"data")
        await fill(there, "k")
        await there.ask("ListObjectsV2", "")
        await there.ask("HeadObject", "k")
        await there.ask("GetObjectTagging", "k")
        assert how(await there.get("k")) == "REVALIDATED"


@pytest.mark.semantics("C-9")
async def test_a_fill_that_began_before_a_change_is_discarded(tmp_path: Path) -> None:
    far = Far(lets=BLOCK_BYTES)
    async with cached(tmp_path, far) as there:
        old = pattern(2 * BLOCK_BYTES)
        await far.put("k", old)
        reading = asyncio.ensure_future(there.get("k"))
        while not far.given:  # noqa: ASYNC110 (the remote has no event for it)
            await asyncio.sleep(0)
        await there.ask("PutObject", "k", b"new")
        far.let(None)
        assert (await reading).data == old
        await there.quiet()
        assert there.cache.status()["entries"] == 0
        far.away = True
        assert isinstance(await there.ask("GetObject", "k"), S3Error)


@pytest.mark.semantics("C-9")
async def test_a_fill_that_begins_during_a_change_is_discarded(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await far.put("k", b"old")
        began, goes_on = asyncio.Event(), asyncio.Event()
        inner = far.fake

        async def slow(call: Call) -> Any:
            if call.operation == "PutObject":
                began.set()
                await goes_on.wait()
            return await inner(call)

        far.fake = slow  # type: ignore[assignment]
        writing = asyncio.ensure_future(there.ask("PutObject", "k", b"new"))
        await began.wait()
        assert (await there.get("k")).data == b"old"
        await there.quiet()
        goes_on.set()
        assert isinstance(await writing, Answer)
        far.away = True
        assert isinstance(await there.ask("GetObject", "k"), S3Error)


@pytest.mark.semantics("C-9")
async def test_where_a_drop_cannot_be_written_everything_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        for key in ("a", "b"):
            await far.put(key, b"data")
        await fill(there, "a", "b")
        index: Index = there.cache._index
        assert index._db is not None

        async def fail(*_: object, **__: object) -> None:
            raise StoreFailed("the disk fails")

        monkeypatch.setattr(index._db, "write", fail)
        assert isinstance(await there.ask("PutObject", "a", b"new"), Answer)
        assert not (tmp_path / "cache" / "cache.db").exists()
        far.away = True
        assert isinstance(await there.ask("GetObject", "b"), S3Error)
        far.away = False
        assert (await there.get("a")).data == b"new"
        await index.open()
        await fill(there, "a")
        await there.cache.sweep()
        blocks = [path for path in (tmp_path / "cache" / "blocks").rglob("*") if path.is_file()]
        assert len(blocks) == 1
        assert how(await there.get("a")) == "REVALIDATED"


@pytest.mark.semantics("C-9", "C-4")
async def test_nobody_is_given_what_the_remote_never_gave_him(tmp_path: Path) -> None:
    far = Far(refused={"b"})
    async with cached(tmp_path, far, fresh_for=60.0) as there:
        await far.put("k", b"secret")
        await there.get("k", identity="a")
        await there.quiet()
        fresh = await there.ask("GetObject", "k", identity="b")
        far.away = True
        stale = await there.ask("GetObject", "k", identity="b")
        head = await there.ask("HeadObject", "k", identity="b")
        assert isinstance(fresh, S3Error)
        assert isinstance(stale, S3Error)
        assert isinstance(head, S3Error)
        assert (fresh.status, stale.status, head.status) == (403, 503, 503)
        assert how(await there.get("k", identity="a")) == "HIT"


@pytest.mark.semantics("C-4")
async def test_a_right_that_the_remote_has_taken_is_gone_also_over_a_restart(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await far.put("k", b"secret")
        for identity in ("a", "b"):
            await there.get("k", identity=identity)
            await there.quiet()
        far.refused = {"b"}
        assert isinstance(await there.ask("GetObject", "k", identity="b"), S3Error)
    far.refused, far.away = set(), True
    async with cached(tmp_path, far) as there:
        assert isinstance(await there.ask("GetObject", "k", identity="b"), S3Error)
        assert how(await there.get("k", identity="a")) == "STALE"


async def test_what_another_client_puts_beside_us_is_found_by_its_etag(tmp_path: Path) -> None:
    """A writer past the gateway, and readers and a writer through it: each read is a version that was there."""
    far = Far()
    async with cached(tmp_path, far) as there:
        written = [b"0"]
        await far.put("k", b"0")
        for number in range(1, 60):
            data = str(number).encode() * 10
            written.append(data)
            if number % 3:
                await far.put("k", data)
            else:
                await there.ask("PutObject", "k", data)
            answers = await asyncio.gather(*(there.get("k") for _ in range(3)))
            assert {answer.data for answer in answers} == {data}
        assert (await ask(far.fake, "GetObject", {"Bucket": BUCKET, "Key": "k"})).data == written[-1]
