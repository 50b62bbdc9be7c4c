"""Changes of one key by two identities, on the real tables: nothing takes another's place before it is delivered.

`a` and `b` write the same key. What one of them cannot deliver costs the other nothing, and nothing that was written
earlier is ever pushed behind what was written later.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from s3d.layers.queue.rows import changes, claims, lanes, lookups, transitions
from s3d.layers.queue.rows.changes import Change, New
from s3d.layers.queue.rows.schema import SCHEMA
from s3d.layers.queue.rows.states import Op, State
from s3d.protocol.headers import TAGGING
from s3d.store.db import Database

NOW = 1000.0
HOLD = {TAGGING: "s3d.upload=false"}


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    database = await asyncio.to_thread(Database.open, tmp_path / "queue.db", SCHEMA)
    yield database
    await database.close()


async def write(db: Database, identity: str, *, held: bool = False, ordered: bool = False) -> int:
    members = HOLD if held else {}
    new = New("b", "k", identity, Op.PUT, NOW, NOW, members, 1, f"of-{identity}", inline=b"x", ordered=ordered)
    return await db.write(lambda c: changes.enqueue(c, new))


async def claim(db: Database) -> list[Change]:
    return await db.write(lambda c: claims.claim(c, now=NOW, limit=9))


async def one(db: Database) -> Change:
    (change,) = await claim(db)
    return change


async def put_back(db: Database, change: Change, state: State) -> None:
    await db.write(lambda c: transitions.put_back(c, change, state=state, next_at=NOW, code="AccessDenied", reason="r"))


async def settle(db: Database, seq: int, now: float = NOW) -> None:
    await db.write(lambda c: transitions.settle(c, seq, now=now, window=900.0))


async def pause(db: Database, change: Change) -> None:
    """Have a change refused so that its lane pauses."""

    def refuse(c: object) -> bool:
        transitions.put_back(c, change, state=State.WAITING, next_at=NOW, code="AccessDenied", reason="r")  # type: ignore[arg-type]
        return lanes.refuse(c, change, code="AccessDenied", reason="r", now=NOW, pause=lambda _: 1e6)  # type: ignore[arg-type]

    assert await db.write(refuse), "the lane is paused"


def states(db: Database) -> list[tuple[int, str, str]]:
    """What is there of the key: number, identity and state."""
    return [(change.seq, change.identity, str(change.state)) for change in lookups.of_key(db, "b", "k")]


@pytest.mark.semantics("Q-2a")
async def test_another_identitys_put_supersedes_nothing_and_both_are_pushed_in_order(db: Database) -> None:
    first, second = await write(db, "a"), await write(db, "b")
    assert states(db) == [(first, "a", "waiting"), (second, "b", "waiting")]
    assert (await one(db)).seq == first
    assert await claim(db) == []
    await settle(db, first)
    assert (await one(db)).seq == second


@pytest.mark.semantics("Q-2", "Q-2a")
async def test_an_identitys_own_put_supersedes_what_nobody_else_stands_behind(db: Database) -> None:
    first, between = await write(db, "a"), await write(db, "b")
    await write(db, "b")
    last = await write(db, "b")
    assert states(db) == [(first, "a", "waiting"), (last, "b", "waiting")]
    again = await write(db, "a")
    assert states(db) == [(first, "a", "waiting"), (last, "b", "waiting"), (again, "a", "waiting")]
    assert between not in [seq for seq, *_ in states(db)]


@pytest.mark.semantics("Q-2a")
async def test_a_refused_push_waits_again_though_another_identity_has_written_since(db: Database) -> None:
    first = await write(db, "a")
    claimed = await one(db)
    second = await write(db, "b")
    await put_back(db, claimed, State.WAITING)
    assert states(db) == [(first, "a", "waiting"), (second, "b", "waiting")]
    assert (await one(db)).seq == first


@pytest.mark.semantics("Q-2a", "Q-9b")
@pytest.mark.parametrize("kept", ["held", "parked"])
async def test_what_is_kept_back_is_superseded_when_anothers_put_is_delivered_and_not_before(
    db: Database, kept: str
) -> None:
    first = await write(db, "a", held=kept == "held")
    if kept == "parked":
        await put_back(db, await one(db), State.PARKED)
    second = await write(db, "b")
    assert states(db) == [(first, "a", kept), (second, "b", "waiting")]
    claimed = await one(db)
    assert claimed.seq == second, "it does not wait behind what does not move"
    await put_back(db, claimed, State.PARKED)
    assert (first, "a", kept) in states(db), "a denied put costs nobody else's bytes"
    await db.write(lambda c: transitions.unpark(c, [claimed], NOW))
    assert (await one(db)).seq == second
    await settle(db, second)
    left = [] if kept == "held" else [(first, "a", "superseded")]
    assert states(db) == left
    assert lookups.visible(db, "b", "k") is None


@pytest.mark.semantics("Q-9c", "Q-3d")
async def test_who_supersedes_anothers_change_knows_what_may_still_arrive_of_it(db: Database) -> None:
    await write(db, "a")
    claimed = await one(db)
    await put_back(db, claimed, State.IN_DOUBT)
    (again,) = await claim(db)
    await put_back(db, again, State.PARKED)
    second = await write(db, "b")
    assert (await one(db)).seq == second
    await settle(db, second)
    rows = db.read("SELECT state, late_writes FROM change WHERE seq = ?", (second,))
    assert rows[0][0] == "settled"
    assert "of-a" in rows[0][1]


@pytest.mark.semantics("Q-1", "Q-2a")
async def test_a_held_put_that_is_let_go_while_anothers_is_pushed_is_not_pushed_behind_it(db: Database) -> None:
    first = await write(db, "a", held=True)
    second = await write(db, "b")
    assert (await one(db)).seq == second
    await db.write(lambda c: changes.fold(c, first, ""))
    await db.write(lambda c: changes.judge_hold(c, first, NOW))
    assert states(db) == [(first, "a", "waiting"), (second, "b", "pushing")]
    assert await claim(db) == [], "the key is claimed"
    await settle(db, second)
    assert states(db) == []


@pytest.mark.semantics("Q-1", "Q-2a")
async def test_what_waits_in_a_paused_lane_holds_up_nobody_elses_put_of_its_key(db: Database) -> None:
    first = await write(db, "b")
    await pause(db, await one(db))
    second = await write(db, "a")
    (claimed,) = (await db.write(lambda c: lanes.claim(c, now=NOW, limit=9, slow=9))).changes
    assert (claimed.seq, claimed.identity) == (second, "a")
    await put_back(db, claimed, State.PARKED)
    assert (first, "b", "waiting") in states(db)
    await db.write(lambda c: transitions.unpark(c, [claimed], NOW))
    assert len((await db.write(lambda c: lanes.claim(c, now=NOW, limit=9, slow=9))).changes) == 1
    await settle(db, second)
    assert states(db) == []


@pytest.mark.semantics("Q-14a", "Q-2a")
async def test_versions_are_pushed_each_whoever_wrote_them(db: Database) -> None:
    first, second = await write(db, "b", ordered=True), await write(db, "a", ordered=True)
    await pause(db, await one(db))
    assert (await db.write(lambda c: lanes.claim(c, now=NOW, limit=9, slow=9))).changes == []
    assert [seq for seq, *_ in states(db)] == [first, second]


@pytest.mark.semantics("Q-19", "A-8")
async def test_nobody_elses_put_is_given_other_tags(db: Database) -> None:
    first = await write(db, "a")
    new = New("b", "k", "b", Op.TAG, NOW, NOW, {TAGGING: "x=y"})
    assert not await db.write(lambda c: changes.retag(c, new))
    new.identity = "a"
    assert await db.write(lambda c: changes.retag(c, new))
    assert [change.members for change in lookups.of_key(db, "b", "k")] == [{TAGGING: "x=y"}]
    claimed = await one(db)
    assert claimed.seq == first
    assert not await db.write(lambda c: changes.retag(c, New("b", "k", "b", Op.TAG, NOW, NOW, {TAGGING: "x=z"})))
