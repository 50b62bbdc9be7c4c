"""Changes that wait for one of another key, and changes that expect something of their own, on the real tables."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from s3d.layers.queue.rows import changes, claims, damage, lookups, order, transitions
from s3d.layers.queue.rows.changes import Change, New
from s3d.layers.queue.rows.order import Changed, Named
from s3d.layers.queue.rows.schema import SCHEMA
from s3d.layers.queue.rows.states import Op, State
from s3d.protocol.headers import TAGGING
from s3d.store.db import Database
from tests.sidecar.layers.queue.test_work_of_many import counted_steps

NOW = 1000.0


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    database = await asyncio.to_thread(Database.open, tmp_path / "queue.db", SCHEMA)
    yield database
    await database.close()


async def write(db: Database, key: str, op: Op = Op.PUT, *, held: bool = False, **more: Any) -> int:
    """Queue a put of the ETag `of-KEY`, or a delete."""
    members = {TAGGING: "s3d.upload=false"} if held else {}
    etag = "" if op == Op.DELETE else more.pop("etag", f"of-{key}")
    new = New("b", key, more.pop("identity", ""), op, NOW, NOW, members, 1, etag, inline=b"x", **more)
    return await db.write(lambda c: changes.enqueue(c, new))


async def move(db: Database, source: str, target: str, **more: Any) -> tuple[int, int]:
    """Queue a put of the target, and the delete of the source behind it."""
    put = await write(db, target, **more)
    return put, await write(db, source, Op.DELETE, after=Named("b", target, f"of-{target}"))


async def claimed(db: Database) -> list[Change]:
    return await db.write(lambda c: claims.claim(c, now=NOW, limit=9))


async def put_back(db: Database, change: Change, state: State) -> None:
    await db.write(lambda c: transitions.put_back(c, change, state=state, next_at=NOW, code="c", reason="r"))


async def settle(db: Database, seq: int) -> None:
    await db.write(lambda c: transitions.settle(c, seq, now=NOW, window=900.0))


def state_of(db: Database, key: str) -> list[tuple[int, str, int | None]]:
    return [(change.seq, str(change.state), change.after) for change in lookups.of_key(db, "b", key)]


@pytest.mark.semantics("Q-21")
async def test_a_change_is_claimed_when_the_one_that_it_names_is_delivered(db: Database) -> None:
    put, delete = await move(db, "a", "b")
    assert [change.seq for change in await claimed(db)] == [put]
    assert await claimed(db) == []
    await settle(db, put)
    assert [change.seq for change in await claimed(db)] == [delete]


@pytest.mark.semantics("Q-21")
async def test_a_delivery_that_is_kept_for_what_may_arrive_is_one(db: Database) -> None:
    put, delete = await move(db, "a", "b")
    (change,) = await claimed(db)
    await put_back(db, change, State.IN_DOUBT)
    await db.write(transitions.recover)
    assert state_of(db, "a") == [(delete, "waiting", put)]
    await settle(db, put)
    assert lookups.of_key(db, "b", "b") == []
    assert [change.seq for change in await claimed(db)] == [delete]


@pytest.mark.semantics("Q-21")
async def test_what_takes_the_place_of_the_named_one_is_waited_for_instead(db: Database) -> None:
    _, delete = await move(db, "a", "b")
    newer = await write(db, "b", etag="newer")
    assert state_of(db, "a") == [(delete, "waiting", newer)]
    assert [change.seq for change in await claimed(db)] == [newer]
    newest = await write(db, "b", Op.DELETE)
    assert state_of(db, "a") == [(delete, "waiting", newer)]
    await put_back(db, (await one(db, newer)), State.WAITING)
    assert state_of(db, "b") == [(newest, "waiting", None)]
    assert state_of(db, "a") == [(delete, "waiting", newest)]


async def one(db: Database, seq: int) -> Change:
    return changes.of_row(db.read(lookups.SQL["by_number"], (seq,))[0])


@pytest.mark.semantics("Q-21")
@pytest.mark.parametrize("state", [State.PARKED, State.HELD, State.QUARANTINED])
async def test_a_change_waits_while_the_named_one_is_kept_back(db: Database, state: State) -> None:
    put, delete = await move(db, "a", "b", held=state == State.HELD)
    if state != State.HELD:
        (change,) = await claimed(db)
        await put_back(db, change, state)
    assert await claimed(db) == []
    assert state_of(db, "a") == [(delete, "waiting", put)]
    first = lookups.held_up_by(db, await one(db, delete))
    assert first is not None
    assert (first.seq, first.state) == (put, state)
    assert (order.followers(db, put), order.stalled(db)) == (1, 1)
    newer = await write(db, "b", etag="newer")
    assert state_of(db, "a") == [(delete, "waiting", newer)]
    assert order.stalled(db) == 0


@pytest.mark.semantics("Q-21", "Q-9")
@pytest.mark.parametrize("state", [State.PARKED, State.HELD])
@pytest.mark.parametrize("held", [False, True], ids=["waiting", "held"])
async def test_what_waits_for_a_change_that_is_discarded_is_parked(db: Database, state: State, held: bool) -> None:
    put = await write(db, "b", held=state == State.HELD)
    other = await write(db, "a", held=held, after=Named("b", "b", "of-b"))
    if state == State.PARKED:
        (change,) = await claimed(db)
        await put_back(db, change, state)
    kept = [change for change in lookups.kept(db, "", "", None, 0, 9) if change.seq == put]
    assert [one.seq for one in await db.write(lambda c: transitions.discard(c, kept))] == [put]
    assert state_of(db, "a") == [(other, "parked", None)]
    parked = await one(db, other)
    assert (parked.code, parked.rule) == ("Discarded", "")
    assert f"change {put}" in parked.reason
    assert lookups.tally(db)["parked"] == (1, 1)
    await db.write(lambda c: transitions.unpark(c, [parked], NOW))
    # What held it then holds it still.
    assert state_of(db, "a") == [(other, "held" if held else "waiting", None)]
    assert [change.seq for change in await claimed(db)] == ([] if held else [other])


@pytest.mark.semantics("Q-21", "Q-2a")
async def test_what_waits_for_a_change_that_is_kept_back_holds_up_no_other_identity(db: Database) -> None:
    await move(db, "a", "b", held=True)
    other = await write(db, "a", identity="other")
    assert [change.seq for change in await claimed(db)] == [other]
    await settle(db, other)
    assert state_of(db, "a") == []


@pytest.mark.semantics("Q-21", "Q-7c")
async def test_what_waits_for_another_change_counts_to_no_age(db: Database) -> None:
    await move(db, "a", "b", held=True)
    assert lookups.oldest(db) is None


@pytest.mark.semantics("Q-21")
async def test_nothing_is_queued_after_an_object_that_is_neither_pending_nor_seen(db: Database) -> None:
    await write(db, "b", etag="another")
    with pytest.raises(Changed, match="b/b"):
        await write(db, "a", Op.DELETE, after=Named("b", "b", "of-b"))
    with pytest.raises(Changed, match="b/c"):
        await write(db, "a", Op.DELETE, after=Named("b", "c", "of-c"))
    seen = await write(db, "a", Op.DELETE, after=Named("b", "c", "of-c", seen="of-c"))
    assert state_of(db, "a") == [(seen, "waiting", None)]


@pytest.mark.semantics("Q-21")
async def test_no_two_changes_wait_for_each_other(db: Database) -> None:
    first = await write(db, "a")
    second = await write(db, "b", after=Named("b", "a", "of-a"))
    with pytest.raises(Changed, match="waits for this key"):
        await write(db, "a", etag="newer", after=Named("b", "b", "of-b"))
    with pytest.raises(Changed, match="waits for this key"):
        await write(db, "a", etag="newer", after=Named("b", "a", "of-a"))
    third = await write(db, "c", after=Named("b", "b", "of-b"))
    with pytest.raises(Changed, match="waits for this key"):
        await write(db, "a", etag="newer", after=Named("b", "c", "of-c"))
    for seq in (first, second, third):
        assert [change.seq for change in await claimed(db)] == [seq]
        await settle(db, seq)


@pytest.mark.semantics("Q-21")
async def test_names_that_are_moved_round_are_delivered_without_a_gap(db: Database) -> None:
    """`mv a t; mv b a; mv t b`: each name is there under one name or the other at each moment."""
    await move(db, "a", "t")
    await move(db, "b", "a")
    await move(db, "t", "b")
    there, gone = {"a", "b"}, []
    while some := await claimed(db):
        for change in some:
            (there.discard if change.op == Op.DELETE else there.add)(change.key)
            gone.append((str(change.op), change.key))
            await settle(db, change.seq)
    assert there == {"a", "b"}
    assert gone.index(("put", "b")) < gone.index(("delete", "t"))


@pytest.mark.semantics("Q-21", "D-14")
async def test_what_waits_for_a_row_that_is_not_there_is_parked_by_the_look_over_all_rows(db: Database) -> None:
    put, delete = await move(db, "a", "b")
    await db.write(lambda c: c.execute("DROP TRIGGER order_gone; DELETE FROM change WHERE seq = ?", (put,)))
    assert await claimed(db) == []
    await db.write(lambda c: damage.look(c, 0, 100))
    assert state_of(db, "a") == [(delete, "parked", None)]
    assert "not there" in (await one(db, delete)).reason


@pytest.mark.semantics("Q-21", "Q-13a")
async def test_a_claim_costs_the_same_however_many_wait_for_a_change(tmp_path: Path) -> None:
    steps: dict[int, int] = {}
    for many in (100, 1000):
        with counted_steps() as counted:
            db = await asyncio.to_thread(Database.open, tmp_path / f"{many}.db", SCHEMA)
            put = await write(db, "b", held=True)

            def add(c: Any, many: int = many) -> None:
                for number in range(many):
                    after = Named("b", "b", "of-b")
                    changes.enqueue(c, New("b", f"a/{number:04}", "", Op.DELETE, NOW, NOW, after=after))

            await db.write(add)
            await write(db, "z")
            counted.clear()
            assert [change.key for change in await claimed(db)] == ["z"]
            assert lookups.oldest(db) == NOW
            assert claims.next_due(db.read) is None
            steps[many] = sum(counted)
            assert order.followers(db, put) == many
            await db.close()
    assert 0 < steps[1000] <= 1.25 * steps[100], steps


EXPECTATIONS = [
    ("nothing is known", None, None, "seen", True),
    ("the same was seen", "seen", None, "seen", True),
    ("another was seen", "other", None, "seen", False),
    ("nothing was there", "", None, "", True),
    ("something is there", "seen", None, "", False),
    ("the same is pending", "seen", "put", "of-k", True),
    ("what was seen is not what is pending", "seen", "put", "seen", False),
    ("a delete is pending", "seen", "delete", "", True),
    ("what is deleted is expected", "seen", "delete", "seen", False),
]


@pytest.mark.semantics("Q-2b")
@pytest.mark.parametrize(
    ("seen", "pending", "expects", "fits"),
    [case[1:] for case in EXPECTATIONS],
    ids=[case[0] for case in EXPECTATIONS],
)
async def test_a_change_is_queued_where_its_maker_saw_what_is_there(
    db: Database, seen: str | None, pending: str | None, expects: str, fits: bool
) -> None:
    if pending is not None:
        await write(db, "k", Op(pending), base=seen)
    before = state_of(db, "k")
    if fits:
        made = await write(db, "k", etag="new", expects=expects, base=seen)
        assert state_of(db, "k") == [(made, "waiting", None)]
        assert (await one(db, made)).base == (seen if pending else expects)
    else:
        with pytest.raises(Changed):
            await write(db, "k", etag="new", expects=expects, base=seen)
        assert state_of(db, "k") == before


@pytest.mark.semantics("Q-2b")
async def test_nothing_is_expected_of_a_key_that_another_request_is_writing(db: Database) -> None:
    turn = await db.write(lambda c: changes.take_turn(c, bucket="b", key="k", identity="", now=NOW))
    with pytest.raises(Changed, match="on its way"):
        await write(db, "k", expects="seen", base="seen")
    await db.write(lambda c: changes.end_turn(c, turn))
    await write(db, "k", expects="seen", base="seen")


def base_of(db: Database, key: str) -> list[str | None]:
    return [change.base for change in lookups.of_key(db, "b", key)]


@pytest.mark.semantics("Q-2c")
@pytest.mark.parametrize("state", [State.WAITING, State.PUSHING, State.IN_DOUBT, State.HELD, State.PARKED])
async def test_what_is_made_upon_a_pending_change_has_its_base(db: Database, state: State) -> None:
    """Not what was seen at the remote since: its maker has not seen that."""
    await write(db, "k", base="before", held=state == State.HELD)
    if state not in (State.WAITING, State.HELD):
        (change,) = await claimed(db)
        if state != State.PUSHING:
            await put_back(db, change, state)
    newer = await write(db, "k", etag="newer", expects="of-k", base="somebody else's")
    assert (await one(db, newer)).base == "before"


@pytest.mark.semantics("Q-2c")
async def test_what_is_made_upon_a_change_of_unknown_base_is_as_old_as_that(db: Database) -> None:
    """What somebody else wrote since that one was acknowledged, nobody had seen who made the newer one."""
    await write(db, "k")
    later = New("b", "k", "", Op.PUT, NOW + 60, NOW + 60, {}, 1, "newer", inline=b"x", expects="of-k", base="other")
    newer = await db.write(lambda c: changes.enqueue(c, later))
    change = await one(db, newer)
    assert (change.base, change.queued_at) == (None, NOW)


@pytest.mark.semantics("Q-2c")
async def test_nothing_is_made_upon_what_is_kept_beside_the_version_of_somebody_else(db: Database) -> None:
    await write(db, "k", base="before")
    (change,) = await claimed(db)
    await db.write(
        lambda c: transitions.put_back(c, change, state=State.PARKED, next_at=NOW, code=order.CONFLICT, reason="r")
    )
    with pytest.raises(Changed, match="somebody else wrote it"):
        await write(db, "k", etag="newer", expects="of-k")


@pytest.mark.semantics("Q-2c")
@pytest.mark.parametrize("between", ["tags", "superseded"])
async def test_what_is_delivered_is_the_base_of_the_next_write_whatever_is_between(db: Database, between: str) -> None:
    first = await write(db, "k", base="before", ordered=True)
    await claimed(db)
    if between == "tags":
        tags = New("b", "k", "", Op.TAG, NOW, NOW, {TAGGING: "a=b"})
        assert await db.write(lambda c: changes.retag(c, tags))
    else:
        kept = await write(db, "k", identity="other", held=True)
        await db.write(lambda c: c.execute("UPDATE change SET state = 'superseded' WHERE seq = ?", (kept,)))
    newer = await write(db, "k", etag="newer", expects="of-k", ordered=True)
    await settle(db, first)
    assert (await one(db, newer)).base == "of-k"
