"""What is pinned stays in the cache, and is fetched before somebody reads it (SEMANTICS C-7a)."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from s3d import config
from s3d.api import Call
from s3d.errors import S3Error
from s3d.layers.cache import ahead
from s3d.layers.cache.rows import entries, pins
from s3d.layers.cache.rows.entries import New, Spot
from s3d.layers.cache.rows.pins import Pin
from s3d.store.blocks import BLOCK_BYTES
from s3d.store.db import Database
from tests.caches import BUCKET, Cached, Far, cached, how
from tests.callers import Answer, ask
from tests.contracts.bodies import pattern
from tests.queues import until

PINNED = {"Tagging": "s3d.cache=pin"}
TAGS = {"TagSet": [{"Key": "s3d.cache", "Value": "pin"}]}
LARGE = pattern(2 * ahead.STRETCH + BLOCK_BYTES + 3)


async def look(there: Cached) -> dict[str, int]:
    """Make the looks that are due, until none is; the names by state."""
    index = there.cache._index
    while index.read(lambda db: pins.due(db, index.clock.now()), None):
        await there.cache._ahead.look()
    counts: dict[str, int] = there.cache.status()["pins"]
    return {state: count for state, count in counts.items() if count}


async def make_due(there: Cached) -> None:
    """Have all names looked at: their hour has passed."""
    await there.cache._index.write(lambda db: db.execute("UPDATE pin SET due = 0"))


async def put_in_parts(there: Cached, key: str, **members: Any) -> None:
    """Upload an object of one part."""
    begun = await there.ask("CreateMultipartUpload", key, **members)
    assert isinstance(begun, Answer)
    upload = begun.result["UploadId"]
    part = await there.ask("UploadPart", key, b"part", UploadId=upload, PartNumber=1)
    assert isinstance(part, Answer)
    parts = {"Parts": [{"PartNumber": 1, "ETag": part.etag}]}
    await there.ask("CompleteMultipartUpload", key, UploadId=upload, MultipartUpload=parts)


async def is_here(there: Cached, key: str, data: bytes, **asked: Any) -> None:
    """Read an object while the remote is away."""
    there.far.away = True
    answer = await there.get(key, **asked)
    assert (how(answer), answer.data) == ("STALE", data)
    there.far.away = False


@pytest.mark.semantics("C-7b")
async def test_a_pinned_object_of_which_a_little_was_read_is_fetched_whole(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await far.put("k", LARGE, **PINNED)
        await there.get("k", Range="bytes=0-0")
        await there.quiet()
        assert far.given == BLOCK_BYTES
        assert there.cache.status()["pins"] == {"kept": 0, "waiting": 1, "over": 0}
        assert await look(there) == {"kept": 1}
        # No byte twice: each stretch is of what was missing.
        assert far.given == len(LARGE)
        await is_here(there, "k", LARGE)


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES, 2 * ahead.STRETCH + 1])
async def test_an_object_that_is_written_with_the_tag_is_fetched_though_nobody_reads_it(
    tmp_path: Path, size: int
) -> None:
    far = Far()
    async with cached(tmp_path, far, max_size=100 * BLOCK_BYTES) as there:
        await there.ask("PutObject", "k", pattern(size), identity="a", **PINNED)
        await there.ask("PutObject", "other", pattern(size), identity="a", Tagging="s3d.cache=true")
        for _ in range(2):
            await make_due(there)
            assert await look(there) == {"kept": 1}
            assert far.given == size
        await is_here(there, "k", pattern(size), identity="a")
        far.away = True
        assert isinstance(await there.ask("GetObject", "k", identity="b"), S3Error)
        assert isinstance(await there.ask("GetObject", "other", identity="a"), S3Error)


async def test_a_tag_that_comes_later_pins_and_one_that_goes_does_not_any_more(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await far.put("k", b"data")
        await there.ask("PutObjectTagging", "k", Tagging=TAGS)
        assert await look(there) == {"kept": 1}
        await is_here(there, "k", b"data")
        assert [one["pinned"] for one in there.cache.listed(BUCKET, "", 0)] == [True]
        await there.ask("PutObjectTagging", "k", Tagging={"TagSet": []})
        assert await look(there) == {}
        await there.get("k")
        await there.quiet()
        assert [one["pinned"] for one in there.cache.listed(BUCKET, "", 0)] == [False]
        await there.ask("PutObjectTagging", "k", Tagging=TAGS)
        await there.ask("DeleteObjectTagging", "k")
        assert await look(there) == {}


async def test_copies_and_uploads_of_pinned_objects_are_pinned(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await there.ask("PutObject", "k", b"data", **PINNED)
        await there.ask("CopyObject", "copy", CopySource=f"{BUCKET}/k")
        await put_in_parts(there, "upload", **PINNED)
        assert await look(there) == {"kept": 3}
        await is_here(there, "copy", b"data")
        await is_here(there, "upload", b"part")


async def test_an_upload_is_looked_at_where_nothing_else_is_pinned(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        for members, kept in ({}, {}), (PINNED, {"kept": 1}):
            await put_in_parts(there, "k", **members)
            assert await look(there) == kept
            assert bool(far.count("GetObjectTagging")) == bool(kept)


@pytest.mark.semantics("C-7a")
async def test_what_is_pinned_stays_when_others_go(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far, max_size=20 * BLOCK_BYTES) as there:
        await there.ask("PutObject", "pinned", pattern(8 * BLOCK_BYTES), **PINNED)
        assert await look(there) == {"kept": 1}
        for number in range(40):
            await far.put(str(number), pattern(BLOCK_BYTES))
            await there.get(str(number))
            await there.quiet()
        config.reload(there.settings, {"S3D_READ_CACHE_MAX_AGE": "0.001ms"})
        await there.cache.capacity.trim()
        assert there.cache.status()["bytes"] <= 20 * BLOCK_BYTES
        assert there.metric("s3d_cache_evictions_total", why="limit") > 0
        assert there.metric("s3d_cache_evictions_total", why="age") > 0
        assert [one["key"] for one in there.cache.listed(BUCKET, "", 0)] == ["pinned"]
        given = far.given
        await make_due(there)
        assert await look(there) == {"kept": 1}
        assert far.given == given
        await is_here(there, "pinned", pattern(8 * BLOCK_BYTES))


@pytest.mark.semantics("C-7a")
async def test_pinned_objects_take_half_of_the_limit_and_no_more(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far, max_size=20 * BLOCK_BYTES) as there:
        for number in range(6):
            await there.ask("PutObject", str(number), pattern(3 * BLOCK_BYTES), **PINNED)
        assert await look(there) == {"kept": 3, "over": 3}
        assert far.given == 9 * BLOCK_BYTES
        # Somebody reads the others: they are cached as any other, and are not fetched again when they have gone.
        for number in [*range(6), "x", "y", *range(6)]:
            if number in ("x", "y"):
                await far.put(str(number), pattern(3 * BLOCK_BYTES))
            await there.get(str(number))
            await there.quiet()
            assert await look(there) == {"kept": 3, "over": 3}
        assert there.cache.status()["bytes"] <= 20 * BLOCK_BYTES
        for number in range(3):
            await is_here(there, str(number), pattern(3 * BLOCK_BYTES))
        given = far.given
        await make_due(there)
        assert await look(there) == {"kept": 3, "over": 3}
        assert far.given == given
        # A limit that shrinks loosens what is beyond it.
        config.reload(there.settings, {"S3D_READ_CACHE_MAX_SIZE": 15 * BLOCK_BYTES})
        await make_due(there)
        assert await look(there) == {"kept": 2, "over": 4}
        config.reload(there.settings, {"S3D_READ_CACHE_MAX_SIZE": 20 * BLOCK_BYTES})
        assert there.metric("s3d_cache_pinned_objects", state="over") == 0
        there.cache._ahead.show()
        assert there.metric("s3d_cache_pinned_objects", state="over") == 4


async def test_what_needs_more_room_than_pinned_objects_leave_drives_nothing_out(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far, max_size=20 * BLOCK_BYTES) as there:
        await there.ask("PutObject", "pinned", pattern(9 * BLOCK_BYTES), **PINNED)
        await look(there)
        await far.put("small", b"data")
        await far.put("large", pattern(12 * BLOCK_BYTES))
        await there.get("small")
        await there.quiet()
        assert (await there.get("large")).data == pattern(12 * BLOCK_BYTES)
        await there.quiet()
        assert sorted(one["key"] for one in there.cache.listed(BUCKET, "", 0)) == ["pinned", "small"]


@pytest.mark.semantics("C-7b")
async def test_another_version_is_fetched_once_it_is_known(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await there.ask("PutObject", "k", b"one", **PINNED)
        await look(there)
        await far.put("k", b"two", **PINNED)
        await make_due(there)
        assert await look(there) == {"kept": 1}
        await is_here(there, "k", b"two")
        # By a read of it, and by a change that passes.
        await far.put("k", b"three", **PINNED)
        await there.get("k", Range="bytes=0-0")
        assert await look(there) == {"kept": 1}
        await is_here(there, "k", b"three")
        await there.ask("PutObject", "k", b"four", **PINNED)
        assert await look(there) == {"kept": 1}
        await is_here(there, "k", b"four")
        await there.ask("PutObject", "k", b"five")
        assert await look(there) == {}


async def test_a_version_that_comes_while_another_is_fetched_is_fetched_next(tmp_path: Path) -> None:
    far = Far()
    loop = asyncio.get_running_loop()
    other = bytes(len(LARGE))

    def replace(call: Call) -> None:
        if call.operation == "GetObject" and far.given:
            far.before = None
            asyncio.run_coroutine_threadsafe(far.put("k", other, **PINNED), loop).result()

    async with cached(tmp_path, far) as there:
        await there.ask("PutObject", "k", LARGE, **PINNED)
        far.before = replace
        assert await look(there) == {"kept": 1}
        await is_here(there, "k", other)


async def test_what_is_gone_or_refused_is_pinned_no_more(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await there.ask("PutObject", "gone", b"data", **PINNED)
        await there.ask("PutObject", "refused", b"data", identity="a", **PINNED)
        assert await look(there) == {"kept": 2}
        await ask(far.fake, "DeleteObject", {"Bucket": BUCKET, "Key": "gone"})
        far.refused = {"a"}
        await make_due(there)
        assert await look(there) == {}
        await there.ask("DeleteObject", "refused")
        assert await look(there) == {}


async def test_what_the_remote_cannot_give_now_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "TROUBLE_PAUSE", 0)
    far = Far()
    async with cached(tmp_path, far) as there:
        await there.ask("PutObject", "k", LARGE, **PINNED)
        for trouble in "away", "status", "breaks_at":
            setattr(far, trouble, {"away": True, "status": 503, "breaks_at": ahead.STRETCH // 2}[trouble])
            await there.cache._ahead.look()
            assert there.cache.status()["pins"]["waiting"] == 1
            setattr(far, trouble, {"away": False, "status": None, "breaks_at": None}[trouble])
        assert await look(there) == {"kept": 1}


async def test_what_must_not_be_cached_is_tried_again_much_later(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        far.headers = {"x-amz-server-side-encryption": "aws:kms"}
        await there.ask("PutObject", "k", b"data", **PINNED)
        assert await look(there) == {"waiting": 1}
        assert far.count("GetObject") == 1


@pytest.mark.semantics("C-7b")
async def test_pins_outlive_a_restart(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await there.ask("PutObject", "k", LARGE, **PINNED)
    async with cached(tmp_path, far) as there:
        assert await look(there) == {"kept": 1}
        # What a person drops is fetched again.
        await there.cache.discard(BUCKET, "")
        assert await look(there) == {"kept": 1}
        await is_here(there, "k", LARGE)


async def test_what_is_pinned_is_fetched_by_a_cache_at_work(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far, runs=True) as there:
        await there.ask("PutObject", "k", b"data", **PINNED)
        await until(lambda: there.cache.status()["pins"]["kept"] == 1)
        await is_here(there, "k", b"data")


@pytest.mark.parametrize(
    ("moved", "rate", "since", "rest"), [(0, 10, 0.0, 0.0), (100, 10, 4.0, 6.0), (100, 10, 11.0, 0.0)]
)
def test_a_stretch_waits_until_what_came_has_taken_its_time(moved: int, rate: int, since: float, rest: float) -> None:
    assert ahead.pause(moved, rate, since) == rest


# The rows.

SIZES = {"a": 10, "B": 10, "c": 10, "D": 10, "e": 10}
"""Entries by name, the one that was not read for the longest time first; capitals are pinned."""


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    """An empty index."""
    opened = await asyncio.to_thread(Database.open, tmp_path / "db", entries.SCHEMA)
    yield opened
    await opened.close()


def put(db: entries.Tables) -> None:
    for used, (name, size) in enumerate(SIZES.items()):
        entries.put(db, Spot("b", name), New('"e"', 1, name, b"", size, None, 0.0, {}, None, ""), used)
        pins.fasten(db, Pin("b", name, "", 0), stays=name.isupper())


@pytest.mark.parametrize(
    ("size", "files", "share", "left"),
    [
        (10, 0, (100, 100), "BceD"),
        (30, 0, (100, 100), "BD"),
        (50, 0, (100, 100), "BD"),
        (20, 0, (10, 100), "ceD"),
        (50, 0, (10, 100), "D"),
        (50, 0, (100, 1), "D"),
        (0, 2, (0, 0), "ceD"),
        (30, 0, None, "BD"),
        (40, 0, None, "D"),
        (50, 0, None, ""),
    ],
)
async def test_what_goes_first(db: Database, size: int, files: int, share: tuple[int, int] | None, left: str) -> None:
    await db.write(put)
    await db.write(lambda tables: entries.evict(tables, size, files, share))
    rows = db.read("SELECT key FROM entry")
    assert {key for (key,) in rows} == set(left)


async def test_what_has_happened_since_a_look_is_not_taken_for_looked_at(db: Database) -> None:
    await db.write(lambda tables: pins.note(tables, "b", "k", "a"))
    pin = pins.due(db, 0.0)
    assert pin == Pin("b", "k", "a", 0)
    await db.write(lambda tables: pins.note(tables, "b", "k", "c"))
    await db.write(lambda tables: pins.settle(tables, pin, "kept", 100.0))
    again = pins.due(db, 0.0)
    assert again is not None
    assert (again.identity, pins.counts(db)["waiting"]) == ("c", 1)
    await db.write(lambda tables: pins.settle(tables, again, "kept", 100.0))
    assert (pins.due(db, 99.0), pins.counts(db)["kept"]) == (None, 1)


async def test_names_are_pinned_up_to_a_bound(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pins, "MAX_PINS", 2)
    for key in "abca":
        await db.write(partial(pins.note, bucket="b", key=key, identity=""))
    assert pins.counts(db)["waiting"] == 2
