"""What look-ups keep for a second: never longer than it is so at this gateway."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from s3d.api import S3, Call, Reply
from s3d.client import Client
from s3d.layers.queue import Queue
from s3d.metrics import Metrics
from s3d.mount import looks
from s3d.mount.files import Files
from s3d.mount.looks import KEPT_SECONDS, Looks
from s3d.mount.moves import Moves
from s3d.mount.sessions import Sessions
from s3d.mount.stage import Stage
from s3d.mount.tree import ROOT, Tree
from s3d.mount.views import Directory, Entry, File, Views
from s3d.mount.xattrs import Xattrs
from s3d.settings import FuseMount
from tests.callers import ask
from tests.fakes.fake import Fake
from tests.queues import BUCKET, at_work, until

ALL = ["HeadObject", "ListObjectsV2"]
"""What a look asks."""


@dataclass
class Counted:
    """An S3, and how often it was asked."""

    inner: S3
    asked: list[str] = field(default_factory=list)
    before: dict[str, Callable[[], Awaitable[object]]] = field(default_factory=dict)

    async def __call__(self, call: Call) -> Reply:
        self.asked.append(call.operation)
        reply = await self.inner(call)
        if call.operation in self.before:
            await self.before.pop(call.operation)()
        return reply

    def taken(self) -> list[str]:
        """The HEADs and listings since the last time. What HEAD says is missing is asked for by a GET, too."""
        taken, self.asked = sorted(one for one in self.asked if one in ALL), []
        return taken


@dataclass
class Renaming:
    """A store that renames, as AWS S3 does in a directory bucket."""

    inner: Fake

    async def __call__(self, call: Call) -> Reply:
        if call.operation != "RenameObject":
            return await self.inner(call)
        old = str(call.params["RenameSource"])
        await ask(self.inner, "CopyObject", {"Bucket": call.bucket, "Key": call.key, "CopySource": old})
        await ask(self.inner, "DeleteObject", {"Bucket": call.bucket, "Key": old.removeprefix(f"{call.bucket}/")})
        return Reply(200)


@dataclass
class World:
    """A queue before a store, and the look-ups of a mount on it, by a clock that stands."""

    fake: Fake
    queue: Queue
    s3: Counted
    now: float
    views: Views
    looks: Looks

    async def put(self, key: str, data: bytes = b"1") -> None:
        await ask(self.queue, "PutObject", {"Bucket": BUCKET, "Key": key}, data)

    async def delivered(self, key: str, data: bytes = b"1") -> None:
        await self.put(key, data)
        await until(lambda: self.queue.object_status(BUCKET, key)["state"] == "delivered")

    async def put_there(self, key: str, data: bytes) -> None:
        """Put as somebody else, at the store."""
        await ask(self.fake, "PutObject", {"Bucket": BUCKET, "Key": key}, data)

    async def delete(self, key: str) -> None:
        await ask(self.queue, "DeleteObject", {"Bucket": BUCKET, "Key": key})

    async def look(self, key: str) -> Entry | None:
        return await self.looks.look(BUCKET, key)

    async def size(self, key: str) -> int:
        found = await self.look(key)
        assert isinstance(found, File)
        return found.size

    async def listed(self, prefix: str = "") -> list[str]:
        return [name async for name, _ in self.looks.entries(Directory(BUCKET, prefix))]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    fake = Fake()
    await ask(fake, "CreateBucket", {"Bucket": BUCKET})
    async with at_work(tmp_path, Renaming(fake)) as queue:
        s3 = Counted(queue)
        views = Views(Client(s3, "mount"))
        there = World(fake, queue, s3, 0.0, views, Looks(views, queue.feed, lambda: there.now))
        yield there


@pytest.mark.semantics("M-2")
async def test_a_path_is_asked_for_once_in_a_second(world: World) -> None:
    await world.put("f")
    assert [await world.size("f") for _ in range(3)] == [1, 1, 1]
    assert [await world.look("none") for _ in range(3)] == [None] * 3
    assert world.s3.taken() == sorted(ALL * 2)
    world.now += KEPT_SECONDS * 1.01
    assert await world.size("f") == 1
    assert world.s3.taken() == ALL


@pytest.mark.semantics("M-2")
async def test_what_the_gateway_has_acknowledged_shows_at_once(world: World) -> None:
    assert await world.look("f") is None
    await world.put("f", b"1")
    assert await world.size("f") == 1
    await world.put("f", b"12")
    assert await world.size("f") == 2
    await world.delete("f")
    assert await world.look("f") is None
    await world.put("f/below/it")
    assert await world.look("f") == Directory(BUCKET, "f/")
    await world.delete("f/below/it")
    assert await world.look("f") is None
    await world.put("f/")
    assert await world.look("f") == Directory(BUCKET, "f/")
    await world.put("other")
    world.s3.taken()
    assert await world.look("f") == Directory(BUCKET, "f/")
    assert world.s3.taken() == []


@pytest.mark.semantics("M-2", "R-13")
async def test_what_goes_through_shows_at_once_at_each_of_its_keys(world: World) -> None:
    for key in ("one", "two", "three"):
        await world.delivered(key)
        assert await world.size(key) == 1
    assert await world.look("new") is None
    renamed = {"Bucket": BUCKET, "Key": "new", "RenameSource": f"{BUCKET}/one"}
    await ask(world.queue, "RenameObject", renamed)
    assert (await world.look("one"), await world.size("new")) == (None, 1)
    objects = [{"Key": "two"}, {"Key": "three", "VersionId": "null"}]
    await ask(world.queue, "DeleteObjects", {"Bucket": BUCKET, "Delete": {"Objects": objects}})
    assert [await world.look(key) for key in ("two", "three")] == [None, None]


@pytest.mark.semantics("M-2")
async def test_what_changes_while_it_is_asked_for_is_not_kept(world: World) -> None:
    async def newer() -> None:
        await world.put("f", b"12")

    await world.put("f", b"1")
    world.s3.before["HeadObject"] = newer
    assert await world.size("f") == 1
    assert await world.size("f") == 2


@pytest.mark.semantics("M-2")
async def test_what_others_write_shows_when_the_second_is_over(world: World) -> None:
    await world.delivered("f")
    assert await world.size("f") == 1
    assert not world.looks.is_given_again(BUCKET, "f")
    await world.put_there("f", b"12")
    assert await world.size("f") == 1
    # Who opens it asks, since it may be another by now.
    assert world.looks.is_given_again(BUCKET, "f")
    found = await world.looks.ask(BUCKET, "f")
    assert isinstance(found, File)
    assert found.size == 2
    assert not world.looks.is_given_again(BUCKET, "f")
    await world.put_there("f", b"123")
    world.now += KEPT_SECONDS * 1.01
    assert await world.size("f") == 3


@pytest.mark.semantics("M-2")
async def test_a_file_that_is_written_all_the_time_is_opened_at_the_second_try(world: World, tmp_path: Path) -> None:
    """The kernel looks up a name once more, and no more than once."""
    pyfuse3 = pytest.importorskip("pyfuse3")
    kernel = await operations(world, tmp_path / "stage")
    top = (await kernel.lookup(ROOT, BUCKET.encode(), None)).st_ino

    async def looked_up() -> int:
        return int((await kernel.lookup(top, b"f", None)).st_ino)

    await world.delivered("f")
    old = await looked_up()
    assert await looked_up() == old
    await world.put_there("f", b"12")
    with pytest.raises(pyfuse3.FUSEError) as refused:
        await kernel.open(old, os.O_RDONLY, None)
    assert refused.value.errno == errno.ESTALE
    new = await looked_up()
    assert new != old
    await world.put_there("f", b"123")
    await kernel.open(new, os.O_RDONLY, None)


async def operations(world: World, directory: Path) -> Any:
    """What the kernel asks of a mount."""
    from s3d.mount.operations import Operations

    settings, client, tree = FuseMount(), Client(world.s3, "mount"), Tree(100)
    stage = await asyncio.to_thread(Stage, directory)
    sessions = Sessions(client, stage, settings.max_size, lambda: 1)
    files = Files(client, tree, sessions, 60)
    moves = Moves(client, world.views, world.looks, tree, files, sessions, 1)
    xattrs = Xattrs(client, world.views)
    return Operations(settings, world.views, tree, files, moves, world.looks, xattrs, stage, lambda: 1, Metrics())


@pytest.mark.semantics("M-2")
async def test_the_second_begins_with_the_question(world: World) -> None:
    """However long the answer takes, and the program that reads a directory."""

    async def slowly() -> None:
        world.now += KEPT_SECONDS * 0.9
        await world.put_there("f", b"12")
        await world.put_there("e/f", b"1")

    await world.delivered("f")
    await world.delivered("d/f")
    world.s3.before["HeadObject"] = slowly
    assert await world.size("f") == 1
    world.now += KEPT_SECONDS * 0.2
    assert await world.size("f") == 2
    await ask(world.fake, "DeleteObject", {"Bucket": BUCKET, "Key": "e/f"})
    world.s3.before["ListObjectsV2"] = slowly
    assert await world.listed() == ["d", "f"]
    await ask(world.fake, "DeleteObject", {"Bucket": BUCKET, "Key": "d/f"})
    assert await world.look("d") == Directory(BUCKET, "d/")
    world.now += KEPT_SECONDS * 0.2
    assert await world.look("e") == Directory(BUCKET, "e/")
    assert await world.look("d") is None


@pytest.mark.semantics("M-2")
async def test_what_a_directory_lists_shows_at_the_next_look(world: World) -> None:
    await world.delivered("f")
    await world.delivered("same")
    assert (await world.size("f"), await world.look("new"), await world.look("d")) == (1, None, None)
    assert await world.size("same") == 1
    for key in ("f", "new", "d/f"):
        await world.put_there(key, b"12")
    assert await world.listed() == ["d", "f", "new", "same"]
    world.s3.taken()
    assert (await world.size("f"), await world.size("new")) == (2, 2)
    assert await world.look("d") == Directory(BUCKET, "d/")
    assert world.s3.taken() == ["HeadObject"] * 2
    assert await world.size("same") == 1
    assert world.s3.taken() == []


@pytest.mark.semantics("M-2")
async def test_a_directory_that_was_read_says_which_of_its_names_are_directories(world: World) -> None:
    for key in ("a", "d/f", "d/e/g"):
        await world.put(key)
    assert await world.listed() == ["d", "a"]
    world.s3.taken()
    assert await world.size("a") == 1
    assert await world.look("d") == Directory(BUCKET, "d/")
    assert await world.look("none") is None
    assert world.s3.taken() == ["HeadObject"] * 2
    # A file that comes makes no directory here, and one further down may.
    await world.put("b")
    assert await world.size("b") == 1
    assert world.s3.taken() == ["HeadObject"]
    await world.put("b/c")
    assert await world.look("b") == Directory(BUCKET, "b/")
    assert world.s3.taken() == ALL
    await world.delete("d/f")
    await world.delete("d/e/g")
    assert await world.look("d") is None


@pytest.mark.semantics("M-2")
async def test_what_is_only_kept_here_is_known_from_no_question(world: World) -> None:
    world.views.keep(BUCKET, "empty/")
    assert await world.listed() == ["empty"]
    assert await world.look("empty") == await world.looks.ask(BUCKET, "empty") == Directory(BUCKET, "empty/")
    world.views.forget(BUCKET, "empty/")
    assert await world.look("empty") is None


async def test_of_listings_no_more_names_are_kept_than_the_bound_lets_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "MAX_NAMES", 3)
    for key in ("a/1/f", "a/2/f", "b/1/f", "b/2/f", "c/1/f", "c/2/f", "c/3/f", "c/4/f"):
        await world.put(key)

    async def asked(prefix: str) -> list[str]:
        """What a look below a directory asks."""
        world.s3.taken()
        await world.look(prefix + "none")
        return world.s3.taken()

    await world.listed("a/")
    assert await asked("a/") == ["HeadObject"]
    await world.listed("b/")
    assert await asked("b/") == ["HeadObject"]
    world.looks.forget(BUCKET, "a/none")
    assert await asked("a/") == ALL
    await world.listed("c/")
    assert await asked("c/") == ALL


async def test_without_a_feed_nothing_is_kept(world: World) -> None:
    without = Looks(world.views, None)
    for _ in range(2):
        assert await without.look(BUCKET, "f") is None
        assert world.s3.taken() == ALL


async def test_who_missed_events_asks_anew(world: World) -> None:
    await world.put("f")
    await world.look("f")
    await asyncio.gather(*(world.put(f"other{number % 50}") for number in range(4100)))
    world.s3.taken()
    assert await world.size("f") == 1
    assert world.s3.taken() == ALL
