"""What a sync folder has taken for known is no longer true: an upload was discarded, or one side was set back."""

import asyncio
import shutil
from pathlib import Path

import pytest

from s3d.feed import Why
from s3d.sync import memory
from s3d.sync.guards import Halt
from tests.callers import ask
from tests.queues import BUCKET, until
from tests.sidecar.sync.folders import World, synced


async def park(world: World, path: str, data: bytes) -> None:
    """Have the write queue take what the remote will never take."""
    world.store.parks_writes = True
    world.write(path, data)
    await world.rounds(1)
    await until(lambda: world.queue.states()["parked"] == 1)
    world.store.parks_writes = False


@pytest.mark.semantics("S-2b")
async def test_a_new_file_whose_upload_is_discarded_stays_and_is_sent_anew(tmp_path: Path) -> None:
    """The remote has never had it, so nobody has deleted it there."""
    async with synced(tmp_path) as world:
        world.write("b", b"stays")
        await world.settle()
        await park(world, "a", b"new")
        await world.rounds(1)
        await world.queue.discard("", "", None)
        await world.settle()
        assert world.here() == {"a": b"new", "b": b"stays"}
        assert await world.foreign.there() == world.here()


@pytest.mark.semantics("S-2b")
async def test_an_edit_whose_upload_is_discarded_is_kept_beside_what_the_remote_has(tmp_path: Path) -> None:
    """To compare it with what was there before would be to take the older version for the newer one."""
    async with synced(tmp_path) as world:
        world.write("a", b"base")
        await world.settle()
        await park(world, "a", b"mine")
        await world.folder.aclose()
        await world.queue.discard("", "", None)
        await world.settle()
        assert sorted(world.here().values()) == [b"base", b"mine"]
        assert world.trash() == []
        assert await world.foreign.there() == world.here()


@pytest.mark.semantics("S-2b")
async def test_what_was_delivered_between_two_listings_is_known_to_both_sides(tmp_path: Path) -> None:
    """Who has seen it at the remote and replaced it there makes no conflict."""
    async with synced(tmp_path) as world:
        world.write("a", b"base")
        await world.settle()
        following = world.queue.feed.follow()
        world.write("a", b"mine")
        await world.folder.round()
        told = {Why.ACKNOWLEDGED}
        while Why.DELIVERED not in told:
            news = await following.take()
            world.folder.hear(news)
            told |= {event.why for event in news.events}
        await world.foreign.put("a", b"theirs, who have seen mine")
        await world.settle()
        assert world.here() == {"a": b"theirs, who have seen mine"}
        assert world.trash() == [b"mine"]


@pytest.mark.semantics("S-2b")
async def test_what_was_fetched_from_the_remote_itself_is_known_to_both_sides(tmp_path: Path) -> None:
    """Nobody has changed it here: it needs no copy where the remote has moved on before the next listing."""
    async with synced(tmp_path) as world:
        for data in (b"one", b"two"):
            await world.foreign.put("a", data)
            await world.rounds(1)
        assert world.here() == {"a": b"two"}
        assert world.trash() == [b"one"]


