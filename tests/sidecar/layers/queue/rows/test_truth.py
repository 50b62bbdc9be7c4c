"""Which change of a key is the truth, on the real tables: whatever stands between two changes, and in whatever order.

The table is asked after each step whether something is kept back that has a newer acknowledged change of its key.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import apsw
import pytest

from s3d.layers.queue.rows import changes, claims, garbage, holds, lookups, transitions, uploads
from s3d.layers.queue.rows.changes import ANY, Change, New
from s3d.layers.queue.rows.schema import SCHEMA
from s3d.layers.queue.rows.states import Op, State, UploadState
from s3d.protocol.headers import TAGGING
from s3d.store.db import Database
from tests.onion import BROKEN

NOW = 1000.0
HOLD = {TAGGING: "s3d.upload=false"}


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    database = await asyncio.to_thread(Database.open, tmp_path / "queue.db", SCHEMA)
    yield database
    await database.close()


async def write(
    db: Database, op: str = "put", *, ordered: bool = False, file: str | None = None, **members: str
) -> int:
    headers = HOLD if members.pop("hold", "") else {}
    inline = None if file or op == "delete" else b"x"
    new = New("b", "k", "", Op(op), NOW, NOW, {**headers, **members}, 1, "e", file, inline, ordered=ordered)
    return await db.write(lambda c: changes.enqueue(c, new))


async def claim(db: Database) -> Change:
    (change,) = await db.write(lambda c: claims.claim(c, now=NOW, limit=1))
    return change


async def put_back(db: Database, change: Change, state: str, code: str = "c") -> None:
    await db.write(lambda c: transitions.put_back(c, change, state=State(state), next_at=NOW, code=code, reason="r"))


async def park(db: Database, change: Change) -> None:
    await put_back(db, change, "parked")


async def take_turn(db: Database) -> int:
    return await db.write(lambda c: changes.take_turn(c, bucket="b", key="k", identity="", now=NOW))


async def hold_bucket(db: Database, upload: str = "false") -> None:
    tags = {"TagSet": [{"Key": holds.TAG, "Value": upload}]}
    await db.write(holds.remember("b", tags, NOW))
    await db.write(lambda c: changes.judge_holds(c, "b", 0, 100, NOW))


def states(db: Database) -> list[tuple[int, str]]:
    return [(change.seq, change.state) for change in lookups.of_key(db, "b", "k")]


def shown(db: Database) -> int | None:
    """Which change reads and listings answer from: the same one."""
    change = lookups.visible(db, "b", "k")
    assert [one.seq for one in lookups.listed(db, "b", "", None, 10)] == ([change.seq] if change else [])
    return change.seq if change else None


def late(db: Database, seq: int) -> dict[str, float]:
    return dict(json.loads(db.read("SELECT late_writes FROM change WHERE seq = ?", (seq,))[0][0]))


async def refused_for_good(db: Database, change: Change) -> None:
    await put_back(db, change, "parked")


async def bad_body(db: Database, change: Change) -> None:
    await put_back(db, change, "quarantined", "CorruptBody")


async def bad_body_met_by_a_read(db: Database, change: Change) -> None:
    await db.write(lambda c: transitions.quarantine(c, change.seq, "bad"))


async def held_by_its_bucket(db: Database, change: Change) -> None:
    await put_back(db, change, "waiting")
    await hold_bucket(db)


async def held_by_its_bucket_before_it_ends(db: Database, change: Change) -> None:
    await hold_bucket(db)
    await put_back(db, change, "waiting")


ENDS: tuple[tuple[Callable[[Database, Change], Awaitable[None]], list[tuple[int, str]]], ...] = (
    (refused_for_good, [(1, "superseded")]),
    (bad_body, [(1, "superseded")]),
    (bad_body_met_by_a_read, [(1, "superseded")]),
    (held_by_its_bucket, []),
    (held_by_its_bucket_before_it_ends, []),
)
"""How an attempt ends so that its change is kept back, and what is left of it where a newer one is there."""


@pytest.mark.semantics("Q-9b")
async def test_a_newer_put_takes_the_place_of_a_held_one_in_as_many_steps_as_of_one_that_waits(db: Database) -> None:
    async def rows_touched(hold: str) -> int:
        await write(db, hold=hold)
        before = await db.write(lambda c: c.total_changes())
        await write(db, hold=hold)
        return await db.write(lambda c: c.total_changes()) - before

    waiting = await rows_touched("")
    await write(db, hold="yes")
    assert await rows_touched("yes") == waiting


@pytest.mark.semantics("Q-9b", "R-1")
@pytest.mark.parametrize("between", ["nothing", "turn", "turn that is gone", "ordered"])
@pytest.mark.parametrize("newer", ["put", "delete", "complete"])
@pytest.mark.parametrize(("end", "left"), ENDS, ids=lambda one: getattr(one, "__name__", ""))
async def test_what_ends_kept_back_behind_a_newer_change_is_superseded(
    db: Database,
    between: str,
    newer: str,
    end: Callable[[Database, Change], Awaitable[None]],
    left: list[tuple[int, str]],
) -> None:
    await write(db)
    change = await claim(db)
    turn = await take_turn(db) if between.startswith("turn") else 0
    new = await write(db, newer, ordered=between == "ordered")
    if between == "turn that is gone":
        await db.write(lambda c: changes.end_turn(c, turn))
    await end(db, change)
    assert db.read(BROKEN) == []
    assert [state for state in states(db) if state[0] < new] == left
    assert shown(db) == new
    # Nothing that a person may do brings it back.
    assert await db.write(lambda c: transitions.unpark(c, lookups.kept(db, "", "", None, 0, 10), NOW)) == {}
    await hold_bucket(db, "true")
    assert shown(db) == new


@pytest.mark.semantics("Q-9b")
@pytest.mark.parametrize("state", ["held", "parked", "quarantined"])
@pytest.mark.parametrize("between", ["nothing", "turn", "ordered"])
@pytest.mark.parametrize("newer", ["put", "delete", "complete"])
async def test_what_is_kept_back_when_a_newer_change_comes_is_superseded(
    db: Database, state: str, between: str, newer: str
) -> None:
    await write(db, file="old", hold="yes" if state == "held" else "")
    if state != "held":
        await put_back(db, await claim(db), state, "CorruptBody" if state == "quarantined" else "c")
    if between == "turn":
        await take_turn(db)
    new = await write(db, newer, ordered=between == "ordered")
    assert db.read(BROKEN) == []
    assert shown(db) == new
    # What a rule held goes as what waits does; what the remote refused stays for a person.
    assert (states(db)[0] == (1, "superseded")) == (state != "held")
    assert garbage.found(db) == ([("old", "")] if state == "held" else [])
    await db.write(lambda c: changes.judge_holds(c, "b", 0, 100, NOW))
    assert shown(db) == new


@pytest.mark.semantics("Q-9b", "Q-11")
async def test_a_change_that_is_re_tagged_to_be_held_behind_a_newer_one_is_dropped(db: Database) -> None:
    await write(db)
    await take_turn(db)
    new = await write(db)
    await db.write(lambda c: changes.fold(c, 1, HOLD[TAGGING]))
    await db.write(lambda c: changes.judge_hold(c, 1, NOW))
    assert states(db) == [(new, "waiting")]


@pytest.mark.semantics("Q-3", "Q-9b", "Q-9c")
@pytest.mark.parametrize("between", ["nothing", "turn", "ordered"])
async def test_the_newer_change_knows_what_may_still_arrive_of_the_superseded_one(db: Database, between: str) -> None:
    await write(db)
    await put_back(db, await claim(db), "in_doubt")
    change = await claim(db)
    if between == "turn":
        await take_turn(db)
    new = await write(db, ordered=between == "ordered")
    await db.write(lambda c: changes.may_arrive(c, new, ANY, 7.0))
    await put_back(db, change, "parked")
    assert late(db, new) == {"e": NOW, ANY: 7.0}
    # And once more from that one to the next, whether it is kept back when the next comes or ends so later.
    await db.write(lambda c: c.execute("DELETE FROM change WHERE op = 'through'").fetchall())
    await put_back(db, await claim(db), "parked")
    assert late(db, await write(db)) == {"e": NOW, ANY: 7.0}


@pytest.mark.semantics("Q-9b", "Q-3", "D-4")
async def test_an_attempt_under_way_of_a_change_that_a_read_finds_damaged_may_still_arrive(db: Database) -> None:
    await write(db)
    change = await claim(db)
    await db.write(lambda c: transitions.quarantine(c, change.seq, "bad"))
    assert late(db, await write(db)) == {"e": NOW}


@pytest.mark.semantics("Q-9b", "Q-9c", "R-3")
@pytest.mark.parametrize("end", ["parked", "waiting"])
async def test_a_barrier_goes_on_waiting_for_what_took_the_place_of_what_it_waited_for(db: Database, end: str) -> None:
    await write(db)
    change = await claim(db)
    begun = lookups.newest(db)
    new = await write(db)
    await put_back(db, change, end)
    obstacle = lookups.obstacle(db, "b", "k", begun)
    assert obstacle is not None
    assert obstacle.seq == new
    assert await db.write(lambda c: lookups.left(c, "b", "", begun)) == (1, 1)


@pytest.mark.semantics("Q-10", "Q-9b")
async def test_of_superseded_changes_of_a_key_only_the_newest_stays(db: Database) -> None:
    for number in range(5):
        await write(db, file=f"body {number}")
        await put_back(db, await claim(db), "parked")
    await write(db, "delete")
    assert states(db) == [(5, "superseded"), (6, "waiting")]
    assert garbage.found(db) == [(f"body {number}", "") for number in range(4)]
    assert lookups.tally(db)["superseded"] == (1, 1)
    await db.write(lambda c: transitions.discard(c, lookups.kept(db, "", "", None, 0, 10)))
    assert garbage.files_known(db, ["body 4"]) == {"body 4"}
    assert lookups.tally(db)["superseded"] == (0, 0)


@pytest.mark.semantics("Q-10")
async def test_parts_of_older_superseded_uploads_go_with_them(db: Database) -> None:
    for number in range(2):
        name = f"upload {number}"
        one = uploads.Upload(name, "b", "k", "", UploadState.OPEN, {}, "", "", NOW, NOW)
        await db.write(lambda c, one=one: uploads.begin(c, one))  # type: ignore[misc]
        part = uploads.Part(1, 1, "e", {}, NOW, file=f"part {number}")
        await db.write(lambda c, name=name, part=part: uploads.store_part(c, name, part, NOW))  # type: ignore[misc]
        await db.write(lambda c, name=name, part=part: uploads.close(c, name, [part], {}, NOW, UploadState.COMPLETE))  # type: ignore[misc]
        await db.write(lambda c, name=name: uploads.begun(c, name, f"remote {name}"))  # type: ignore[misc]
        new = New("b", "k", "", Op.COMPLETE, NOW, NOW, {}, 1, "e-1", upload=name)
        await db.write(lambda c, new=new: changes.enqueue(c, new))  # type: ignore[misc]
        await put_back(db, await claim(db), "parked")
    await write(db)
    assert states(db) == [(2, "superseded"), (3, "waiting")]
    assert garbage.found(db) == [("part 0", "upload 0")]
    # What the remote holds of both is aborted.
    assert [orphan.remote for orphan in uploads.orphans(db)] == ["remote upload 0", "remote upload 1"]
    first = uploads.find(db, "upload 0")
    assert first is not None
    assert (first.state, first.remote) == ("finished", None)


@pytest.mark.semantics("D-4")
async def test_a_damaged_body_that_is_superseded_stays_whatever_comes_after_it(db: Database) -> None:
    for number in range(2):
        await write(db, file=f"bad {number}")
        await put_back(db, await claim(db), "quarantined", "CorruptBody")
        await write(db, file=f"refused {number}")
        await put_back(db, await claim(db), "parked")
    await write(db)
    assert states(db) == [(1, "superseded"), (3, "superseded"), (4, "superseded"), (5, "waiting")]
    assert garbage.found(db) == [("refused 0", "")]


@pytest.mark.semantics("D-4", "Q-9b")
async def test_a_row_that_cannot_be_read_does_not_keep_its_key(db: Database) -> None:
    await write(db)
    await put_back(db, await claim(db), "parked")
    await db.write(lambda c: c.execute("UPDATE change SET late_writes = x'ff'").fetchall())
    await write(db, "delete")
    assert states(db)[-1] == (2, "waiting")


@pytest.mark.semantics("D-9", "Q-9b")
async def test_rows_of_an_older_version_are_mended(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    old = apsw.Connection(str(path))
    old.execute(Path(__file__).with_name("version_3.sql").read_text())
    rows = [
        ("put", "parked", "old", '[["a", 1.5]]', ""),
        ("put", "superseded", "older kept", "[]", ""),
        ("put", "held", "held", '[["b", 2.5]]', "a rule"),
        ("put", "parked", "newest kept", "[]", ""),
        ("through", "waiting", None, "[]", ""),
        ("delete", "waiting", None, "[]", ""),
    ]
    for row in rows:
        old.execute(
            """INSERT INTO change (bucket, key, op, state, file, former, rule, size, acked_at, next_at)
            VALUES ('b', 'k', ?, ?, ?, ?, ?, 1, 1.0, 1.0)""",
            row,
        )
    old.execute("PRAGMA user_version = 3")
    old.close()
    db = await asyncio.to_thread(Database.open, path, SCHEMA)
    try:
        assert db.read(BROKEN) == []
        assert states(db) == [(4, "superseded"), (6, "waiting")]
        assert late(db, 6) == {"a": 1.5, "b": 2.5}
        assert sorted(file for file, _ in garbage.found(db)) == ["held", "old", "older kept"]
        assert lookups.tally(db)["superseded"] == (1, 1)
    finally:
        await db.close()
