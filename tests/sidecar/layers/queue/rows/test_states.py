"""The tables of moves, and that a move which is in none of them is seen, whoever makes it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from s3d.layers.queue.rows import changes, states
from s3d.layers.queue.rows.changes import New
from s3d.layers.queue.rows.schema import SCHEMA
from s3d.layers.queue.rows.states import CHANGES, COUNTED, GONE, UPLOADS, Move, Op, State, UploadState
from s3d.store.db import Database
from tests.moves import Watch


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    database = await asyncio.to_thread(Database.open, tmp_path / "queue.db", SCHEMA)
    yield database
    await database.close()


async def run(db: Database, *statements: str) -> None:
    for sql in statements:
        await db.write(lambda c, sql=sql: c.execute(sql).fetchall())  # type: ignore[misc]


DOUBTED_AT_ONCE = "UPDATE change SET state = 'in_doubt'"
BY_A_TRIGGER = (
    "CREATE TRIGGER wrong AFTER UPDATE OF reason ON change BEGIN UPDATE change SET state = 'in_doubt'; END",
    "UPDATE change SET reason = 'r'",
)


@pytest.mark.parametrize("statements", [(DOUBTED_AT_ONCE,), BY_A_TRIGGER], ids=["a statement", "a trigger"])
async def test_a_move_that_is_in_no_table_is_seen(db: Database, moves: Watch, statements: tuple[str, ...]) -> None:
    await db.write(lambda c: changes.enqueue(c, New("b", "k", "", Op.PUT, 1.0, 1.0, inline=b"x")))
    assert moves.wrong == []
    await run(db, *statements)
    assert [wrong.splitlines()[0] for wrong in moves.wrong] == ["put: waiting -> in_doubt"]
    moves.wrong.clear()


async def test_a_move_of_an_upload_that_is_in_no_table_is_seen(db: Database, moves: Watch) -> None:
    await run(
        db,
        "INSERT INTO upload (id, bucket, key, state, began_at, touched_at) VALUES ('u', 'b', 'k', 'open', 1, 1)",
        "UPDATE upload SET state = 'delivered'",
    )
    assert [wrong.splitlines()[0] for wrong in moves.wrong] == ["upload: open -> delivered"]
    moves.wrong.clear()


@pytest.mark.parametrize("state", State)
def test_a_change_gets_into_each_state_and_out_of_it(state: State) -> None:
    assert any(move.after == state for move in CHANGES)
    assert any(state in move.before for move in CHANGES)


@pytest.mark.parametrize("state", UploadState)
def test_an_upload_gets_into_each_state_and_out_of_it(state: UploadState) -> None:
    assert any(move.after == state for move in UPLOADS)
    assert any(state in move.before for move in UPLOADS)


@pytest.mark.semantics("D-1")
@pytest.mark.parametrize("state", [state for state in COUNTED if state not in states.CLAIMED])
def test_only_a_newer_change_or_a_person_ends_what_the_remote_has_not_confirmed(state: State) -> None:
    ends = {move.when for move in CHANGES if state in move.before and move.after == GONE and Op.PUT in move.ops}
    assert ends <= {
        "a newer change takes its place; tags become part of their put",
        "a newer change takes its place",
        "it was held, or another superseded change of the key is newer, or a person drops it",
        "a person drops it",
    }


@pytest.mark.parametrize("table", [CHANGES, UPLOADS], ids=["changes", "uploads"])
def test_no_move_leads_to_where_it_began(table: tuple[Move, ...]) -> None:
    assert [move for move in table if move.after in move.before] == []
