"""What is kept of a key after an attempt that may still arrive, on the real tables (SEMANTICS Q-3)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from s3d.layers.queue.rows import changes, claims, garbage, late_writes, lookups, transitions
from s3d.layers.queue.rows.changes import Change, New
from s3d.layers.queue.rows.schema import SCHEMA
from s3d.layers.queue.rows.states import Op, State
from s3d.store.db import Database

NOW = 1000.0
WINDOW = 900.0

pytestmark = pytest.mark.semantics("Q-3")


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    database = await asyncio.to_thread(Database.open, tmp_path / "queue.db", SCHEMA)
    yield database
    await database.close()


async def put(db: Database, etag: str, *, op: str = "put", file: str | None = None) -> int:
    new = New("b", "k", "", Op(op), NOW, NOW, {}, 1, etag, file, None if file else b"x")
    return await db.write(lambda c: changes.enqueue(c, new))


async def claim(db: Database) -> Change:
    (change,) = await db.write(lambda c: claims.claim(c, now=NOW, limit=10))
    return change


async def put_back(db: Database, change: Change, state: str) -> None:
    await db.write(lambda c: transitions.put_back(c, change, state=State(state), next_at=NOW, code="", reason=""))


async def settle(db: Database, seq: int, now: float = NOW) -> list[str]:
    """The files that are to be deleted then."""
    await db.write(lambda c: transitions.settle(c, seq, now=now, window=WINDOW))
    return [file for file, _ in garbage.found(db)]


def kept(db: Database) -> list[tuple[int, tuple[str, ...]]]:
    return [(change.seq, late) for change, late in late_writes.settled(db, 1e9, 10)]


async def attempt_unanswered(db: Database) -> Change:
    """An attempt that stays unanswered."""
    change = await claim(db)
    await put_back(db, change, "in_doubt")
    return change


async def test_a_change_that_was_answered_at_once_is_not_kept(db: Database) -> None:
    await put(db, "e1", file="f1")
    assert await settle(db, (await claim(db)).seq) == ["f1"]
    assert kept(db) == []


async def test_a_change_that_went_unanswered_is_kept_and_is_not_pending(db: Database) -> None:
    await put(db, "e1", file="f1")
    await attempt_unanswered(db)
    assert await settle(db, (await claim(db)).seq) == []
    assert kept(db) == [(1, ("e1",))]
    assert lookups.visible(db, "b", "k") is None
    assert lookups.obstacle(db, "b", "k", 100) is None
    assert lookups.listed(db, "b", "", None, 10) == []
    assert lookups.bucket_tally(db, "b") == (0, 0)
    assert sum(count for count, _ in lookups.tally(db).values()) == 0
    assert lookups.files_known(db, ["f1"]) == {"f1"}


async def test_only_the_newest_settled_body_is_kept_with_all_that_may_arrive(db: Database) -> None:
    await put(db, "e1", file="f1")
    await attempt_unanswered(db)
    await put(db, "e2", file="f2")
    await settle(db, (await claim(db)).seq)
    assert await settle(db, (await claim(db)).seq) == ["f1"]
    assert kept(db) == [(2, ("e1",))]


async def test_what_may_arrive_is_forgotten_after_the_window(db: Database) -> None:
    await put(db, "e1", file="f1")
    await attempt_unanswered(db)
    assert await settle(db, (await claim(db)).seq, now=NOW + WINDOW + 1) == ["f1"]
    assert kept(db) == []


async def test_a_change_that_gave_way_to_a_newer_one_leaves_it_what_may_arrive(db: Database) -> None:
    await put(db, "e1")
    await attempt_unanswered(db)
    change = await claim(db)
    await put(db, "e2")
    await put_back(db, change, "waiting")
    await settle(db, (await claim(db)).seq)
    assert kept(db) == [(2, ("e1",))]


@pytest.mark.parametrize("state", ["waiting", "parked"])
async def test_a_superseded_change_leaves_what_may_arrive(db: Database, state: str) -> None:
    await put(db, "e1")
    await attempt_unanswered(db)
    await put_back(db, await claim(db), state)
    await put(db, "", op="delete")
    await settle(db, (await claim(db)).seq)
    assert kept(db) == [(2, ("e1",))]


async def test_what_was_pushing_at_a_crash_may_still_arrive(db: Database) -> None:
    await put(db, "e1")
    await claim(db)
    await db.write(transitions.recover)
    await settle(db, (await claim(db)).seq)
    assert kept(db) == [(1, ("e1",))]


@pytest.mark.parametrize("crash", [True, False])
async def test_a_lost_turn_is_remembered_at_its_key(db: Database, crash: bool) -> None:
    seq = await db.write(lambda c: changes.take_turn(c, bucket="b", key="k", identity="", now=NOW))
    await db.write(lambda c: changes.start_turn(c, seq))
    if crash:
        await db.write(transitions.recover)
    else:
        await db.write(lambda c: changes.lose_turn(c, seq, etag=changes.ANY, now=NOW))
    await put(db, "e2")
    assert await settle(db, (await claim(db)).seq) == []
    assert kept(db) == [(2, (changes.ANY,))]


async def test_a_kept_change_is_pushed_again_unless_a_newer_one_has_taken_the_key(db: Database) -> None:
    await put(db, "e1")
    await attempt_unanswered(db)
    await settle(db, (await claim(db)).seq)
    (change, _), *_ = late_writes.settled(db, NOW, 10)
    await put(db, "e2")
    assert not await db.write(lambda c: late_writes.push_again(c, change, NOW))
    assert await settle(db, (await claim(db)).seq) == []
    ((change, _),) = late_writes.settled(db, NOW, 10)
    assert await db.write(lambda c: late_writes.push_again(c, change, NOW))
    assert lookups.tally(db)["waiting"] == (1, 1)
    assert (await claim(db)).etag == "e2"


async def test_what_has_replaced_the_key_lets_the_body_go_and_not_what_may_arrive(db: Database) -> None:
    await put(db, "e1", file="f1")
    await attempt_unanswered(db)
    await settle(db, (await claim(db)).seq)
    turn = await db.write(lambda c: changes.take_turn(c, bucket="b", key="k", identity="", now=NOW))
    await db.write(lambda c: late_writes.drop_kept(c, turn))
    await db.write(lambda c: changes.end_turn(c, turn, made="theirs"))
    assert garbage.found(db) == [("f1", "")]
    await put(db, "e2")
    await settle(db, (await claim(db)).seq)
    assert kept(db) == [(3, ("e1",))]


@pytest.mark.semantics("Q-3", "D-4")
async def test_a_settled_change_whose_body_turns_out_to_be_bad_answers_no_read(db: Database) -> None:
    """A read found it while it was on its way, and the delivery was confirmed before that could be noted."""
    await put(db, "e1", file="f1")
    await attempt_unanswered(db)
    await settle(db, (await claim(db)).seq)
    await db.write(lambda c: transitions.quarantine(c, 1, "bad"))
    assert lookups.visible(db, "b", "k") is None
    assert kept(db) == [(1, ("e1",))]
