"""What is done in the folder, cut off after each of its steps, and in the race with somebody who saves."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from multidict import CIMultiDict

from s3d.api import BytesBody
from s3d.client import Answer
from s3d.clock import MACHINE, Clock
from s3d.store.db import Database
from s3d.sync import memory
from s3d.sync.acts import Acts
from s3d.sync.memory import Act, Trashed
from s3d.sync.plan import Action, Do
from s3d.sync.root import Blocked, Root
from s3d.sync.steady import FileChanged, SteadyBody, open_steady
from s3d.sync.walk import Walk
from tests.sidecar.sync.folders import files_of
from tests.sidecar.sync.test_plan import content

off_loop = asyncio.to_thread
"""A call that blocks is a thread's."""


@dataclass
class Place:
    """A folder with one file, and its acts."""

    path: Path
    root: Root
    db: Database
    acts: Acts
    conflicts: list[str]

    def files(self) -> dict[str, bytes]:
        return files_of(self.path)

    def kept(self) -> set[bytes]:
        """All contents that are anywhere in the folder, or in s3d's own directory."""
        return {one.read_bytes() for one in self.path.rglob("*") if one.is_file() and one.name != "lock"}

    def trash(self) -> set[bytes]:
        return {one.read_bytes() for one in (self.path / ".s3d" / "trash").iterdir()}


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    path = tmp_path / "folder"
    await asyncio.to_thread(path.mkdir)
    root = await off_loop(Root, path)
    await off_loop(root.prepare)
    db = await asyncio.to_thread(Database.open, tmp_path / memory.NAME, memory.SCHEMA)
    conflicts: list[str] = []
    yield Place(path, root, db, Acts(root, db, Clock(MACHINE, "", 0.0), conflicts.append), conflicts)
    await db.close()
    await off_loop(root.close)


def answer(data: str) -> Answer:
    return Answer(200, CIMultiDict({"ETag": f'"{content(data).md5}"'}), body=BytesBody(data.encode()))


def pull(data: str, over: str = "") -> Action:
    return Action("a", Do.PULL, content(data).md5, content(over) if over else None, len(data))


def staged(root: Root, data: str) -> str:
    name, fd = root.draft()
    os.write(fd, data.encode())
    root.finish(name, fd)
    os.close(fd)
    return name


STEPS = ["draft", "begin", "swap", "away"]


@pytest.mark.semantics("S-3")
@pytest.mark.parametrize("last", STEPS)
@pytest.mark.parametrize("here", ["base", "edited", ""])
async def test_a_pull_that_is_cut_off_is_redone_or_undone(place: Place, last: str, here: str) -> None:
    """After each step the path has its old or its new content, and at the next start nothing of either is lost."""
    if here:
        (place.path / "a").write_text(here)
    name = await off_loop(staged, place.root, "new")
    act = Act(name, "a", content("new").md5, content("new"), content("base").sha256)
    steps: list[Callable[[], object]] = [
        lambda: place.root.swap(name, "a"),
        lambda: place.acts._put_away(act),
    ]
    if last != "draft":
        await place.db.write(memory.begin(act))
    for step in steps[: max(0, STEPS.index(last) - 1)]:
        await off_loop(step)
        assert place.files()["a"].decode() in (here, "new")
    await Acts(place.root, place.db, place.acts.clock, place.conflicts.append).recover()
    files = place.files()
    is_swapped = last in ("swap", "away")
    assert files.get("a", b"").decode() == ("new" if is_swapped else here)
    assert {b"edited", *files.values()} - {b"edited"} <= {b"base", b"new", b""}
    if here == "edited":
        assert b"edited" in files.values()
    if here == "base":
        assert is_swapped == (b"base" in place.trash())
    assert memory.acts(place.db) == []
    assert memory.has_base(place.db) is is_swapped
    assert await off_loop(place.root.staged) == []


@pytest.mark.semantics("S-3")
@pytest.mark.parametrize("here", ["base", "edited"])
@pytest.mark.parametrize("is_taken", [False, True])
async def test_a_drop_that_is_cut_off_is_redone_or_undone(place: Place, here: str, is_taken: bool) -> None:
    (place.path / "a").write_text(here)
    await place.db.write(memory.know("a", content("base").md5, content("base")))
    act = Act("0123456789abcdef", "a", "", None, content("base").sha256)
    await place.db.write(memory.begin(act))
    if is_taken:
        await off_loop(place.root.take_as, act.id, "a")
    await place.acts.recover()
    gone = is_taken and here == "base"
    assert place.files() == ({} if gone else {"a": here.encode()})
    assert place.trash() == ({b"base"} if gone else set())
    assert memory.has_base(place.db) is not gone