@pytest.mark.semantics("S-2b")
async def test_what_was_fetched_from_the_write_queue_is_kept_where_the_remote_never_had_it(tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        await world.foreign.put("a", b"theirs")
        world.store.parks_writes = True
        await ask(world.queue, "PutObject", {"Bucket": BUCKET, "Key": "p/a"}, b"by the door")
        await until(lambda: world.queue.states()["parked"] == 1)
        await world.rounds(1)
        assert world.here() == {"a": b"by the door"}
        await world.queue.discard("", "", None)
        world.store.parks_writes = False
        await world.settle()
        assert sorted(world.here().values()) == [b"by the door", b"theirs"]


def copied(directory: Path, to: Path) -> None:
    """As a snapshot of a volume does."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(directory, to, symlinks=True)


@pytest.mark.semantics("S-2a")
async def test_a_folder_that_was_restored_from_a_snapshot_halts(tmp_path: Path) -> None:
    """Its files of days ago are no edits, and what it does not have yet is not deleted."""
    async with synced(tmp_path) as world:
        world.write("a", b"old")
        await world.settle()
        await asyncio.to_thread(copied, world.path, tmp_path / "snapshot")
        world.write("a", b"new")
        world.write("b", b"since then")
        await world.settle()
        before = await world.foreign.there()
        await world.folder.aclose()
        await asyncio.to_thread(copied, tmp_path / "snapshot", world.path)
        await world.rounds()
        assert world.folder.halt is Halt.FOLDER_ROLLED_BACK
        assert await world.foreign.there() == before
        await world.folder.resume(as_new=True, accepts=False)
        await world.settle()
        assert sorted(world.here().values()) == [b"new", b"old", b"since then"]
        assert await world.foreign.there() == world.here()


@pytest.mark.semantics("S-2a")
async def test_who_means_a_restored_folder_says_so_once(tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        world.write("a", b"old")
        await world.settle()
        await asyncio.to_thread(copied, world.path, tmp_path / "snapshot")
        world.write("a", b"new")
        await world.settle()
        await world.folder.aclose()
        await asyncio.to_thread(copied, tmp_path / "snapshot", world.path)
        await world.rounds()
        await world.folder.resume(as_new=False, accepts=True)
        await world.settle()
        assert await world.foreign.there() == {"a": b"old"}


@pytest.mark.semantics("S-2")
async def test_a_base_that_was_restored_deletes_nothing(tmp_path: Path) -> None:
    """It knows a file that was deleted on both sides since, and that somebody has made again."""
    async with synced(tmp_path) as world:
        world.write("a", b"made again")
        world.write("b", b"stays")
        await world.settle()
    (tmp_path / "older.db").write_bytes((tmp_path / memory.NAME).read_bytes())
    async with synced(tmp_path, world.store) as world:
        (world.path / "a").unlink()
        await world.settle()
    await world.foreign.put("a", b"made again")
    (tmp_path / "older.db").rename(tmp_path / memory.NAME)
    async with synced(tmp_path, world.store) as world:
        await world.settle()
        assert await world.foreign.there() == {"a": b"made again", "b": b"stays"}
        assert world.here() == {"a": b"made again", "b": b"stays"}


@pytest.mark.semantics("S-2a")
async def test_files_that_all_become_what_they_were_before_halt(tmp_path: Path) -> None:
    """Somebody has copied a backup over the folder, but not its marker."""
    async with synced(tmp_path) as world:
        names = [f"{number:02}" for number in range(12)]
        for text in (b"first", b"second"):
            for name in names:
                world.write(name, text + name.encode())
            await world.settle()
        for name in names:
            world.write(name, b"first" + name.encode())
        await world.rounds()
        assert world.folder.halt is Halt.FOLDER_ROLLED_BACK
        assert (await world.foreign.there())["00"] == b"second00"


@pytest.mark.semantics("S-1b")
async def test_a_refused_change_that_an_app_has_superseded_waits_for_nobody(tmp_path: Path) -> None:
    """It would count to the queue for ever. What was here is kept beside what the app wrote."""
    async with synced(tmp_path) as world:
        world.write("a", b"base")
        await world.settle()
        world.store.refuses_writes = True
        world.write("a", b"mine")
        await world.rounds(1)
        await world.foreign.put("a", b"theirs")
        world.store.refuses_writes = False
        await until(lambda: world.queue.states()["parked"] == 1)
        await ask(world.queue, "PutObject", {"Bucket": BUCKET, "Key": "p/a"}, b"by the door")
        await world.folder.round()
        await until(lambda: not world.queue.pending()["changes"])
        await world.settle()
        assert sorted(world.here().values()) == [b"by the door", b"mine"]
        assert await world.foreign.there() == world.here()


@pytest.mark.semantics("S-1b")
@pytest.mark.parametrize("is_lost", [True, False], ids=["lost", "kept"])
async def test_a_refused_change_of_a_folder_that_is_another_one_is_fetched(tmp_path: Path, is_lost: bool) -> None:
    """The write queue has the only bytes of it where the folder was lost."""
    async with synced(tmp_path) as world:
        world.write("a", b"base")
        world.write("b", b"stays")
        await world.settle()
        world.store.refuses_writes = True
        world.write("a", b"mine")
        await world.rounds(1)
        await world.foreign.put("a", b"theirs")
        world.store.refuses_writes = False
        await until(lambda: world.queue.states()["parked"] == 1)
        if is_lost:
            await world.folder.aclose()
            await asyncio.to_thread(shutil.rmtree, world.path)
            await asyncio.to_thread(world.path.mkdir)
            await world.folder.round()
            assert world.folder.halt is Halt.MARKER_MISSING
        await world.folder.resume(as_new=True, accepts=False)
        await world.settle()
        assert sorted(world.here().values()) == [b"mine", b"stays", b"theirs"]
        assert await world.foreign.there() == world.here()
        assert not world.queue.pending()["changes"]
