"""What a person is told of both sides: of one path, of conflict copies, and of all files compared anew."""

from pathlib import Path

import pytest

from s3d.errors import S3Error
from s3d.sync import comparison
from tests.queues import until
from tests.sidecar.sync.folders import World, synced


async def different(world: World) -> dict[str, str]:
    """What a comparison finds."""
    found: dict[str, str] = {}
    page = await comparison.compared(world.folder, "")
    while True:
        found |= {one["path"]: one["reason"] for one in page.differences}
        if page.is_last:
            return found
        page = await comparison.compared(world.folder, page.after)


async def test_equal_sides_have_no_difference_and_nothing_is_changed(tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        world.write("a", b"x")
        await world.foreign.put("d/b", b"y")
        await world.settle()
        (world.path / "link").symlink_to("/etc")
        world.store.writes.clear()
        page = await comparison.compared(world.folder, "")
        assert (page.files, page.bytes, page.left_alone, page.differences, page.is_last) == (2, 2, 1, [], True)
        assert world.store.writes == []


async def test_each_difference_is_named_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page by page."""
    monkeypatch.setattr(comparison, "MAX_PAGE", 2)
    async with synced(tmp_path) as world:
        for name in "abcdef":
            world.write(name, name.encode())
        await world.settle()
        world.write("b", b"edited here")
        await world.foreign.put("c", b"edited there")
        (world.path / "d").unlink()
        await world.foreign.delete("e")
        world.write("g", b"new here")
        await world.foreign.put("h", b"new there")
        before = world.here(), await world.foreign.there()
        assert await different(world) == {
            "b": "it was changed here",
            "c": "it was changed at the remote",
            "d": comparison.ONLY_THERE,
            "e": comparison.ONLY_HERE,
            "g": comparison.ONLY_HERE,
            "h": comparison.ONLY_THERE,
        }
        assert (world.here(), await world.foreign.there()) == before


async def test_a_disk_that_gives_other_bytes_is_found(tmp_path: Path) -> None:
    """Nothing tells of it but the bytes themselves: a walk believes the stamp."""
    async with synced(tmp_path) as world:
        world.write("a", b"as it was written")
        await world.settle()
        await world.db.write(lambda db: db.execute("UPDATE here SET sha256 = (SELECT sha256 FROM base)"))
        size, found = len(b"as it was written"), (world.path / "a").stat()
        (world.path / "a").write_bytes(b"x" * size)
        now = (world.path / "a").stat()
        # As if the walk had seen the file after it was damaged: its stamp is what it was.
        await world.db.write(
            lambda db: db.execute(
                "UPDATE here SET mtime_ns = ?, ctime_ns = ? WHERE path = 'a'", (now.st_mtime_ns, now.st_ctime_ns)
            )
        )
        assert found.st_ino == now.st_ino
        assert await different(world) == {"a": comparison.DAMAGED}


async def test_nothing_is_said_of_a_remote_that_is_away(tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        world.write("a", b"x")
        await world.settle()
        world.store.away = True
        with pytest.raises(S3Error, match="not known"):
            await comparison.compared(world.folder, "")


async def test_a_conflict_copy_waits_until_somebody_deletes_it(tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        world.write("d/a.txt", b"base")
        await world.settle()
        world.write("d/a.txt", b"mine")
        await world.foreign.put("d/a.txt", b"theirs, longer")
        await world.settle()
        [copy] = await comparison.conflicts(world.folder, "")
        assert copy["of"] == "d/a.txt"
        assert copy["here"]["size"] == copy["remote"]["size"] == len(b"mine")
        assert copy["original"]["remote"]["size"] == len(b"theirs, longer")
        assert copy["at"] == pytest.approx((world.path / copy["path"]).stat().st_ctime)
        assert await comparison.conflicts(world.folder, copy["path"]) == []
        (world.path / copy["path"]).unlink()
        await world.settle()
        assert await comparison.conflicts(world.folder, "") == []


async def test_a_path_says_what_both_sides_have_and_what_is_done(tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        world.write("a", b"base")
        await world.settle()
        world.write("a", b"mine")
        await world.foreign.put("a", b"theirs")
        said = await comparison.why(world.folder, str(world.path / "a"))
        assert (said["path"], said["here_is"], said["remote_is"]) == ("a", "changed", "changed")
        assert (said["do"], said["conflict"], said["delivered"]) == ("pull", True, True)
        (world.path / "link").symlink_to("/etc")
        said = await comparison.why(world.folder, "link")
        assert (said["do"], said["here_is"]) == ("leave", "no regular file, or one that cannot be read")
        said = await comparison.why(world.folder, "nobody/knows/it")
        assert (said["do"], said["here_is"], said["remote_is"]) == ("", "nothing", "nothing")


async def test_a_path_says_what_the_queue_keeps_of_it(tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        world.store.parks_writes = True
        world.write("a", b"new")
        world.write("ab", b"new")
        await world.rounds(1)
        await until(lambda: world.queue.states()["parked"] == 2)
        said = await comparison.why(world.folder, "a")
        assert said["delivered"] is False
        assert [(one["state"], one["code"]) for one in said["queue"]] == [("parked", "EntityTooLarge")]
