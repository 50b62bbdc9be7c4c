"""The table of CORS rules: kept over a restart, bounded, and no more than knowledge."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from s3d.access.cors import Rule
from s3d.layers.queue.remote_facts.cors_rules import CorsRules
from s3d.layers.queue.rows import cors, damage, ownership
from s3d.layers.queue.rows.schema import SCHEMA
from s3d.store.db import Database

ONE = (Rule(("https://app.example",), ("GET", "PUT"), ("*",), ("ETag",), 30), Rule(("*",), ("HEAD",)))


@contextlib.asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Database]:
    db = await asyncio.to_thread(Database.open, path / "queue.db", SCHEMA)
    try:
        yield db
    finally:
        await db.close()


@pytest.mark.semantics("R-12b")
async def test_rules_are_kept_over_a_restart_until_there_are_none(tmp_path: Path) -> None:
    async with opened(tmp_path) as db:
        await CorsRules(db).keep("b", ONE)
    async with opened(tmp_path) as db:
        assert CorsRules(db).recall("b") == ONE
        assert CorsRules(db).recall("other") == ()
        await CorsRules(db).keep("b", ())
        assert db.read("SELECT count(*) FROM cors") == [(0,)]


async def test_the_oldest_are_forgotten_where_they_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cors, "MAX_KEPT", 3)
    async with opened(tmp_path) as db:
        rows = CorsRules(db)
        for number in range(5):
            await rows.keep(f"b{number}", ONE)
        assert [bool(rows.recall(f"b{number}")) for number in range(5)] == [False, False, True, True, True]


@pytest.mark.semantics("D-9a")
async def test_another_remote_has_other_rules(tmp_path: Path) -> None:
    async with opened(tmp_path) as db:
        await CorsRules(db).keep("b", ONE)
        await db.write(ownership.assign_to("http://elsewhere"))
        assert CorsRules(db).recall("b") == ()


@pytest.mark.semantics("D-14a")
@pytest.mark.parametrize("rules", ["'{'", "x'ff'", "'[]'", "'{\"CORSRules\": 1}'", "'[[['", "7"])
async def test_rules_that_cannot_be_read_are_none(tmp_path: Path, rules: str) -> None:
    async with opened(tmp_path) as db:
        await db.write(lambda db: db.execute(f"INSERT INTO cors VALUES ('b', {rules}, 1.0)"))
        assert CorsRules(db).recall("b") == ()
        await CorsRules(db).keep("b", ONE)
        await db.write(lambda db: db.execute("INSERT INTO cors VALUES ('c', x'ff', 1.0)"))
        await db.write(damage.look_at_knowledge)
        assert db.read("SELECT bucket FROM cors") == [("b",)]
