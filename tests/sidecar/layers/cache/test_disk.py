"""What lies on the disk: limits, damage, what a crash leaves (SEMANTICS C-7, C-11)."""

import os
from pathlib import Path

import pytest

from s3d import config
from s3d.errors import S3Error
from s3d.store.blocks import BLOCK_BYTES
from tests.caches import Far, cached, how
from tests.contracts.bodies import pattern

LARGE = pattern(3 * BLOCK_BYTES)


def files(directory: Path) -> list[Path]:
    """The files of blocks."""
    return [path for path in (directory / "cache" / "blocks").rglob("*") if path.is_file()]


@pytest.mark.semantics("C-7")
async def test_what_was_not_read_for_the_longest_time_goes_first(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far, max_size=10 * BLOCK_BYTES) as there:
        for number in range(12):
            await far.put(str(number), pattern(BLOCK_BYTES))
            await there.get(str(number))
            await there.quiet()
            await there.get("0")
        await there.cache.capacity.trim()
        assert there.cache.status()["bytes"] <= 10 * BLOCK_BYTES
        assert sum(path.stat().st_blocks * 512 for path in files(tmp_path)) <= 10 * BLOCK_BYTES
        far.away = True
        assert how(await there.get("0")) == how(await there.get("11")) == "STALE"
        assert isinstance(await there.ask("GetObject", "1"), S3Error)


@pytest.mark.semantics("C-7")
async def test_limits_that_shrink_are_held(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        for number in range(6):
            await far.put(str(number), b"data")
            await there.get(str(number))
            await there.quiet()
        config.reload(there.settings, {"S3D_READ_CACHE_MAX_FILES": 3})
        await there.cache.capacity.trim()
        assert there.cache.status()["entries"] <= 3
        assert len(files(tmp_path)) == there.cache.status()["entries"]
        config.reload(there.settings, {"S3D_READ_CACHE_MAX_AGE": "0.001ms"})
        await there.cache.capacity.trim()
        assert (there.cache.status()["entries"], files(tmp_path)) == (0, [])


async def test_of_an_object_that_is_larger_than_the_cache_ranges_are_kept(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far, max_size=BLOCK_BYTES) as there:
        await far.put("k", LARGE)
        assert (await there.get("k")).data == LARGE
        assert files(tmp_path) == []
        for expected in ("MISS", "REVALIDATED"):
            answer = await there.get("k", Range="bytes=0-9")
            await there.quiet()
            assert (how(answer), answer.data) == (expected, LARGE[:10])


@pytest.mark.semantics("C-11")
async def test_a_damaged_block_is_fetched_again_and_no_byte_of_it_is_given(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await far.put("k", LARGE)
        await there.get("k")
        await there.quiet()
    (path,) = files(tmp_path)
    damaged = bytearray(path.read_bytes())
    damaged[BLOCK_BYTES + 77] ^= 1
    path.write_bytes(damaged)
    given = far.given
    async with cached(tmp_path, far) as there:
        assert (await there.get("k")).data == LARGE
        await there.quiet()
        assert far.given == given + BLOCK_BYTES
        assert there.metric("s3d_cache_corrupt_blocks_total") == 1
        assert (await there.get("k")).data == LARGE
        assert far.given == given + BLOCK_BYTES


@pytest.mark.semantics("C-11")
async def test_a_file_that_is_cut_or_gone_is_fetched_again(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await far.put("k", LARGE)
        await there.get("k")
        await there.quiet()
    (path,) = files(tmp_path)
    os.truncate(path, BLOCK_BYTES + 3)
    async with cached(tmp_path, far) as there:
        assert (await there.get("k")).data == LARGE
        await there.quiet()
    (path,) = files(tmp_path)
    path.unlink()
    async with cached(tmp_path, far) as there:
        assert (await there.get("k")).data == LARGE


@pytest.mark.parametrize("content", [b"", b"no database" * 1000, b"\0" * 8192])
async def test_an_index_that_is_damaged_is_no_reason_not_to_start(tmp_path: Path, content: bytes) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await far.put("k", LARGE)
        await there.get("k")
        await there.quiet()
    (tmp_path / "cache" / "cache.db").write_bytes(content)
    async with cached(tmp_path, far) as there:
        for expected in ("MISS", "REVALIDATED"):
            answer = await there.get("k")
            await there.quiet()
            assert (how(answer), answer.data) == (expected, LARGE)
        await there.cache.sweep()
        assert len(files(tmp_path)) == 1


async def test_limits_hold_for_what_is_handed_in_ranges_too(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far, max_size=4 * BLOCK_BYTES) as there:
        for number in range(8):
            await far.put(str(number), LARGE)
            assert (await there.get(str(number), Range="bytes=0-9")).data == LARGE[:10]
            await there.quiet()
        await there.cache.capacity.trim()
        assert sum(path.stat().st_blocks * 512 for path in files(tmp_path)) <= 4 * BLOCK_BYTES


async def test_what_a_crash_has_left_is_deleted(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await far.put("k", LARGE)
        await there.get("k")
        await there.quiet()
        orphan = tmp_path / "cache" / "blocks" / "0a" / "0123456789abcdef-0000000a"
        orphan.write_bytes(b"left")
        await there.cache.sweep()
        assert not orphan.exists()
        assert how(await there.get("k")) == "REVALIDATED"
