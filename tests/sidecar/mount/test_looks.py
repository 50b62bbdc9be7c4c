"""What look-ups keep for a second: never longer than it is so at this gateway."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from s3d.api import S3, Call, Reply
from s3d.client import Client
from s3d.layers.queue import Queue
from s3d.mount.looks import KEPT_SECONDS, Looks
from s3d.mount.views import Directory, Entry, File, Views
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
    before: dict[str, Callable[[], object]] = field(default_factory=dict)

    async def __call__(self, call: Call) -> Reply:
        self.asked.append(call.operation)
        reply = await self.inner(call)
        if call.operation in self.before:
            await self.before.pop(call.operation)()  # type: ignore[misc]
        return reply

    def taken(self) -> list[str]:
        """The HEADs and listings since the last time. What HEAD says is missing is asked for by a GET, too."""
        taken, self.asked = sorted(one for one in self.asked if one in ALL), []
        return taken


@dataclass
class World:
    """A queue before a store, and the look-ups of a mount on it, by a clock that stands."""

    fake: Fake
    queue: Queue
    s3: Counted
    now: float
    looks: Looks

    async def put(self, key: str, data: bytes = b"1") -> None:
        await ask(self.queue, "PutObject", {"Bucket": BUCKET, "Key": key}, data)

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
    async with at_work(tmp_path, fake) as queue:
        s3 = Counted(queue)
        looks = Looks(Views(Client(s3, "mount")), queue.feed, lambda: there.now)
        there = World(fake, queue, s3, 0.0, looks)
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
    await world.put("f", b"1")
    await until(lambda: world.queue.object_status(BUCKET, "f")["state"] == "delivered")
    file = await world.look("f")
    assert isinstance(file, File)
    assert not world.looks.is_given_again(file)
    await ask(world.fake, "PutObject", {"Bucket": BUCKET, "Key": "f"}, b"12")
    assert await world.size("f") == 1
    # Who opens it asks, since it may be another by now.
    assert world.looks.is_given_again(file)
    found = await world.looks.ask(BUCKET, "f")
    assert isinstance(found, File)
    assert found.size == 2
    assert not world.looks.is_given_again(file)
    await ask(world.fake, "PutObject", {"Bucket": BUCKET, "Key": "f"}, b"123")
    world.now += KEPT_SECONDS * 1.01
    assert await world.size("f") == 3


@pytest.mark.semantics("M-2")
async def test_a_directory_that_was_read_says_which_of_its_names_are_directories(world: World) -> None:
    for key in ("a", "d/f", "d/e/g"):
        await world.put(key)
    assert await world.listed() == ["d", "a"]
    world.s3.taken()
    assert await world.look("a") == await world.looks.ask(BUCKET, "a", is_directory=False)
    assert await world.look("d") == Directory(BUCKET, "d/")
    assert await world.look("none") is None
    assert world.s3.taken() == ["HeadObject"] * 3
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
async def test_what_is_only_kept_here_is_known_from_no_listing(world: World) -> None:
    views = Views(Client(world.s3, "mount"))
    looks = Looks(views, world.queue.feed)
    views.keep(BUCKET, "empty/")
    assert [name async for name, _ in looks.entries(Directory(BUCKET, ""))] == ["empty"]
    assert await looks.look(BUCKET, "empty") == Directory(BUCKET, "empty/")
    views.forget(BUCKET, "empty/")
    assert await looks.look(BUCKET, "empty") is None


async def test_without_a_feed_nothing_is_kept(world: World) -> None:
    looks = Looks(Views(Client(world.s3, "mount")), None)
    for _ in range(2):
        assert await looks.look(BUCKET, "f") is None
        assert world.s3.taken() == ALL


async def test_who_missed_events_asks_anew(world: World) -> None:
    await world.put("f")
    await world.look("f")
    await asyncio.gather(*(world.put(f"other{number % 50}") for number in range(4100)))
    world.s3.taken()
    assert await world.size("f") == 1
    assert world.s3.taken() == ALL