@pytest.mark.semantics("S-3")
async def test_a_draft_that_was_never_whole_is_deleted_and_anything_else_is_kept(place: Place) -> None:
    _, fd = await off_loop(place.root.draft)
    os.close(fd)
    await off_loop(staged, place.root, "whose is it?")
    await place.acts.recover()
    assert await off_loop(place.root.staged) == []
    assert place.trash() == {b"whose is it?"}


@pytest.mark.semantics("S-3")
async def test_what_was_saved_between_plan_and_pull_becomes_a_copy(place: Place) -> None:
    (place.path / "a").write_text("saved just now")
    await place.acts.pull(pull("new", over="base"), answer("new"))
    assert sorted(place.files().values()) == [b"new", b"saved just now"]
    assert place.conflicts == ["a"]


@pytest.mark.semantics("S-2")
async def test_what_was_saved_between_plan_and_drop_stays(place: Place) -> None:
    (place.path / "a").write_text("saved just now")
    assert not await place.acts.drop(Action("a", Do.DROP_HERE, "e", content("base")))
    assert place.files() == {"a": b"saved just now"}


@pytest.mark.semantics("S-4")
async def test_a_pull_of_what_is_here_writes_nothing(place: Place) -> None:
    (place.path / "a").write_text("same")
    before = (place.path / "a").stat().st_ino
    await place.acts.pull(pull("same"), answer("same"))
    assert (place.path / "a").stat().st_ino == before
    assert place.trash() == set()
    assert memory.has_base(place.db)


async def test_a_name_that_cannot_be_given_leaves_nothing_behind(place: Place) -> None:
    """Each round would leave another download, until the disk is full."""
    long = "n" * 300
    with pytest.raises(OSError, match="too long"):
        await place.acts.pull(Action(long, Do.PULL, content("new").md5, None, 3), answer("new"))
    with pytest.raises(OSError, match="too long"):
        await place.acts.drop(Action(long, Do.DROP_HERE, "e", content("base")))
    assert (place.kept(), memory.acts(place.db)) == (set(), [])


async def test_what_was_downloaded_runs_as_nobodys_but_its_user(place: Place) -> None:
    """It takes the place of a program that runs as its owner, and must not do so itself."""
    (place.path / "a").write_text("base")
    (place.path / "a").chmod(0o4755)
    await place.acts.pull(pull("new", over="base"), answer("new"))
    assert (place.path / "a").stat().st_mode & 0o7777 == 0o755


@pytest.mark.semantics("S-2")
@pytest.mark.parametrize(
    ("made", "is_gone"),
    [("nothing", True), ("file", False), ("link", False), ("file above", True), ("link above", False)],
)
async def test_a_name_is_gone_where_that_is_sure(place: Place, tmp_path: Path, made: str, is_gone: bool) -> None:
    """At the remote nothing is deleted by a name that only cannot be reached."""
    (tmp_path / "outside").mkdir()
    if "above" not in made:
        (place.path / "d").mkdir()
    name = place.path / "d" if "above" in made else place.path / "d" / "x"
    if made.startswith("file"):
        name.write_text("x")
    elif made.startswith("link"):
        name.symlink_to(tmp_path / "outside")
    assert await off_loop(place.root.is_gone, "d/x") is is_gone


async def test_a_download_that_ends_early_leaves_nothing(place: Place) -> None:
    class Short(BytesBody):
        @property
        def length(self) -> int:
            return len(self.data) + 1

    cut = Answer(200, CIMultiDict(), body=Short(b"half"))
    with pytest.raises(Exception, match="bytes instead of"):
        await place.acts.pull(pull("whole"), cut)
    # What a thread has begun, it ends.
    await off_loop(place.root.close)
    assert place.kept() == set()


