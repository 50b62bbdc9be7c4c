"""All that is cached is compared with its checksums, and what is damaged goes (SEMANTICS C-13)."""

from pathlib import Path
from typing import Any

import pytest

from s3d.errors import S3Error
from s3d.layers.cache import verify
from s3d.store.blocks import BLOCK_BYTES
from tests.caches import BUCKET, Cached, Far, cached, how
from tests.contracts.bodies import pattern

LARGE = pattern(3 * BLOCK_BYTES + 5)


def files(directory: Path) -> list[Path]:
    """The files of blocks."""
    return [path for path in (directory / "cache" / "blocks").rglob("*") if path.is_file()]


def damage(path: Path, *places: int) -> None:
    """Change a bit at each of some places of a file."""
    with path.open("r+b") as file:
        for place in places:
            file.seek(place)
            (byte,) = file.read(1)
            file.seek(place)
            file.write(bytes([byte ^ 1]))


async def fill(there: Cached, *keys: str) -> None:
    """Have some objects cached."""
    for key in keys:
        await there.far.put(key, LARGE)
        await there.get(key)
        await there.quiet()


async def verified(there: Cached, bucket: str = "", prefix: str = "") -> tuple[list[int], dict[str, int]]:
    """Look at all: objects, blocks and bytes, and how many blocks of which keys were damaged."""
    page: dict[str, Any] = {"after": 0, "block": 0, "done": False}
    sums, damaged = [0, 0, 0], dict[str, int]()
    while not page["done"]:
        page = await there.cache.verify(bucket, prefix, page["after"], page["block"])
        sums = [one + page[name] for one, name in zip(sums, ("entries", "blocks", "bytes"), strict=True)]
        for one in page["damaged"]:
            damaged[one["key"]] = damaged.get(one["key"], 0) + one["blocks"]
    return sums, damaged


@pytest.mark.semantics("C-13")
@pytest.mark.parametrize("together", [1, 3, 100])
async def test_damaged_blocks_are_dropped_for_good_and_all_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    monkeypatch.setattr(verify, "MAX_BLOCKS", together)
    far = Far()
    async with cached(tmp_path, far) as there:
        await fill(there, "a")
        (path,) = files(tmp_path)
        await fill(there, "b", "c")
        assert await verified(there) == ([3, 12, 3 * len(LARGE)], {})
        # Also where they were read since the start, and found to be sound.
        damage(path, 7, 2 * BLOCK_BYTES + 77)
        assert await verified(there) == ([3, 12, 3 * len(LARGE)], {"a": 2})
        assert there.metric("s3d_cache_corrupt_blocks_total") == 2
        assert await verified(there) == ([3, 10, 3 * len(LARGE) - 2 * BLOCK_BYTES], {})
    given = far.given
    async with cached(tmp_path, far) as there:
        for key in ("a", "b", "c"):
            assert (await there.get(key)).data == LARGE
            await there.quiet()
        assert far.given == given + 2 * BLOCK_BYTES
        # What was dropped before it was read was never taken for damaged again.
        assert there.metric("s3d_cache_corrupt_blocks_total") == 0


@pytest.mark.semantics("C-13")
async def test_an_object_whose_file_is_gone_is_dropped(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await fill(there, "a")
        (path,) = files(tmp_path)
        await fill(there, "b")
    path.unlink()
    async with cached(tmp_path, far) as there:
        assert await verified(there) == ([2, 4, len(LARGE)], {"a": 4})
        assert there.metric("s3d_cache_corrupt_blocks_total") == 4
        assert (await verified(there), there.cache.status()["entries"]) == (([1, 4, len(LARGE)], {}), 1)
        far.away = True
        assert isinstance(await there.ask("GetObject", "a"), S3Error)
        assert how(await there.get("b")) == "STALE"


async def test_what_is_dropped_since_its_file_is_gone_is_not_counted_any_more(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await fill(there, "a")
    files(tmp_path)[0].unlink()
    async with cached(tmp_path, far) as there:
        far.away = True
        assert isinstance(await there.ask("GetObject", "a"), S3Error)
        status = there.cache.status()
        assert (status["entries"], status["bytes"]) == (0, 0)


async def test_only_what_is_meant_is_looked_at(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await fill(there, "a/1", "a/2", "b")
        assert (await verified(there, BUCKET, "a/"))[0] == [2, 8, 2 * len(LARGE)]
        assert (await verified(there, "other"))[0] == [0, 0, 0]
