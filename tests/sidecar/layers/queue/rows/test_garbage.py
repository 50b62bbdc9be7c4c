"""Bodies end in one place, whatever let go of them, and no crash between leaves one behind (SEMANTICS D-2)."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from s3d.api import BytesBody
from s3d.layers.queue import garbage
from s3d.layers.queue.garbage import Garbage
from s3d.layers.queue.rows import changes, claims, transitions
from s3d.layers.queue.rows.changes import New
from s3d.layers.queue.rows.schema import SCHEMA
from s3d.layers.queue.rows.states import Op
from s3d.store.bodies import Bodies
from s3d.store.db import Database
from tests.queues import until

pytestmark = pytest.mark.semantics("D-2b")


@dataclass(slots=True)
class Stage:
    """A database and its bodies."""

    db: Database
    bodies: Bodies
    garbage: Garbage
    read: set[str]
    commits: list[int]
    """Writes in each."""

    async def put(self) -> str:
        """Queue a put whose body is a file; its id."""
        stored = await self.bodies.receive(BytesBody(b"x" * 20_000))
        new = New("b", "k", "", Op.PUT, 1.0, 1.0, {}, 20_000, "e", stored.id)
        await self.db.write(lambda db: changes.enqueue(db, new))
        assert stored.id is not None
        return stored.id

    def files(self) -> set[str]:
        """What is in the directory."""
        return {path.name for path in self.bodies.root.iterdir() if path.is_file()}


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    commits: list[int] = []
    count = lambda writes, *_: commits.append(writes)  # noqa: E731
    db = await asyncio.to_thread(Database.open, tmp_path / "queue.db", SCHEMA, count)
    bodies = await asyncio.to_thread(Bodies, tmp_path / "bodies")
    read: set[str] = set()
    yield Stage(db, bodies, Garbage(db, bodies, read.__contains__), read, commits)
    await bodies.close()
    await db.close()


@pytest.mark.parametrize("end", ["superseded", "delivered"])
async def test_a_body_goes_when_its_change_does(stage: Stage, end: str) -> None:
    old = await stage.put()
    await stage.garbage.collect()
    assert stage.files() == {old}
    if end == "superseded":
        new = {await stage.put()}
    else:
        await stage.db.write(lambda db: claims.claim(db, now=1.0, limit=1))
        await stage.db.write(lambda db: transitions.settle(db, 1))
        new = set()
    assert stage.files() == {old} | new
    await stage.garbage.collect()
    assert stage.files() == new
    assert stage.db.read("SELECT * FROM garbage") == []


async def test_a_body_that_is_gone_before_that_was_noted_is_no_error(stage: Stage) -> None:
    old = await stage.put()
    await stage.put()
    await stage.bodies.delete(old)
    await stage.garbage.collect()
    assert stage.db.read("SELECT * FROM garbage") == []


async def test_a_body_that_a_row_names_stays_whatever_a_damaged_row_said(stage: Stage) -> None:
    old = await stage.put()
    await stage.db.write(lambda db: db.execute("INSERT INTO garbage VALUES (?, '')", (old,)).fetchall())
    await stage.garbage.collect()
    assert stage.files() == {old}


async def test_a_part_that_is_being_read_stays_until_its_reader_is_done(stage: Stage) -> None:
    old = await stage.put()
    await stage.put()
    await stage.db.write(lambda db: db.execute("UPDATE garbage SET upload = 'u'").fetchall())
    stage.read.add("u")
    await stage.garbage.collect()
    assert old in stage.files()
    stage.read.clear()
    await stage.garbage.collect()
    assert old not in stage.files()


async def test_files_that_go_one_by_one_are_noted_together(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "POLL_INTERVAL", 1e9)
    stage.commits.clear()
    async with asyncio.TaskGroup() as tasks:
        watch = tasks.create_task(forever(stage.garbage))
        for _ in range(20):
            old = await stage.put()
            await stage.put()
            stage.garbage.wake()
            await until(lambda old=old: old not in stage.files())  # type: ignore[misc]
        watch.cancel()
    assert len(stage.commits) == 20 * 2


async def forever(some: Garbage) -> None:
    while True:
        await some.watch()
