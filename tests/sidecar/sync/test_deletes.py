"""What a delete does on the other side: as a person chose, and for what nobody has changed lately."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from s3d.layers.judge import Judge
from s3d.sync.deletes import Deletes
from s3d.sync.guards import Halt
from s3d.sync.plan import SPARED, TOO_OLD
from s3d.sync.state import State
from tests.callers import ask
from tests.fakes.fake import Fake
from tests.queues import BUCKET
from tests.sidecar.sync.folders import PREFIX, Store, World, synced

DAY = 86400.0


def left(world: World) -> dict[str, str]:
    return {one["path"]: one["reason"] for one in world.folder.left_alone()}


async def old_store(ages: list[float]) -> Store:
    """A store whose objects are of an age, in seconds, when they are written."""
    store = Store(Judge(Fake(lambda: time.time() - ages[0])))
    await ask(store.s3, "CreateBucket", {"Bucket": BUCKET})
    return store


def age(world: World, *paths: str) -> None:
    """Make files a week old."""
    at = time.time() - 7 * DAY
    for path in paths:
        os.utime(world.path / path, (at, at))


@pytest.mark.semantics("S-5a")
async def test_an_ignored_delete_does_nothing_on_the_other_side_then_or_later(tmp_path: Path) -> None:
    async with synced(tmp_path, deletes=Deletes.IGNORE) as world:
        for path in ("here", "there", "both", "moved", "edited"):
            world.write(path, path.encode())
        await world.settle()
        for path in ("here", "both", "edited"):
            (world.path / path).unlink()
        (world.path / "moved").rename(world.path / "new name")
        await world.foreign.delete("there")
        await world.foreign.delete("both")
        await world.foreign.put("edited", b"changed")
        await world.settle()
        here = {"there": b"there", "new name": b"moved", "edited": b"changed"}
        there = {"here": b"here", "new name": b"moved", "edited": b"changed"}
        assert (world.here(), await world.foreign.there()) == (here, there)
        assert left(world) == dict.fromkeys(("here", "there"), SPARED)
    async with synced(tmp_path, world.store) as world:
        await world.settle()
        assert (world.here(), await world.foreign.there()) == (here, there)
        # The same content under another name is no rename of what was spared.
        world.write("again", b"here")
        await world.settle()
        assert left(world) == dict.fromkeys(("here", "there"), SPARED)
        # What both sides have again is deleted as any other.
        world.write("here", b"here")
        await world.settle()
        assert left(world) == {"there": SPARED}
        (world.path / "here").unlink()
        await world.settle()
        assert sorted(await world.foreign.there()) == ["again", "edited", "new name"]


@pytest.mark.semantics("S-5a")
async def test_an_object_is_deleted_when_its_version_is_in_the_trash_of_the_remote(tmp_path: Path) -> None:
    gone = "d/gone \u00e4+"
    async with synced(tmp_path, deletes=Deletes.TRASH) as world:
        for path in (gone, "moved", "stays"):
            world.write(path, path.encode())
        await world.settle()
        (world.path / gone).unlink()
        (world.path / "moved").rename(world.path / "new name")
        world.store.away = True
        await world.rounds()
        assert world.folder.unsent
        world.store.away = False
        world.store.writes.clear()
        await world.settle()
        kept = f".s3d-trash/{hashlib.md5(gone.encode()).hexdigest()}/{gone}"
        assert world.here() == {"new name": b"moved", "stays": b"stays"}
        assert await world.foreign.there() == {**world.here(), kept: gone.encode()}
        asked = [operation for operation, key in world.store.writes if key in (PREFIX + kept, PREFIX + gone)]
        assert asked.index("CopyObject") < asked.index("DeleteObject")
        assert left(world) == {}, "the trash is no part of the folder"
        world.write(".s3d-trash/mine", b"1")
        await world.settle()
        assert left(world) == {".s3d-trash/mine": ".s3d-trash belongs to s3d"}


@pytest.mark.semantics("S-5a")
async def test_nothing_is_deleted_of_which_the_remote_makes_no_copy(tmp_path: Path) -> None:
    async with synced(tmp_path, deletes=Deletes.TRASH) as world:
        world.write("a", b"1")
        world.write("b", b"2")
        await world.settle()
        world.store.refuses_copies = True
        (world.path / "a").unlink()
        await world.rounds()
        assert sorted(await world.foreign.there()) == ["a", "b"]
        assert world.folder.state is State.WAITING
        assert "no copies" in left(world)["a"]


@pytest.mark.semantics("S-4c")
async def test_what_nobody_has_changed_lately_is_left_alone(tmp_path: Path) -> None:
    async with synced(tmp_path, await old_store([7 * DAY])) as world:
        for path in ("edited", "deleted", "gone there", "same"):
            world.write(path, path.encode())
        age(world, *world.here())
        await world.settle()
    async with synced(tmp_path, world.store, max_age=DAY) as world:
        assert await world.foreign.there() == world.here()
        world.write("old", b"old")
        age(world, "old")
        world.write("young", b"young")
        await world.foreign.put("old there", b"old there")
        (world.path / "deleted").unlink()
        await world.foreign.delete("gone there")
        world.write("edited", b"edited anew")
        await world.settle()
        both = {"edited": b"edited anew", "same": b"same", "young": b"young"}
        assert world.here() == both | {"gone there": b"gone there", "old": b"old"}
        assert await world.foreign.there() == both | {"deleted": b"deleted", "old there": b"old there"}
        assert left(world) == dict.fromkeys(("deleted", "gone there", "old", "old there"), TOO_OLD)
        assert world.folder.conflicts == 0


@pytest.mark.semantics("S-4c")
async def test_old_files_do_not_hide_that_the_folder_was_emptied(tmp_path: Path) -> None:
    ages = [7 * DAY]
    async with synced(tmp_path, await old_store(ages), max_age=DAY) as world:
        world.write("a", b"a")
        world.write("b", b"b")
        await world.settle()
        age(world, "a", "b")
        ages[0] = 0.0
        world.write("c", b"c")
        await world.settle()
        for path in "abc":
            (world.path / path).unlink()
        await world.rounds()
        assert (world.folder.state, world.folder.halt) == (State.HALTED, Halt.FOLDER_EMPTY)
        assert sorted(await world.foreign.there()) == ["a", "b", "c"]
