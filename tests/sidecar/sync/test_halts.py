"""A folder halts, or waits, with the reason that the table of docs/SYNC.md names, and nothing is deleted meanwhile. The
sides that are emptied or set back are in test_folder.py and test_setbacks.py."""

from pathlib import Path

import pytest

from s3d.layers.judge import Judge
from s3d.sync.guards import Halt
from s3d.sync.state import State
from tests.callers import ask
from tests.fakes.fake import Fake
from tests.queues import BUCKET, until
from tests.sidecar.sync.folders import Foreign, Store, World, synced

FILES = {f"{number:02}": b"base of %d" % number for number in range(30)}


async def filled(world: World) -> None:
    for name, data in FILES.items():
        world.write(name, data)
    await world.settle()


@pytest.mark.semantics("S-2a")
@pytest.mark.parametrize("other", [{"prefix": "q/"}, {"bucket": "other"}, {"endpoint": "http://other.test"}], ids=str)
async def test_a_folder_that_is_given_another_remote_halts_and_deletes_nothing(
    tmp_path: Path, other: dict[str, str]
) -> None:
    """There is nothing there: by the base, all of it was deleted."""
    async with synced(tmp_path) as world:
        await filled(world)
    store = world.store
    if "endpoint" in other:
        store = Store(Judge(Fake()))
        await ask(store.s3, "CreateBucket", {"Bucket": BUCKET})
    await ask(store.s3, "CreateBucket", {"Bucket": "other"})
    async with synced(tmp_path, store, None, **other) as world:
        await world.rounds()
        assert (world.folder.halt, world.here()) == (Halt.OTHER_REMOTE, FILES)
        await world.folder.resume(as_new=True, accepts=False)
        await world.settle()
        assert (world.here(), world.trash()) == (FILES, [])
        listed = [one.path async for page in world.folder.objects.pages() for one in page.objects]
        assert listed == [*FILES]


@pytest.mark.semantics("S-2a")
async def test_a_volume_of_another_folder_halts_and_deletes_nothing(tmp_path: Path) -> None:
    """It is mounted in place of ours, with files of its own; when ours is back, nothing has happened."""
    (tmp_path / "other").mkdir()
    async with synced(tmp_path / "other", prefix="q/") as other:
        other.write("theirs", b"theirs")
        await other.settle()
    async with synced(tmp_path) as world:
        await filled(world)
        world.path.rename(tmp_path / "ours")
        other.path.rename(world.path)
        await world.rounds()
        assert world.folder.halt is Halt.OTHER_FOLDER
        assert world.here() == {"theirs": b"theirs"}
        world.path.rename(other.path)
        (tmp_path / "ours").rename(world.path)
        await world.settle()
        assert world.here() == await world.foreign.there() == FILES


@pytest.mark.semantics("S-5")
@pytest.mark.parametrize("side", ["here", "there"])
async def test_a_mass_delete_halts_until_a_person_says_that_it_is_meant(tmp_path: Path, side: str) -> None:
    async with synced(tmp_path) as world:
        await filled(world)
        for name in list(FILES)[:20]:
            if side == "here":
                (world.path / name).unlink()
            else:
                await world.foreign.delete(name)
        await world.rounds()
        assert world.folder.halt is Halt.MASS_DELETE
        await until(lambda: not world.queue.pending()["changes"])
        assert (await world.foreign.there() if side == "here" else world.here()) == FILES
        await world.folder.resume(as_new=False, accepts=True)
        await world.settle()
        assert world.here() == await world.foreign.there()
        assert sorted(world.here()) == list(FILES)[20:]


@pytest.mark.semantics("S-2")
async def test_a_page_that_a_memory_shows_is_no_knowledge_of_absence(tmp_path: Path) -> None:
    """The folder waits; what is new here is sent by what both sides had."""
    async with synced(tmp_path) as world:
        await filled(world)
        memory = Judge(Fake())
        await ask(memory, "CreateBucket", {"Bucket": BUCKET})
        await Foreign(memory).put("00", FILES["00"])
        world.store.remembers = memory
        world.write("new", b"new")
        await world.rounds()
        assert (world.folder.state, world.folder.reason) == (State.WAITING, "the remote's listing is a remembered one")
        await until(lambda: not world.queue.pending()["changes"])
        assert world.here() == await world.foreign.there() == FILES | {"new": b"new"}
