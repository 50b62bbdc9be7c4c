"""Small objects that are held in memory, and what takes them out of it (SEMANTICS C-9, C-11, C-13)."""

from pathlib import Path

import pytest

from s3d.layers.cache import held
from s3d.layers.cache.held import Held
from tests.caches import BUCKET, Far, cached, how
from tests.contracts.bodies import pattern

SMALL = pattern(held.MAX_LENGTH)


def the_file(directory: Path) -> Path:
    """The only file of blocks."""
    (path,) = (path for path in (directory / "cache" / "blocks").rglob("*") if path.is_file())
    return path


def damage(path: Path) -> None:
    """Change a bit."""
    content = bytearray(path.read_bytes())
    content[77] ^= 1
    path.write_bytes(content)


def test_what_was_not_read_for_the_longest_time_is_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "MAX_BYTES", 10)
    some = Held()
    for file in ("a", "b", "a"):
        some.put(file, b"1234")
    assert some.get("b") == b"1234"
    some.put("c", b"12")
    assert some.get("a") == b"1234"
    some.put("d", b"12")
    assert [some.get(file) for file in "abcd"] == [b"1234", None, b"12", b"12"]
    some.forget("a")
    some.forget("a")
    some.put("e", b"123456")
    assert [some.get(file) for file in "abcde"] == [None, None, b"12", b"12", b"123456"]


@pytest.mark.semantics("C-11")
async def test_what_is_held_is_what_was_written(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await far.put("k", SMALL)
        await there.get("k")
        await there.quiet()
        # Also where it was written by this process: what is held is compared when it comes into memory.
        damage(the_file(tmp_path))
        assert (await there.get("k")).data == SMALL
        assert there.metric("s3d_cache_corrupt_blocks_total") == 1
        await there.quiet()
        given = far.given
        assert how(await there.get("k")) == "REVALIDATED"
        damage(the_file(tmp_path))
        answer = await there.get("k", Range="bytes=70-99")
        assert (answer.status, answer.data, how(answer)) == (206, SMALL[70:100], "REVALIDATED")
        assert far.given == given
        assert there.metric("s3d_cache_corrupt_blocks_total") == 1


@pytest.mark.semantics("C-13")
async def test_what_is_held_is_compared_with_its_file_and_goes_with_it(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await far.put("k", SMALL)
        for _ in range(2):
            await there.get("k")
            await there.quiet()
        damage(the_file(tmp_path))
        page = await there.cache.verify("", "", 0, 0)
        assert [(one["key"], one["blocks"]) for one in page["damaged"]] == [("k", 1)]
        given = far.given
        assert (await there.get("k")).data == SMALL
        await there.quiet()
        assert far.given == given + len(SMALL)
        the_file(tmp_path).unlink()
        page = await there.cache.verify("", "", 0, 0)
        assert [(one["key"], one["blocks"]) for one in page["damaged"]] == [("k", 1)]
        assert (await there.get("k")).data == SMALL
        assert far.given == given + 2 * len(SMALL)


@pytest.mark.semantics("C-9")
async def test_what_is_held_is_not_given_once_it_is_dropped(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far, max_stale=3600.0) as there:
        await far.put("k", SMALL)
        for _ in range(2):
            await there.get("k")
            await there.quiet()
        far.away = True
        assert how(await there.get("k")) == "STALE"
        await there.cache.drop(BUCKET, "k")
        assert (await there.ask("GetObject", "k")).status == 503
