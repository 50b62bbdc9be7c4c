"""A renamed file: no byte of it is sent twice, and a move of which one half is made is none of a delete."""

from pathlib import Path

import pytest
from prometheus_client import generate_latest

from s3d.sync.doing import Doing
from s3d.sync.guards import Limits
from s3d.sync.memory import row
from s3d.sync.plan import Do
from s3d.sync.state import State
from tests.callers import ask
from tests.queues import BUCKET
from tests.sidecar.sync.folders import PREFIX, World, synced

FILES = 30


async def make(world: World) -> None:
    """A directory that both sides have, and the remote was seen to have."""
    for number in range(FILES):
        world.write(f"old/{number}.txt", b"content %d" % number)
    await world.settle()
    world.store.writes.clear()


def doing_of(world: World) -> Doing:
    root, acts = world.folder.place.root, world.folder.place.acts
    assert root
    assert acts
    return world.folder.doing(root, acts)


@pytest.mark.semantics("S-5b")
async def test_a_renamed_directory_is_copied_by_the_remote(tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        await make(world)
        (world.path / "old").rename(world.path / "new")
        (world.path / "new/0.txt").rename(world.path / "new/0.html")
        (world.path / "new/0.html").chmod(0o755)
        await world.settle()
        assert await world.foreign.there() == world.here()
        assert {path.split("/")[0] for path in world.here()} == {"new"}
        assert "PutObject" not in {operation for operation, _ in world.store.writes}
        head = await ask(world.store.s3, "HeadObject", {"Bucket": BUCKET, "Key": f"{PREFIX}new/0.html"})
        assert (head.headers["Content-Type"], head.headers["x-amz-meta-s3d-mode"]) == ("text/html", "x")
        shown = generate_latest(world.folder._metrics.registry).decode()
        assert f's3d_sync_copied_bytes_total{{folder="docs"}} {float(sum(map(len, world.here().values())))}' in shown
        known = row(world.db, "new/1.txt").base
        assert known
        assert known.etag == known.content.md5


@pytest.mark.semantics("S-5b")
@pytest.mark.parametrize("why", ["refuses", "away"])
async def test_what_the_remote_does_not_copy_is_sent(why: str, tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        await make(world)
        world.store.refuses_copies = why == "refuses"
        world.store.away = why == "away"
        (world.path / "old").rename(world.path / "new")
        await world.rounds(1)
        world.store.away = False
        await world.settle()
        assert await world.foreign.there() == world.here()
        assert {path.split("/")[0] for path in world.here()} == {"new"}
        assert [operation for operation, _ in world.store.writes].count("PutObject") >= FILES


@pytest.mark.semantics("S-5b")
async def test_a_copy_never_takes_the_place_of_what_others_write(tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        await make(world)
        (world.path / "old/0.txt").rename(world.path / "new.txt")
        (world.path / "old/1.txt").rename(world.path / "newer.txt")
        seen = await world.folder._see()
        assert seen
        await world.foreign.put("new.txt", b"theirs")
        await world.foreign.put("old/1.txt", b"theirs, too")
        await doing_of(world).do(seen.actions)
        await world.settle()
        here = world.here()
        assert await world.foreign.there() == here
        assert {b"theirs", b"theirs, too", b"content 0", b"content 1"} <= set(here.values())


@pytest.mark.semantics("S-5b")
@pytest.mark.parametrize("side", ["here", "there"])
async def test_a_crash_in_the_middle_of_a_move_halts_nothing_and_loses_nothing(side: str, tmp_path: Path) -> None:
    """The process ends when all new names are made, and no old one is dropped."""
    limits = Limits(share=0.1, count=3)
    async with synced(tmp_path, limits=limits) as world:
        await make(world)
        before = world.here()
        if side == "here":
            (world.path / "old").rename(world.path / "new")
        else:
            for path, data in before.items():
                await world.foreign.put(path.replace("old", "new"), data)
                await world.foreign.delete(path)
        world.folder._listed_at = float("-inf")
        seen = await world.folder._see()
        assert seen
        doing = doing_of(world)
        made = [one for one in seen.actions if one.do in (Do.PUSH, Do.PULL)]
        assert len(made) == FILES
        assert len((await doing.do(made)).done) == FILES
    async with synced(tmp_path, world.store, limits=limits) as world:
        await world.settle()
        assert world.folder.state is State.QUIET
        assert world.here() == await world.foreign.there()
        assert world.here() == {path.replace("old", "new"): data for path, data in before.items()}
