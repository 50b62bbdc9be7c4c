"""How the turns of requests end, on the real tables: of a client that leaves at once, of a local dir that fails."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from s3d.clock import MACHINE, Clock
from s3d.errors import S3Error, Unavailable
from s3d.feed import Feed
from s3d.layers.health import Health
from s3d.layers.queue.ballast import Ballast
from s3d.layers.queue.owed import Owed
from s3d.layers.queue.rows import changes, claims, lookups, times, transitions
from s3d.layers.queue.rows.changes import New
from s3d.layers.queue.rows.schema import SCHEMA
from s3d.layers.queue.rows.states import Op, State
from s3d.layers.queue.turns import Turns
from s3d.store.db import Database

NOW = 1000.0


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    database = await asyncio.to_thread(Database.open, tmp_path / "queue.db", SCHEMA)
    yield database
    await database.close()


class Stage:
    """Turns on real tables, and what is owed to these."""

    def __init__(self, db: Database, clock: Clock, ballast: Ballast) -> None:
        self.db = db
        self.owed = Owed(db, ballast)
        self.woken = asyncio.Event()
        self.feed = Feed()

        async def never() -> None:
            """The probe of a remote that nobody looks for."""

        self.turns = Turns(db, clock, self.owed, Health(5.0, 30.0, never), 5.0, self.woken.set, self.feed)

    async def put(self, op: str = "put") -> int:
        new = New("b", "k", "", Op(op), NOW, NOW, {}, 1, "e", None, b"x")
        return await self.db.write(lambda c: changes.enqueue(c, new))

    async def claim(self) -> list[changes.Change]:
        return await self.db.write(lambda c: claims.claim(c, now=NOW, limit=1))

    async def fail(self) -> None:
        """Let the connection that writes fail at its next write; the one after that gets a new one."""
        await self.db.write(lambda c: c.execute("PRAGMA query_only = ON").fetchall())


@pytest.fixture
async def stage(db: Database, tmp_path: Path) -> Stage:
    ballast = await asyncio.to_thread(Ballast, tmp_path / "ballast", 0)
    return Stage(db, await times.start(db, MACHINE, 30.0), ballast)


@pytest.mark.semantics("R-4")
async def test_a_client_that_leaves_while_it_gets_in_line_does_not_keep_the_key(db: Database, stage: Stage) -> None:
    async def ask() -> None:
        async with stage.turns.turn("b", ["k"], ""):
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


ENDS: tuple[tuple[str, BaseException | None], ...] = (
    ("answered", None),
    ("refused", S3Error("AccessDenied", "no", status=403)),
    ("unanswered", Unavailable("lost", sent=True)),
    ("not sent", Unavailable("away")),
    ("left", asyncio.CancelledError()),
)


@pytest.mark.semantics("Q-7", "Q-7b", "Q-13", "R-13")
@pytest.mark.parametrize(("name", "error"), ENDS, ids=lambda one: one if isinstance(one, str) else "")
async def test_a_turn_whose_end_cannot_be_stored_ends_when_the_local_dir_takes_it(
    db: Database, stage: Stage, name: str, error: BaseException | None
) -> None:
    with contextlib.suppress(type(error) if error else StopIteration):
        async with stage.turns.turn("b", ["k"], "") as turn:
            turn.changed, turn.replaced = name == "answered", name == "answered"
            new = await stage.put()
            await stage.fail()
            if error is not None:
                raise error
    told = ["k"] if name in ("answered", "unanswered", "left") else []
    assert [event.key for event in stage.feed.since(0).events] == told
    # The client has its answer; the key is free as soon as the end is stored, and what waits behind it is pushed.
    assert db.read("SELECT state FROM change WHERE op = 'through'") == [("pushing",)]
    assert await stage.claim() == []
    stage.woken.clear()
    making = asyncio.ensure_future(stage.owed.run())
    try:
        async with asyncio.timeout(10):
            await stage.woken.wait()
    finally:
        making.cancel()
    left = [("settled",)] if name in ("unanswered", "left") else []
    assert db.read("SELECT state FROM change WHERE op = 'through'") == left
    assert [change.seq for change in await stage.claim()] == [new]


async def test_a_write_that_a_bug_ends_does_not_keep_the_others_back(stage: Stage) -> None:
    made = asyncio.Event()

    def broken(db: apsw.Connection) -> None:
        db.execute("DELETE FROM change").fetchall()
        raise ZeroDivisionError

    await stage.fail()
    await stage.owed.make(broken, lambda: None)
    await stage.fail()
    await stage.owed.make(lambda c: c.execute("DELETE FROM change").fetchall(), made.set)
    making = asyncio.ensure_future(stage.owed.run())
    async with asyncio.timeout(10):
        await made.wait()
    making.cancel()


@pytest.mark.semantics("Q-9b", "R-5")
@pytest.mark.parametrize("end", ["parked", "quarantined"])
async def test_a_request_whose_older_change_is_superseded_by_one_behind_it_is_refused_at_once(
    db: Database, stage: Stage, end: str
) -> None:
    await stage.put()
    (change,) = await stage.claim()

    async def ask() -> None:
        async with stage.turns.turn("b", ["k"], ""):
            raise AssertionError("its turn came without what it was to see")

    asking = asyncio.ensure_future(ask())
    while not await db.write(lambda c: c.execute("SELECT 1 FROM change WHERE op = 'through'").fetchall()):
        pass
    new = await stage.put()
    await db.write(lambda c: transitions.put_back(c, change, state=State(end), next_at=NOW, code="c", reason="r"))
    stage.turns.moved("b")
    with pytest.raises(S3Error, match="has taken the place") as refused:
        await asking
    assert refused.value.status == 503
    assert [one.seq for one in await stage.claim()] == [new]
    assert lookups.visible(db, "b", "k") is not None
