"""A local dir of each older version opens, with what was pending in it."""

import asyncio
from pathlib import Path

import apsw
import pytest

from s3d.clock import Machine
from s3d.layers.queue.rows import claims, lookups, times
from s3d.layers.queue.rows.schema import SCHEMA
from s3d.layers.queue.rows.states import COUNTED, FOR_A_PERSON, ON_THE_WAY
from s3d.metrics import STATES
from s3d.store.db import Database

NOON = 1_800_000_000.0
VERSIONS = range(1, SCHEMA.version)
PENDING = """INSERT INTO change (bucket, key, op, state, members, size, etag, acked_at, next_at, inline)
    VALUES ('b', 'k', 'put', 'waiting', '{"content-type": "text/x"}', 1, 'e', 1.0, 2.0, x'61')"""


def tables(path: Path) -> list[tuple[str, str, str]]:
    """Each column and index of a file, in words that say nothing of how it came to be."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    columns = db.execute("""SELECT t.name, c.name, c.type || ' ' || c."notnull" || ' ' || coalesce(c.dflt_value, '')
        FROM sqlite_schema AS t, pragma_table_info(t.name) AS c WHERE t.type = 'table'""").fetchall()
    others = db.execute(
        "SELECT type, name, sql FROM sqlite_schema WHERE type <> 'table' AND sql IS NOT NULL"
    ).fetchall()
    db.close()
    return sorted((str(a), str(b), str(c)) for a, b, c in columns + others)


@pytest.mark.semantics("D-9")
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_local_dir_of_an_older_version_is_migrated_with_what_is_pending_in_it(
    tmp_path: Path, version: int
) -> None:
    old = apsw.Connection(str(tmp_path / "old.db"))
    old.execute(Path(__file__).with_name(f"version_{version}.sql").read_text())
    old.execute(PENDING)
    old.execute(f"PRAGMA user_version = {version}")
    old.close()
    migrated = await asyncio.to_thread(Database.open, tmp_path / "old.db", SCHEMA)
    change = lookups.visible(migrated, "b", "k")
    assert change is not None
    assert (change.seq, change.state, change.members, change.inline) == (1, "waiting", {"content-type": "text/x"}, b"a")
    assert lookups.tally(migrated)["waiting"] == (1, 1)
    assert (change.queued_at, lookups.oldest(migrated)) == (1.0, 1.0)
    await migrated.close()
    fresh = await asyncio.to_thread(Database.open, tmp_path / "new.db", SCHEMA)
    await fresh.close()
    assert tables(tmp_path / "old.db") == tables(tmp_path / "new.db")


@pytest.mark.semantics("D-10")
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("ahead", "age"), [(-3600.0, 3600.0), (86_400.0, 0.0)], ids=["an hour old", "from tomorrow"])
async def test_a_change_of_an_older_version_keeps_its_age_and_is_due(
    tmp_path: Path, version: int, ahead: float, age: float
) -> None:
    old = apsw.Connection(str(tmp_path / "old.db"))
    old.execute(Path(__file__).with_name(f"version_{version}.sql").read_text())
    old.execute(PENDING)
    # As the clock of the day was set then.
    old.execute("UPDATE change SET acked_at = ?1, next_at = ?1 + 86400", (NOON + ahead,))
    old.execute(f"PRAGMA user_version = {version}")
    old.close()
    migrated = await asyncio.to_thread(Database.open, tmp_path / "old.db", SCHEMA)
    clock = await times.start(migrated, Machine(lambda: NOON, lambda: 1.0, lambda: "boot"), 30.0)
    oldest = lookups.oldest(migrated)
    assert oldest is not None
    assert clock.now() - oldest == age
    assert [one.key for one in await migrated.write(lambda db: claims.claim(db, now=clock.now(), limit=9))] == ["k"]
    await migrated.close()


async def test_a_change_of_any_state_is_on_its_way_or_waits_for_a_person(tmp_path: Path) -> None:
    """What a drain leaves for a person is what is pending without what is on its way: no state may be neither."""
    db = await asyncio.to_thread(Database.open, tmp_path / "new.db", SCHEMA)
    states = sorted(lookups.tally(db))
    await db.close()
    assert sorted([*ON_THE_WAY, *FOR_A_PERSON]) == sorted(COUNTED) == sorted(STATES) == states
