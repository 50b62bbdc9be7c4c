"""What comes to a sync folder at the wrong time: descriptors that run out, moves that are half seen, refusals, an end,
a clock that is set, and a second gateway."""

import asyncio
import os
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from s3d.clock import Machine, tick
from s3d.errors import S3Error
from s3d.sync.root import Root
from s3d.sync.state import State
from s3d.sync.walk import Found, Walk
from tests.queues import until
from tests.sidecar.sync.folders import opened, synced


def descriptors() -> int:
    """The number that the next descriptor has."""
    fd = os.open("/", os.O_RDONLY)
    os.close(fd)
    return fd


@pytest.mark.semantics("S-2")
async def test_a_directory_for_which_no_descriptor_is_left_has_lost_nothing(tmp_path: Path) -> None:
    """The walk is not whole, and says so: what it did not see counts as it was."""
    deep = tmp_path / "folder" / "a" / "b" / "c"
    deep.mkdir(parents=True)
    (deep / "x").write_text("x")
    root = await asyncio.to_thread(Root, tmp_path / "folder")
    walk = Walk(root)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found: list[Found] = []

    def look(names: Iterator[Found]) -> None:
        found.append(next(names))
        # The next descriptor is one too many: nothing below `a` can be opened.
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors(), hard))
        try:
            found.extend(names)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    await asyncio.to_thread(look, walk.names())
    assert [one.path for one in found] == ["a"]
    assert not walk.is_whole
    await asyncio.to_thread(root.close)


