"""The turn of a request whose client leaves at once, on the real tables."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from s3d.clock import MACHINE
from s3d.layers.health import Health
from s3d.layers.queue.rows import times
from s3d.layers.queue.rows.schema import SCHEMA
from s3d.layers.queue.turns import Turns
from s3d.store.db import Database


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    database = await asyncio.to_thread(Database.open, tmp_path / "queue.db", SCHEMA)
    yield database
    await database.close()


@pytest.mark.semantics("R-4")
async def test_a_client_that_leaves_while_it_gets_in_line_does_not_keep_the_key(db: Database) -> None:
    async def never() -> None:
        """The probe of a remote that nobody looks for."""

    turns = Turns(db, await times.start(db, MACHINE, 30.0), Health(5.0, 30.0, never), 5.0, lambda: None)

    async def ask() -> None:
        async with turns.turn("b", "k", ""):
            pass

    asking = asyncio.ensure_future(ask())
    # Its row is asked for, and not there yet.
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    # What was asked for before this is answered by now.
    await db.write(lambda _: None)
    assert db.read("SELECT seq FROM sqlite_sequence WHERE name = 'change'") == [(1,)]
    assert db.read("SELECT state FROM change") == []
