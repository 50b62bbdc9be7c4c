"""Changes of tags among the other changes of their key, on the real tables."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from s3d.layers.queue.rows import changes, claims, late_writes, lookups, transitions
from s3d.layers.queue.rows.changes import New
from s3d.layers.queue.rows.schema import SCHEMA
from s3d.layers.queue.rows.states import Op, State
from s3d.protocol.headers import TAGGING
from s3d.store.db import Database

NOW = 1000.0


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    database = await asyncio.to_thread(Database.open, tmp_path / "queue.db", SCHEMA)
    yield database
    await database.close()


async def put(db: Database, tagging: str = "") -> None:
    members = {"x-amz-meta-a": "1"} | ({TAGGING: tagging} if tagging else {})
    await db.write(lambda c: changes.enqueue(c, New("b", "k", "", Op.PUT, NOW, NOW, members, 1, "e", None, b"x")))


async def retag(db: Database, tagging: str) -> bool:
    new = New("b", "k", "", Op.TAG, NOW, NOW, {TAGGING: tagging})
    return await db.write(lambda c: changes.retag(c, new))


async def claim(db: Database) -> list[changes.Change]:
    return await db.write(lambda c: claims.claim(c, now=NOW, limit=10))


async def put_back(db: Database, change: changes.Change, state: str) -> None:
    await db.write(lambda c: transitions.put_back(c, change, state=State(state), next_at=NOW, code="c", reason="r"))


def rows(db: Database) -> list[tuple[str, str, str | None]]:
    return [(change.op, change.state, change.members.get(TAGGING)) for change in lookups.of_key(db, "b", "k")]


def shown(db: Database) -> str | None:
    change = lookups.visible(db, "b", "k")
    assert change is not None
    return change.members.get(TAGGING)


@pytest.mark.semantics("Q-19")
@pytest.mark.parametrize("state", ["waiting", "held", "parked"])
async def test_tags_are_folded_into_a_put_that_is_not_under_way(db: Database, state: str) -> None:
    await put(db, "s3d.upload=false" if state == "held" else "old=1")
    if state == "parked":
        (change,) = await claim(db)
        await put_back(db, change, state)
    assert await retag(db, "a=b")
    # What a tag held before is released by one that says nothing of it.
    after = "waiting" if state == "held" else state
    assert rows(db) == [("put", after, "a=b")]
    assert await retag(db, "")
    assert rows(db) == [("put", after, None)]


@pytest.mark.semantics("Q-19", "Q-1")
@pytest.mark.parametrize("state", ["pushing", "in_doubt"])
async def test_tags_of_a_put_under_way_are_pushed_after_it(db: Database, state: str) -> None:
    await put(db, "old=1")
    (change,) = await claim(db)
    if state == "in_doubt":
        await put_back(db, change, state)
    assert await retag(db, "a=1")
    assert await retag(db, "a=2")
    assert rows(db) == [("put", state, "old=1"), ("tag", "waiting", "a=2")]
    assert shown(db) == "a=2"
    if state == "pushing":
        assert await claim(db) == []
    await db.write(lambda c: transitions.settle(c, change.seq))
    assert [(one.op, one.members) for one in await claim(db)] == [("tag", {TAGGING: "a=2"})]
    assert shown(db) == "a=2"


@pytest.mark.semantics("Q-19", "D-1")
@pytest.mark.parametrize("state", ["waiting", "parked"])
async def test_tags_become_part_of_a_put_that_comes_back(db: Database, state: str) -> None:
    await put(db)
    (change,) = await claim(db)
    assert await retag(db, "a=b")
    await put_back(db, change, state)
    assert rows(db) == [("put", state, "a=b")]


@pytest.mark.semantics("Q-19", "D-4")
async def test_tags_of_a_damaged_put_never_reach_an_older_object(db: Database) -> None:
    await put(db)
    (change,) = await claim(db)
    assert await retag(db, "a=b")
    await db.write(lambda c: transitions.quarantine(c, change.seq, "bad"))
    assert rows(db) == [("put", "quarantined", "a=b")]
    assert not await retag(db, "c=d")


@pytest.mark.semantics("Q-19", "Q-2")
async def test_a_newer_put_takes_the_place_of_tags_that_wait(db: Database) -> None:
    await put(db)
    (change,) = await claim(db)
    await retag(db, "a=b")
    await put(db, "c=d")
    assert rows(db) == [("put", "pushing", None), ("put", "waiting", "c=d")]
    await put_back(db, change, "waiting")
    assert rows(db) == [("put", "waiting", "c=d")]


@pytest.mark.semantics("Q-19")
async def test_tags_are_not_queued_without_a_pending_put(db: Database) -> None:
    assert not await retag(db, "a=b")
    await db.write(lambda c: changes.enqueue(c, New("b", "k", "", Op.DELETE, NOW, NOW)))
    assert not await retag(db, "a=b")


@pytest.mark.semantics("Q-19", "R-3")
async def test_tags_do_not_overtake_a_request_in_its_turn(db: Database) -> None:
    await put(db)
    await db.write(lambda c: changes.take_turn(c, bucket="b", key="k", identity="", now=NOW))
    assert not await retag(db, "a=b")
    assert rows(db) == [("put", "waiting", None)]


@pytest.mark.semantics("Q-19")
async def test_newer_tags_take_the_place_of_refused_ones(db: Database) -> None:
    await put(db)
    await claim(db)
    await retag(db, "a=b")
    await db.write(lambda c: transitions.settle(c, 1))
    (change,) = await claim(db)
    await put_back(db, change, "parked")
    assert rows(db) == [("tag", "parked", "a=b")]
    assert await retag(db, "c=d")
    assert rows(db) == [("tag", "waiting", "c=d")]
    assert shown(db) == "c=d"


@pytest.mark.semantics("Q-3", "Q-19")
async def test_a_put_that_is_kept_has_the_tags_that_were_pushed_after_it(db: Database) -> None:
    await put(db, "old=1")
    (change,) = await claim(db)
    await put_back(db, change, "in_doubt")
    await retag(db, "a=b")
    await db.write(lambda c: transitions.settle(c, change.seq, now=NOW, window=900.0))
    (tags,) = await claim(db)
    await put_back(db, tags, "in_doubt")
    await db.write(lambda c: transitions.settle(c, tags.seq, now=NOW, window=900.0))
    ((kept, late),) = late_writes.settled(db, 1e9, 10)
    assert (kept.seq, kept.members[TAGGING], late) == (change.seq, "a=b", ("e",))
    assert lookups.visible(db, "b", "k") is None
    await db.write(lambda c: late_writes.tag_settled(c, "b", "k", ""))
    ((kept, _),) = late_writes.settled(db, 1e9, 10)
    assert kept.members == {"x-amz-meta-a": "1"}


@pytest.mark.semantics("Q-3", "Q-19")
async def test_tags_are_not_folded_into_a_put_that_is_settled(db: Database) -> None:
    await put(db, "old=1")
    (change,) = await claim(db)
    await put_back(db, change, "in_doubt")
    await db.write(lambda c: transitions.settle(c, change.seq, now=NOW, window=900.0))
    assert not await retag(db, "a=b")
