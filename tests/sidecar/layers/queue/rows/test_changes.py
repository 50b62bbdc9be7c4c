"""The states of a change and the order of a key's changes, on the real tables."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from s3d.layers.queue.rows import changes, claims, garbage, lookups, transitions
from s3d.layers.queue.rows.changes import Change, New
from s3d.layers.queue.rows.schema import SCHEMA
from s3d.layers.queue.rows.states import Op, State
from s3d.store.db import Database

NOW = 1000.0


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    database = await asyncio.to_thread(Database.open, tmp_path / "queue.db", SCHEMA)
    yield database
    await database.close()


async def put(db: Database, key: str, *, op: str = "put", size: int = 1, file: str | None = None) -> int:
    inline = None if file else b"x"
    new = New("b", key, "", Op(op), NOW, NOW, {"x-amz-meta-a": "1"}, size, "e", file, inline)
    return await db.write(lambda c: changes.enqueue(c, new))


async def claim(db: Database, limit: int = 10, now: float = NOW) -> list[Change]:
    return await db.write(lambda c: claims.claim(c, now=now, limit=limit))


async def turn(db: Database, key: str) -> int:
    return await db.write(lambda c: changes.take_turn(c, bucket="b", key=key, identity="", now=NOW))


async def put_back(db: Database, change: Change, state: str, next_at: float = NOW) -> None:
    await db.write(lambda c: transitions.put_back(c, change, state=State(state), next_at=next_at, code="c", reason="r"))


def states(db: Database, key: str = "k") -> list[tuple[int, str]]:
    return [(change.seq, change.state) for change in lookups.of_key(db, "b", key)]


@pytest.mark.semantics("Q-2")
async def test_a_newer_put_supersedes_one_that_has_not_started(db: Database) -> None:
    await put(db, "k", file="old")
    assert await put(db, "k") == 2
    assert garbage.found(db) == [("old", "")]
    assert states(db) == [(2, "waiting")]


@pytest.mark.semantics("Q-2")
@pytest.mark.parametrize("state", ["pushing", "in_doubt"])
async def test_a_put_never_supersedes_one_that_is_under_way(db: Database, state: str) -> None:
    await put(db, "k")
    (change,) = await claim(db)
    if state == "in_doubt":
        await put_back(db, change, "in_doubt", next_at=changes.NEVER)
    await put(db, "k")
    assert states(db) == [(1, state), (2, "waiting")]


@pytest.mark.semantics("Q-1")
async def test_a_key_has_one_attempt_at_a_time_and_keys_go_side_by_side(db: Database) -> None:
    await put(db, "k")
    assert [change.seq for change in await claim(db)] == [1]
    await put(db, "k")
    await put(db, "other")
    assert [change.seq for change in await claim(db)] == [3]
    await db.write(lambda c: transitions.settle(c, 1))
    assert [change.seq for change in await claim(db)] == [2]


@pytest.mark.semantics("Q-3")
async def test_what_was_pushing_at_a_crash_is_unknown_and_goes_first(db: Database) -> None:
    await put(db, "k")
    await claim(db)
    await put(db, "k")
    await db.write(transitions.recover)
    assert states(db) == [(1, "in_doubt"), (2, "waiting")]
    assert [(change.seq, change.state) for change in await claim(db)] == [(1, "in_doubt")]
    assert await claim(db) == []


@pytest.mark.semantics("Q-3")
async def test_a_refusal_for_now_ends_an_unknown_claim(db: Database) -> None:
    await put(db, "k")
    await claim(db)
    await db.write(transitions.recover)
    (change,) = await claim(db)
    await put_back(db, change, "waiting")
    assert states(db) == [(1, "waiting")]


async def test_a_retry_waits_for_its_time(db: Database) -> None:
    await put(db, "k")
    (change,) = await claim(db)
    await put_back(db, change, "waiting", next_at=NOW + 5)
    assert await claim(db) == []
    assert claims.next_due(db.read) == NOW + 5
    assert [(again.seq, again.attempts) for again in await claim(db, now=NOW + 5)] == [(1, 1)]


@pytest.mark.semantics("Q-2")
async def test_a_refused_attempt_gives_way_to_the_newer_put_that_came_meanwhile(db: Database) -> None:
    await put(db, "k", file="old")
    (change,) = await claim(db)
    await put(db, "k")
    await put_back(db, change, "waiting")
    assert states(db) == [(2, "waiting")]
    assert garbage.found(db) == [("old", "")]


@pytest.mark.semantics("Q-9")
async def test_a_parked_change_keeps_its_bytes_and_answers_until_a_newer_put(db: Database) -> None:
    await put(db, "k", file="body")
    (change,) = await claim(db)
    await put_back(db, change, "parked")
    visible = lookups.visible(db, "b", "k")
    assert visible is not None
    assert (visible.seq, visible.file) == (1, "body")
    await put(db, "k", op="delete")
    visible = lookups.visible(db, "b", "k")
    assert visible is not None
    assert visible.op == "delete"
    assert states(db) == [(1, "superseded"), (2, "waiting")]
    assert lookups.files_known(db, ["body", "other"]) == {"body"}


async def test_a_change_is_not_superseded_before_a_turn_that_was_promised_to_see_it(db: Database) -> None:
    await put(db, "k")
    await turn(db, "k")
    await put(db, "k")
    assert [change.seq for change in await claim(db)] == [1]


async def test_a_turn_comes_in_its_order_and_nothing_overtakes_it(db: Database) -> None:
    await put(db, "k")
    seq = await turn(db, "k")
    assert not await db.write(lambda c: changes.start_turn(c, seq))
    await claim(db)
    assert not await db.write(lambda c: changes.start_turn(c, seq))
    await put(db, "k")
    await db.write(lambda c: transitions.settle(c, 1))
    assert await claim(db) == []
    assert await db.write(lambda c: changes.start_turn(c, seq))
    assert await claim(db) == []
    await db.write(lambda c: changes.end_turn(c, seq))
    assert [change.seq for change in await claim(db)] == [3]


@pytest.mark.semantics("Q-9")
@pytest.mark.parametrize("state", ["parked", "quarantined"])
async def test_a_turn_does_not_start_behind_what_waits_for_a_person(db: Database, state: str) -> None:
    await put(db, "k")
    (change,) = await claim(db)
    await put_back(db, change, state)
    seq = await turn(db, "k")
    assert not await db.write(lambda c: changes.start_turn(c, seq))


async def test_a_turn_does_not_survive_its_process(db: Database) -> None:
    await turn(db, "k")
    seq = await turn(db, "other")
    await db.write(lambda c: changes.start_turn(c, seq))
    await db.write(transitions.recover)
    assert lookups.obstacle(db, "b", None, 10) is None
    assert sum(count for count, _ in lookups.tally(db).values()) == 0
    await put(db, "other")
    assert [change.key for change in await claim(db)] == ["other"]


@pytest.mark.semantics("Q-13")
async def test_the_tally_is_what_the_rows_say(db: Database) -> None:
    for number in range(6):
        await put(db, f"k{number}", size=10 + number)
    taken = await claim(db, limit=4)
    for change, state in zip(taken, ["waiting", "in_doubt", "parked", "quarantined"], strict=True):
        await put_back(db, change, state)
    await put(db, "k4", size=100)
    await turn(db, "k5")
    counted = db.read("SELECT state, count(*), sum(size) FROM change WHERE op <> 'through' GROUP BY state")
    assert {state: (count, size) for state, (count, size) in lookups.tally(db).items() if count} == {
        state: (count, size) for state, count, size in counted
    }


@pytest.mark.semantics("D-4", "D-4a")
async def test_a_quarantined_change_hides_what_is_older(db: Database) -> None:
    await put(db, "k")
    await db.write(lambda c: transitions.quarantine(c, 1, "bad"))
    visible = lookups.visible(db, "b", "k")
    assert visible is not None
    assert visible.state == "quarantined"
    assert await claim(db) == []


async def test_every_unfinished_row_of_a_key_is_an_obstacle_to_a_barrier(db: Database) -> None:
    await put(db, "k")
    await put(db, "other")
    ahead = {key: lookups.obstacle(db, "b", key, 2) for key in ("k", "other", "none", None)}
    assert {key: change and change.key for key, change in ahead.items()} == {
        "k": "k",
        "other": "other",
        "none": None,
        None: "k",
    }
    assert lookups.obstacle(db, "b", "other", 1) is None


@pytest.mark.semantics("R-3")
async def test_a_barrier_waits_for_what_took_the_place_of_what_it_waits_for(db: Database) -> None:
    await put(db, "k")
    await put(db, "other")
    await put(db, "k")
    await put(db, "k", op="delete")
    await put(db, "late")
    for key in ("k", None):
        waits_for = lookups.obstacle(db, "b", key, 1)
        assert waits_for is not None
        assert (waits_for.seq, waits_for.op) == (4, "delete")
    assert lookups.obstacle(db, "b", "late", 1) is None
    await claim(db)
    await db.write(lambda c: transitions.settle(c, 4))
    assert lookups.obstacle(db, "b", None, 1) is None


async def test_seqs_are_never_given_twice(db: Database) -> None:
    seqs = []
    for key, _ in itertools.product(["k"], range(3)):
        seqs.append(await put(db, key))
        await claim(db)
        await db.write(lambda c: transitions.settle(c, seqs[-1]))
    assert seqs == [1, 2, 3]
    assert lookups.newest(db) == 3


@pytest.mark.parametrize("waiting", [10, 500])
async def test_a_lane_is_found_by_a_seek_however_much_waits_in_it(db: Database, waiting: int) -> None:
    steps: list[int] = []

    def look(connection: apsw.Connection) -> list[tuple[str, str]]:
        for number in range(waiting):
            changes.enqueue(connection, New("b", f"k{number}", "", Op.PUT, NOW, NOW, size=1, inline=b"x"))

        def step() -> bool:
            steps.append(1)
            return False

        connection.set_progress_handler(step, 1)
        try:
            return list(claims.lanes(claims.rows_of(connection)))
        finally:
            connection.set_progress_handler(None)

    assert await db.write(look) == [("b", "")]
    assert len(steps) < 300


async def put_upon(db: Database, base: str | None, etag: str) -> None:
    new = New("b", "k", "", Op.PUT, NOW, NOW, {}, 1, etag, inline=b"x", base=base)
    await db.write(lambda c: changes.enqueue(c, new))


def base(db: Database) -> str | None:
    return lookups.of_key(db, "b", "k")[-1].base


@pytest.mark.semantics("Q-18")
async def test_a_change_is_made_upon_what_was_seen_or_what_the_one_before_it_leaves_at_the_remote(db: Database) -> None:
    await put_upon(db, None, "never looked")
    assert base(db) is None
    await put_upon(db, "seen", "1")
    assert base(db) == "seen"
    await put_upon(db, None, "2")
    assert base(db) == "seen"
    (change,) = await claim(db)
    await put_upon(db, "seen", "3")
    await db.write(lambda c: transitions.settle(c, change.seq, shown="2"))
    assert base(db) == "2"
    await turn(db, "k")
    await put_upon(db, "2", "4")
    (change,) = await claim(db)
    await db.write(lambda c: transitions.settle(c, change.seq))
    seq = change.seq + 1
    await db.write(lambda c: changes.start_turn(c, seq))
    await db.write(lambda c: changes.end_turn(c, seq, made=changes.ANY))
    assert base(db) == changes.ANY


@pytest.mark.semantics("Q-3", "Q-18")
async def test_what_an_attempt_of_ours_may_have_left_is_known_to_be_ours(db: Database) -> None:
    await put_upon(db, "seen", "1")
    (change,) = await claim(db)
    await put_back(db, change, "in_doubt", next_at=NOW)
    await put_upon(db, "seen", "2")
    (change,) = await claim(db)
    await db.write(lambda c: transitions.settle(c, change.seq, now=NOW, window=900.0))
    newest = lookups.of_key(db, "b", "k")[-1]
    assert (newest.base, transitions.made_by_us(db, newest)) == ("1", frozenset(["1"]))
