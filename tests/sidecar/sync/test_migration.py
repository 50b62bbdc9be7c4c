"""What an older s3d knew of a folder, in the tables of this one."""

import asyncio
from pathlib import Path

import apsw

from s3d.store.db import Database
from s3d.sync import memory
from s3d.sync.trees import Base, Content

OLD = Path(__file__).with_name("tables_1.sql").read_text(encoding="utf-8")


def shape(db: apsw.Connection) -> dict[str, list[tuple[object, ...]]]:
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
    return {name: db.execute(f"PRAGMA table_info({name})").fetchall() for name in tables}


def write_old(path: Path) -> None:
    """A file as version 1 left it, with its log beside it."""
    old, keeper = apsw.Connection(str(path)), apsw.Connection(str(path))
    old.execute("PRAGMA journal_mode = WAL")
    old.execute(OLD)
    old.execute("INSERT INTO base VALUES ('a', 'e', x'01', 'm', 7, 'd c', 1)")
    old.execute("INSERT INTO there VALUES ('a', 'e', 7)")
    old.execute("PRAGMA user_version = 1")
    old.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    keeper.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    keeper.execute("SELECT * FROM base").fetchall()
    old.close()
    keeper.close()


async def test_a_base_of_version_1_is_known_and_the_tables_are_those_of_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / memory.NAME
    await asyncio.to_thread(write_old, path)
    db = await asyncio.to_thread(Database.open, path, memory.SCHEMA)
    new = apsw.Connection(":memory:")
    new.execute(memory.SCHEMA.sql)
    try:
        row = memory.row(db, "a")
        assert row.base == Base("a", "e", Content(b"\1", "m", 7), ("d", "c"))
        assert row.there
        assert (row.there.etag, row.there.size, row.there.changed) == ("e", 7, 0.0)
        assert await db.write(shape) == shape(new)
    finally:
        new.close()
        await db.close()