@pytest.mark.semantics("S-7")
@pytest.mark.parametrize("kind", ["link", "directory", "parent"])
async def test_what_is_no_file_is_never_replaced(place: Place, tmp_path: Path, kind: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_text("outside")
    path = "a/x" if kind == "parent" else "a"
    if kind == "directory":
        (place.path / "a").mkdir()
    else:
        (place.path / "a").symlink_to(outside if kind == "parent" else outside / "x")
    with pytest.raises(Blocked):
        await place.acts.pull(Action(path, Do.PULL, content("new").md5, None, 3), answer("new"))
    with contextlib.suppress(Blocked):
        assert not await place.acts.drop(Action(path, Do.DROP_HERE, "e", content("outside")))
    assert {one.name: one.read_text() for one in outside.iterdir()} == {"x": "outside"}
    assert (place.path / "a").is_dir() if kind == "directory" else (place.path / "a").is_symlink()
    assert await off_loop(place.root.staged) == []


@pytest.mark.semantics("S-7")
async def test_a_walk_follows_no_link_and_tells_of_them(place: Place, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x").write_text("outside")
    (place.path / "d").symlink_to(tmp_path / "outside")
    (place.path / "f").symlink_to(tmp_path / "outside" / "x")
    os.mkfifo(place.path / "p")
    names = await off_loop(lambda: [*Walk(place.root).names()])
    assert [(one.path, one.kind) for one in names] == [(name, "opaque") for name in "dfp"]


async def test_a_walk_is_in_the_order_of_keys(place: Place) -> None:
    for name in ["a/b", "a-", "a0", "b/c/d", "b.x", "é", "z"]:
        (place.path / name).parent.mkdir(parents=True, exist_ok=True)
        (place.path / name).write_text("x")
    paths = await off_loop(lambda: [one.path for one in Walk(place.root).names()])
    assert paths == sorted(paths, key=str.encode)
    assert len(paths) == 10


async def send(body: SteadyBody, sent: list[bytes], path: Path) -> None:
    """Somebody writes the last byte after each block."""
    async for block in body.chunks():
        sent.append(block)
        with path.open("r+") as file:
            file.seek((3 << 20) - 1)
            file.write("y")


@pytest.mark.semantics("S-8")
async def test_a_file_that_is_written_to_while_it_is_sent_is_not_sent_in_whole(place: Place) -> None:
    """The last block is kept back until all of it is known to be what was planned."""
    data = "x" * (3 << 20)
    (place.path / "a").write_text(data)
    body = await open_steady(place.root, "a", content(data))
    sent: list[bytes] = []
    with pytest.raises(FileChanged):
        await send(body, sent, place.path / "a")
    assert sum(map(len, sent)) < len(data)
    await body.aclose()


@pytest.mark.semantics("S-8")
@pytest.mark.parametrize("now", ["short", "planned and more", "plannee", ""])
async def test_another_content_than_was_planned_is_not_sent(place: Place, now: str) -> None:
    (place.path / "a").write_text(now)
    body = await open_steady(place.root, "a", content("planned"))
    with pytest.raises(FileChanged):
        assert [block async for block in body.chunks()]
    await body.aclose()


async def test_time_and_mode_come_with_a_file(place: Place) -> None:
    said = answer("x")
    said.headers["x-amz-meta-mtime"] = "1700000000.123456789"
    said.headers["x-amz-meta-s3d-mode"] = "x"
    await place.acts.pull(pull("x"), said)
    found = (place.path / "a").stat()
    assert found.st_mtime_ns == 1700000000_123456789
    assert found.st_mode & 0o100


async def test_the_trash_is_emptied_by_age(place: Place) -> None:
    for name, at in (("old", 1.0), ("new", 3.0)):
        await place.acts.keep(name, answer(name))
        one = memory.trash(place.db)[-1]
        await place.db.write(memory.put_in_trash(Trashed(one.id, one.path, one.size, at)))
    await place.acts.empty_trash(2.0)
    assert place.trash() == {b"new"}
    assert [one.path for one in memory.trash(place.db)] == ["new"]


async def test_a_file_keeps_its_mode_when_its_content_is_replaced(place: Place) -> None:
    (place.path / "a").write_text("base")
    (place.path / "a").chmod(0o600)
    await place.acts.pull(pull("new", over="base"), answer("new"))
    assert (place.path / "a").stat().st_mode & 0o777 == 0o600


@pytest.mark.semantics("S-3")
async def test_a_stage_that_somebody_has_emptied_makes_nobody_believe_that_a_pull_is_done(place: Place) -> None:
    (place.path / "a").write_text("base")
    await place.db.write(memory.begin(Act("gone", "a", "etag", content("new"), content("base").sha256)))
    await place.acts.recover()
    assert place.files() == {"a": b"base"}
    assert not memory.has_base(place.db)
    assert memory.acts(place.db) == []
