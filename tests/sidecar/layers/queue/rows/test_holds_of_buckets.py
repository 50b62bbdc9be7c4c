"""Which changes the tags of a bucket hold, on the real tables: all of them are judged, whatever breaks off."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from s3d.layers.queue.rows import holds
from s3d.layers.queue.rows.schema import SCHEMA
from s3d.store.db import Database

HELD = {"TagSet": [{"Key": holds.TAG, "Value": "false"}]}


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    database = await asyncio.to_thread(Database.open, tmp_path / "queue.db", SCHEMA)
    yield database
    await database.close()


@pytest.mark.semantics("Q-11", "Q-13")
async def test_a_bucket_that_was_not_judged_to_its_end_is_judged_at_the_next_look(db: Database) -> None:
    assert await db.write(holds.remember("b", HELD, 1.0))
    # Its judgement broke off, by a crash or a full disk: the same tags ask for it again.
    assert await db.write(holds.remember("b", HELD, 2.0))
    await db.write(lambda c: holds.judged(c, "b"))
    assert not await db.write(holds.remember("b", HELD, 3.0))
    assert await db.write(holds.remember("b", {}, 4.0))