@pytest.mark.semantics("S-1b")
async def test_what_was_sent_under_an_earlier_name_of_the_folder_is_taken_back_too(tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        world.write("a", b"base")
        await world.settle()
        world.store.away = True
        world.write("a", b"mine")
        await world.rounds()
        await world.foreign.put("a", b"theirs")
        world.store.away = False
        await until(lambda: world.queue.states()["parked"] == 1)
        world.folder.objects = replace(world.folder.objects, name="renamed")
        await world.settle()
        assert sorted(world.here().values()) == [b"mine", b"theirs"]


@pytest.mark.semantics("S-1b")
async def test_a_change_that_is_taken_back_is_compared_with_what_the_remote_has_now(tmp_path: Path) -> None:
    """The listing from before shows it as delivered. By that the version here would count as known to both sides, and
    the remote's would take its place."""
    async with synced(tmp_path) as world:
        world.write("a", b"base")
        await world.settle()
        world.store.refuses_writes = True
        world.write("a", b"mine")
        await world.rounds(1)
        await world.foreign.put("a", b"theirs")
        world.store.refuses_writes = False
        await until(lambda: world.queue.states()["parked"] == 1)
        await world.folder.round()
        await world.settle()
        assert sorted(world.here().values()) == [b"mine", b"theirs"]
        assert await world.foreign.there() == world.here()


@pytest.mark.semantics("S-5")
async def test_files_that_have_moved_are_not_deleted_before_they_are_read_under_their_new_names(tmp_path: Path) -> None:
    """A rename is a change of the file's own: it is at rest only a while later."""
    async with synced(tmp_path) as world:
        names = [f"{number:02}" for number in range(20)]
        for name in names:
            world.write(f"old/{name}", name.encode())
        await world.settle()
        before = await world.foreign.there()
        quick = world.folder.options
        world.folder.options = replace(quick, stable_for=3600.0)
        (world.path / "new").mkdir()
        for name in names:
            (world.path / "old" / name).rename(world.path / "new" / name)
        world.store.writes.clear()
        await world.rounds(2)
        assert world.folder.state is State.WORKING
        assert world.folder.unsent == len(names)
        await until(lambda: not world.queue.pending()["changes"])
        assert await world.foreign.there() == before
        world.folder.options = quick
        await world.settle()
        assert set(await world.foreign.there()) == {f"new/{name}" for name in names}


@pytest.mark.semantics("S-9")
async def test_an_end_sends_the_conflict_copies_that_it_makes(tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        world.write("a", b"base")
        await world.settle()
        world.write("a", b"mine")
        await world.foreign.put("a", b"theirs")
        world.folder.wake()
        await world.folder.finish(60.0)
        await until(lambda: not world.queue.pending()["changes"])
        assert sorted((await world.foreign.there()).values()) == [b"mine", b"theirs"]
        assert world.folder.unsent == 0


@pytest.mark.semantics("S-9")
async def test_an_end_that_has_no_time_counts_what_nobody_has_looked_at(tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        await world.settle()
        world.write("a", b"x")
        await world.folder.finish(0.0)
        assert world.folder.unsent == 1


@pytest.mark.semantics("S-9")
async def test_what_a_remote_that_refuses_its_listing_has_not_got_is_counted(tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        world.write("a", b"base")
        await world.settle()
        world.store.refuses_listing = "AccessDenied"
        world.write("a", b"mine")
        world.write("b", b"mine")
        await world.rounds(1)
        assert (world.folder.state, world.folder.unsent) == (State.WAITING, 2)


@pytest.mark.semantics("S-9")
async def test_a_file_that_is_being_written_is_counted_as_not_sent(tmp_path: Path) -> None:
    async with synced(tmp_path, stable_for=3600.0) as world:
        world.write("a", b"half of it")
        await world.rounds(1)
        assert world.folder.unsent == 1


@pytest.mark.semantics("S-3")
async def test_one_gateway_at_a_time_uses_a_folder(tmp_path: Path) -> None:
    """What the first one has in the stage would be rubbish for the second."""
    async with synced(tmp_path) as first:
        first.write("a", b"x")
        await first.settle()
        (tmp_path / "two").mkdir()
        (tmp_path / "two" / "folder").symlink_to(first.path)
        async with opened(tmp_path / "two", first.queue) as second:
            await second.folder.round()
            assert (second.folder.state, second.folder.reason) == (State.WAITING, "another s3d uses the folder")
            await first.folder.aclose()
            await second.settle()
            assert second.folder.state is State.QUIET


@pytest.mark.semantics("S-1a")
async def test_the_trash_is_kept_whatever_the_clock_of_the_day_says(tmp_path: Path) -> None:
    """A machine without a battery for its clock begins in 1970; then the time is set."""
    day = [1000.0]
    async with synced(tmp_path, machine=Machine(wall=lambda: day[0], tick=tick, boot=lambda: "one")) as world:
        await world.foreign.put("a", b"old")
        await world.foreign.put("b", b"stays")
        await world.settle()
        await world.foreign.delete("a")
        await world.settle()
        day[0] = 1.8e9
        await world.settle()
        await world.folder.aclose()
        await world.settle()
        assert world.trash() == [b"old"]
        assert world.folder.trash()[0]["at"] == pytest.approx(1.8e9, abs=600)


async def test_what_cannot_be_put_back_is_refused_and_what_nobody_knows_of_is_listed(tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        await world.foreign.put("d/a", b"old")
        await world.foreign.put("b", b"stays")
        await world.settle()
        await world.foreign.delete("d/a")
        await world.settle()
        (world.path / "d").symlink_to("/")
        one = world.folder.trash()[0]["id"]
        with pytest.raises(S3Error, match="cannot be put back"):
            await world.folder.restore(one)
        (world.path / ".s3d" / "trash" / one).unlink()
        (world.path / "d").unlink()
        with pytest.raises(S3Error, match="cannot be put back"):
            await world.folder.restore(one)
        (world.path / ".s3d" / "trash" / "fedcba9876543210").write_bytes(b"left by a crash")
        (world.path / ".s3d" / "trash" / "a directory").mkdir()
        await world.folder.aclose()
        await world.settle()
        assert [one["id"] for one in world.folder.trash()][-1] == "fedcba9876543210"
