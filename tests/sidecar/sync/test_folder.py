"""A sync folder with real files, the queue and a store: both ways, conflicts, halts, links, and an away remote."""

import asyncio
import os
import resource
import shutil
from pathlib import Path

import pytest

from s3d.background import for_ever
from s3d.filters.grammar import parse
from s3d.layers.judge import Judge
from s3d.metrics import Metrics
from s3d.sync.guards import Halt, Limits
from s3d.sync.scope import scope
from s3d.sync.state import State
from s3d.sync.watch import Watch
from tests.callers import ask
from tests.fakes import listings
from tests.fakes.fake import Fake
from tests.queues import BUCKET, at_work, until
from tests.sidecar.sync.folders import PREFIX, Store, opened, synced


@pytest.mark.semantics("S-4")
async def test_both_sides_become_equal_and_a_second_run_does_nothing(tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        world.write("a.txt", b"from here")
        await world.foreign.put("d/b", b"from there")
        await world.settle()
        both = {"a.txt": b"from here", "d/b": b"from there"}
        assert world.here() == both
        assert await world.foreign.there() == both
        world.store.writes.clear()
        await world.settle()
        assert world.store.writes == []
        assert world.folder.status()["files"] == 2


async def test_edits_and_deletes_go_both_ways(tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        for name in "abcde":
            world.write(name, f"old {name}".encode())
        await world.settle()
        world.write("a", b"new a")
        (world.path / "b").unlink()
        await world.foreign.put("c", b"new c")
        await world.foreign.delete("d")
        await world.settle()
        left = {"a": b"new a", "c": b"new c", "e": b"old e"}
        assert world.here() == left
        assert await world.foreign.there() == left


@pytest.mark.semantics("S-1a")
@pytest.mark.semantics("S-1")
async def test_what_a_pull_replaces_or_deletes_is_in_the_trash(tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        for name in "abc":
            world.write(name, f"old {name}".encode())
        await world.settle()
        await world.foreign.put("a", b"new a")
        await world.foreign.delete("b")
        await world.settle()
        assert world.trash() == [b"old a", b"old b"]
        assert sorted(one["path"] for one in world.folder.trash()) == ["a", "b"]


@pytest.mark.semantics("S-1")
async def test_of_a_conflict_both_versions_are_on_both_sides(tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        world.write("a.txt", b"base")
        await world.settle()
        world.write("a.txt", b"mine")
        await world.foreign.put("a.txt", b"theirs")
        await world.settle()
        here = world.here()
        assert here.pop("a.txt") == b"theirs"
        assert list(here.values()) == [b"mine"]
        assert next(iter(here)).startswith("a (conflict ")
        assert await world.foreign.there() == world.here()


@pytest.mark.semantics("S-1b")
@pytest.mark.semantics("S-1")
async def test_an_edit_that_was_queued_while_the_remote_was_away_loses_nobodys_work(tmp_path: Path) -> None:
    """The remote is found changed at the push: the change is taken back, and both versions stay."""
    async with synced(tmp_path) as world:
        world.write("a", b"base")
        world.write("b", b"stays")
        await world.settle()
        world.store.away = True
        world.write("a", b"mine")
        await world.rounds()
        assert world.folder.state is State.WAITING
        assert world.queue.pending()["changes"] == 1
        await world.foreign.put("a", b"theirs")
        world.store.away = False
        await until(lambda: world.queue.states()["parked"] == 1)
        await world.settle()
        assert sorted(world.here().values()) == [b"mine", b"stays", b"theirs"]
        assert await world.foreign.there() == world.here()


@pytest.mark.semantics("S-2")
async def test_a_delete_does_not_take_what_was_changed_meanwhile(tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        for name in "abc":
            world.write(name, b"base")
        await world.settle()
        (world.path / "a").unlink()
        await world.foreign.put("a", b"theirs")
        world.write("b", b"mine")
        await world.foreign.delete("b")
        await world.settle()
        assert world.here() == {"a": b"theirs", "b": b"mine", "c": b"base"}
        assert await world.foreign.there() == world.here()


@pytest.mark.semantics("S-2a")
@pytest.mark.semantics("S-2")
@pytest.mark.parametrize("what", ["emptied", "no marker", "replaced", "gone"])
async def test_a_folder_that_is_not_what_it_was_halts_and_deletes_nothing(tmp_path: Path, what: str) -> None:
    async with synced(tmp_path) as world:
        for name in "abc":
            world.write(name, b"base")
        await world.settle()
        before = await world.foreign.there()
        if what == "no marker":
            (world.path / ".s3d" / "folder.json").unlink()
        elif what == "emptied":
            for name in "abc":
                (world.path / name).unlink()
        else:
            world.path.rename(tmp_path / "unmounted")
            if what == "replaced":
                world.path.mkdir()
        await world.rounds()
        expected = {"emptied": Halt.FOLDER_EMPTY, "no marker": Halt.MARKER_MISSING, "replaced": Halt.MARKER_MISSING}
        assert world.folder.halt == expected.get(what)
        assert world.folder.state is (State.WAITING if what == "gone" else State.HALTED)
        await until(lambda: not world.queue.pending()["changes"])
        assert await world.foreign.there() == before
        if what in ("replaced", "gone"):
            shutil.rmtree(world.path, ignore_errors=True)
            (tmp_path / "unmounted").rename(world.path)
            await world.settle()
            assert world.here() == before


@pytest.mark.semantics("S-2")
async def test_a_person_says_what_was_meant(tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        for name in "abc":
            world.write(name, b"base")
        await world.settle()
        for name in "abc":
            (world.path / name).unlink()
        await world.rounds(1)
        assert world.folder.state is State.HALTED
        await world.folder.resume(as_new=True, accepts=False)
        await world.settle()
        assert len(world.here()) == 3
        for name in "abc":
            (world.path / name).unlink()
        await world.folder.resume(as_new=False, accepts=True)
        await world.settle()
        assert await world.foreign.there() == {}


@pytest.mark.semantics("S-2")
@pytest.mark.parametrize("pages", [0, 1])
async def test_a_listing_that_fails_or_breaks_off_deletes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pages: int
) -> None:
    monkeypatch.setattr(listings, "MOST", 50)
    async with synced(tmp_path) as world:
        for number in range(60 if pages else 3):
            await world.foreign.put(f"{number:04}", b"base")
        await world.settle()
        before = world.here()
        world.store.pages, world.store.refuses_from, world.store.refuses_listing = 0, pages, "AccessDenied"
        await world.rounds()
        assert world.folder.state is State.WAITING
        assert world.here() == before
        assert world.store.pages > pages


@pytest.mark.semantics("S-2a")
@pytest.mark.semantics("S-2")
async def test_an_emptied_or_rolled_back_remote_halts(tmp_path: Path) -> None:
    async with synced(tmp_path, limits=Limits(share=0.0)) as world:
        names = [f"{number:02}" for number in range(12)]
        for name in names:
            await world.foreign.put(name, b"first " + name.encode())
        await world.settle()
        for name in names:
            await world.foreign.put(name, b"second " + name.encode())
        await world.settle()
        before = world.here()
        for name in names:
            await world.foreign.put(name, b"first " + name.encode())
        await world.rounds()
        reasons = [world.folder.halt]
        for name in names:
            await world.foreign.delete(name)
        await world.rounds()
        assert [*reasons, world.folder.halt] == [Halt.REMOTE_ROLLED_BACK, Halt.REMOTE_EMPTY]
        assert world.here() == before


@pytest.mark.semantics("S-5")
async def test_a_renamed_directory_is_no_mass_delete(tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        for number in range(30):
            world.write(f"old/{number}", b"%d" % number)
        await world.settle()
        (world.path / "old").rename(world.path / "new")
        await world.settle()
        assert await world.foreign.there() == world.here()
        assert set(world.here()) == {f"new/{number}" for number in range(30)}


@pytest.mark.semantics("S-7")
async def test_a_link_in_the_place_of_a_directory_is_not_followed(tmp_path: Path) -> None:
    """Neither is what is behind it sent, nor is anything written there, nor does the remote lose what was below."""
    async with synced(tmp_path) as world:
        world.write("d/a", b"inside")
        world.write("b", b"stays")
        await world.settle()
        outside = tmp_path / "outside"
        (world.path / "d").rename(outside)
        (outside / "secret").write_bytes(b"outside")
        (world.path / "d").symlink_to(outside)
        await world.foreign.put("d/a", b"changed there")
        await world.foreign.put("d/new", b"made there")
        await world.rounds()
        assert {one.name: one.read_bytes() for one in outside.iterdir()} == {"a": b"inside", "secret": b"outside"}
        assert await world.foreign.there() == {"d/a": b"changed there", "d/new": b"made there", "b": b"stays"}


@pytest.mark.semantics("S-6")
async def test_names_that_cannot_be_on_both_sides_are_told_and_left_alone(tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        strange = ["../up", "x//y", "./z", "n" * 300]
        for name in strange:
            await world.foreign.put(name, b"there")
        (world.path / os.fsdecode(b"\xff")).write_bytes(b"here")
        await world.rounds()
        assert sorted(one["path"] for one in world.folder.left_alone()) == sorted([*strange, "\\xff"])
        assert list(await world.foreign.there()) == sorted(strange)
        assert not (tmp_path / "up").exists()


@pytest.mark.semantics("S-9")
async def test_a_paused_folder_counts_what_it_does_not_send(tmp_path: Path) -> None:
    """Also when the daemon ends, and without a question to the remote."""
    async with synced(tmp_path) as world:
        world.write("a", b"base")
        await world.settle()
        await world.folder.pause()
        world.write("a", b"mine")
        world.write("b", b"mine")
        world.store.pages = 0
        await world.rounds(1)
        assert (world.folder.state, world.folder.unsent) == (State.PAUSED, 2)
        world.folder.unsent = 0
        await world.folder.finish(60.0)
        assert (world.folder.unsent, world.store.pages) == (2, 0)
        assert await world.foreign.there() == {"a": b"base"}


@pytest.mark.semantics("S-9")
async def test_an_end_counts_a_folder_that_nobody_could_look_at(tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        world.write("a", b"base")
        await world.settle()
        world.path.rename(tmp_path / "elsewhere")
        await world.folder.finish(60.0)
        assert (world.folder.state, world.folder.unsent) == (State.WAITING, 1)


@pytest.mark.semantics("S-4", "S-4a")
@pytest.mark.parametrize(
    "out", [f"!{BUCKET}/{PREFIX}out/*", f"!{BUCKET}/*[hdr:content-length>=8]", f"!{BUCKET}/{PREFIX}out/*[tag:x]"]
)
async def test_what_the_filter_leaves_out_is_neither_sent_nor_fetched_nor_deleted_on_either_side(
    out: str, tmp_path: Path
) -> None:
    filtered = scope(BUCKET, PREFIX, parse(f"*, {out}"), 0)
    store = Store(Judge(Fake()))
    await ask(store.s3, "CreateBucket", {"Bucket": BUCKET})
    (tmp_path / "folder").mkdir()
    async with at_work(tmp_path / "local", store) as queue:
        async with opened(tmp_path, queue) as world:
            for path, data in {
                "in/a": b"1",
                **dict.fromkeys(("out/both", "out/here", "out/there"), b"left out"),
            }.items():
                world.write(path, data)
            await world.settle()
        # A start with another filter: of what it leaves out each side is as others make it.
        async with opened(tmp_path, queue, leaves_out=filtered) as world:
            world.store = store
            world.write("in/b", b"2")
            world.write("out/new here", b"left out")
            (world.path / "out/there").unlink()
            await world.foreign.put("out/new there", b"left out")
            await world.foreign.delete("out/here")
            await world.settle()
            assert sorted(world.here()) == ["in/a", "in/b", "out/both", "out/here", "out/new here"]
            assert sorted(await world.foreign.there()) == ["in/a", "in/b", "out/both", "out/new there", "out/there"]
            reasons = {one["reason"] for one in world.folder.left_alone() if one["path"].startswith("out/")}
            assert reasons == {"the filter leaves it out"}


async def test_a_paused_folder_does_nothing(tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        await world.folder.pause()
        world.write("a", b"x")
        await world.rounds()
        assert (world.folder.state, await world.foreign.there()) == (State.PAUSED, {})
        await world.folder.resume(as_new=False, accepts=False)
        await world.settle()
        assert await world.foreign.there() == {"a": b"x"}


async def test_what_changes_here_is_sent_without_listing_the_remote_anew(tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        await world.settle()
        world.store.pages = 0
        world.write("a", b"x")
        await world.folder.round()
        world.write("a", b"xy")
        await world.folder.round()
        (world.path / "a").unlink()
        world.write("b", b"z")
        await world.folder.round()
        await until(lambda: not world.queue.pending()["changes"])
        assert (await world.foreign.there(), world.store.pages) == ({"b": b"z"}, 0)
        await world.settle()
        assert world.store.pages > 0


async def test_a_change_in_the_folder_wakes_it_and_so_does_one_by_the_door(tmp_path: Path) -> None:
    """The next look at both sides would be in an hour."""
    async with synced(tmp_path, poll=3600.0) as world, asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(for_ever("the folder", world.folder.look, Metrics())),
            tasks.create_task(world.folder.watch()),
            tasks.create_task(world.folder.follow(world.queue.feed.follow())),
        ]
        await until(lambda: world.folder.status()["state"] == "quiet" and world.folder.status()["watches"])
        world.write("new/directory/a", b"x")
        await until(lambda: world.folder.status()["files"] == 1)
        world.write("new/directory/b", b"y")
        await until(lambda: world.folder.status()["files"] == 2)
        await ask(world.queue, "PutObject", {"Bucket": BUCKET, "Key": "p/c"}, b"by the door")
        await until(lambda: world.here().get("c") == b"by the door")
        for task in running:
            task.cancel()


async def test_without_watches_it_says_so_and_looks_at_the_folder_all_the_same(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        watch = Watch(lambda: None)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert watch.reason
    await watch.run()
    watch.cover(0)
