"""What is asked before a change is queued counts for just that change, and for the policy that was asked."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from s3d.layers.queue.rows import changes, lookups, verdicts
from s3d.layers.queue.rows.changes import New
from s3d.layers.queue.rows.schema import SCHEMA
from s3d.layers.queue.rows.states import Op
from s3d.store.db import Database


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    """The tables, with a policy in force."""
    database = await asyncio.to_thread(Database.open, tmp_path / "queue.db", SCHEMA)
    await database.write(verdicts.adopt("ours"))
    yield database
    await database.close()


def put(size: int = 1) -> New:
    return New("b", "k", "", Op.PUT, 1.0, 1.0, members={"content-type": "text/x"}, size=size, etag="e", inline=b"x")


@pytest.mark.semantics("F-3j")
@pytest.mark.parametrize(
    ("policy", "asked_size", "is_unasked"), [("ours", 1, False), ("another", 1, True), ("ours", 2, True), ("", 1, True)]
)
async def test_what_was_asked_before_a_change_was_queued_is_its_verdict_where_it_was_about_that(
    db: Database, policy: str, asked_size: int, is_unasked: bool
) -> None:
    new = put()
    new.consent = verdicts.Consent(policy, verdicts.question_of(changes.held_now(db, put(asked_size))))
    await db.write(lambda c: changes.enqueue(c, new))
    assert (new.rule, new.is_unasked) == ("", is_unasked)
    assert verdicts.unjudged(db) == is_unasked


@pytest.mark.semantics("F-3j", "F-5b")
async def test_a_delete_whose_key_has_another_put_by_now_was_not_asked_about(db: Database) -> None:
    delete = New("b", "k", "", Op.DELETE, 1.0, 1.0)
    delete.consent = verdicts.Consent("ours", verdicts.question_of(changes.held_now(db, delete)))
    await db.write(lambda c: changes.enqueue(c, put()))
    seq = await db.write(lambda c: changes.enqueue(c, delete))
    assert (delete.rule, delete.is_unasked) == ("", True)
    change = lookups.pending(db, seq)
    assert change is not None
    assert (change.removes.size, dict(change.removes.members)) == (1, {"content-type": "text/x"})


async def test_what_waits_for_a_verdict_is_counted(db: Database) -> None:
    await db.write(lambda c: changes.enqueue(c, put(7)))
    await db.write(lambda c: changes.enqueue(c, New("b", "other", "", Op.DELETE, 1.0, 1.0)))
    assert await db.write(verdicts.waiting) == (2, 7)
