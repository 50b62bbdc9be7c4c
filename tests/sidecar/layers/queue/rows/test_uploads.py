"""The states of an upload and what becomes of its parts' files, on the real tables."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from s3d.layers.queue.rows import changes, claims, garbage, lookups, transitions, uploads
from s3d.layers.queue.rows.changes import New
from s3d.layers.queue.rows.schema import SCHEMA
from s3d.layers.queue.rows.states import Op, State, UploadState
from s3d.layers.queue.rows.uploads import Part, Upload
from s3d.store.db import Database

NOW = 1000.0


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    database = await asyncio.to_thread(Database.open, tmp_path / "queue.db", SCHEMA)
    yield database
    await database.close()


async def begin(db: Database, name: str = "u", key: str = "k") -> None:
    await db.write(lambda c: uploads.begin(c, Upload(name, "b", key, "", UploadState.OPEN, {}, "", "", NOW, NOW)))


async def part(db: Database, number: int, *, size: int = 10, file: str | None = None, name: str = "u") -> Part:
    new = Part(number, size, f"etag{number}{file}", {}, NOW, file, inline=None if file else b"x")
    await db.write(lambda c: uploads.store_part(c, name, new, NOW))
    return replace(new, inline=None)


async def complete(db: Database, *chosen: Part, name: str = "u") -> int:
    def write(c: object) -> int:
        uploads.close(c, name, chosen, {"ETag": "e"}, NOW, "complete")  # type: ignore[arg-type]
        new = New("b", "k", "", Op.COMPLETE, NOW, NOW, size=sum(p.size for p in chosen), upload=name)
        return changes.enqueue(c, new)  # type: ignore[arg-type]

    return await db.write(write)


def garbage_of(db: Database) -> list[str]:
    return [file for file, _ in garbage.found(db)]


def state(db: Database, name: str = "u") -> str:
    found = uploads.find(db, name)
    return found.state if found else ""


@pytest.mark.semantics("Q-16")
async def test_a_part_takes_the_place_of_the_one_with_its_number(db: Database) -> None:
    await begin(db)
    await part(db, 1, size=7, file="old")
    await part(db, 1, size=9, file="new")
    assert [(p.number, p.size, p.file) for p in uploads.parts_of(db, "u")] == [(1, 9, "new")]
    assert garbage_of(db) == ["old"]
    assert uploads.staged(db) == (1, 9)
    assert uploads.files_known(db, ["old", "new", "other"]) == {"new"}
    assert garbage.files_known(db, ["old", "new", "other"]) == {"old"}


@pytest.mark.semantics("D-2")
@pytest.mark.semantics("Q-16")
async def test_complete_makes_the_change_and_drops_what_it_does_not_name_in_one_transaction(db: Database) -> None:
    await begin(db)
    one, _, three = [await part(db, n, file=f"f{n}") for n in (1, 2, 3)]
    await complete(db, one, three)
    change = lookups.visible(db, "b", "k")
    assert change is not None
    assert (change.op, change.size, change.upload) == ("complete", 20, "u")
    assert [p.number for p in uploads.parts_of(db, "u")] == [1, 3]
    assert (state(db), garbage_of(db), uploads.staged(db)) == ("complete", ["f2"], (0, 0))
    with pytest.raises(uploads.NotOpenError):
        await part(db, 1)


async def test_a_part_that_was_replaced_while_complete_was_judged_is_refused(db: Database) -> None:
    await begin(db)
    old = await part(db, 1, file="old")
    await part(db, 1, file="new")
    with pytest.raises(uploads.PartReplacedError):
        await complete(db, old)
    assert (state(db), lookups.visible(db, "b", "k")) == ("open", None)


@pytest.mark.semantics("Q-2")
@pytest.mark.parametrize(("remote", "after"), [(None, "finished"), ("r", "aborting")])
async def test_a_superseded_upload_lets_its_files_go_and_is_aborted_where_the_remote_has_parts(
    db: Database, remote: str | None, after: str
) -> None:
    await begin(db)
    await complete(db, await part(db, 1, file="f"))
    if remote:
        await db.write(lambda c: uploads.begun(c, "u", remote))
    await db.write(lambda c: changes.enqueue(c, New("b", "k", "", Op.DELETE, NOW, NOW)))
    assert (garbage_of(db), state(db)) == (["f"], after)
    await db.write(lambda c: uploads.rid(c, "u"))
    assert state(db) == "finished"


@pytest.mark.semantics("Q-15")
async def test_a_settled_upload_keeps_its_answer_for_a_while(db: Database) -> None:
    await begin(db)
    await complete(db, await part(db, 1, file="f"))
    (change,) = await db.write(lambda c: claims.claim(c, now=NOW, limit=1))
    await db.write(lambda c: uploads.begun(c, "u", "r"))
    await db.write(lambda c: uploads.delivered(c, "u"))
    await db.write(lambda c: transitions.settle(c, change.seq))
    found = uploads.find(db, "u")
    assert found is not None
    assert (found.state, found.answer, garbage_of(db)) == ("finished", {"ETag": "e"}, ["f"])
    assert uploads.any_finished(db, 0.5)
    await db.write(lambda c: uploads.forget_finished(c, NOW, NOW))
    assert (state(db), uploads.any_finished(db, NOW)) == ("finished", False)
    await db.write(lambda c: uploads.forget_finished(c, NOW + 1, NOW))
    assert state(db) == ""


@pytest.mark.semantics("Q-9")
async def test_a_parked_upload_that_is_overwritten_keeps_its_parts_and_leaves_none_at_the_remote(db: Database) -> None:
    await begin(db)
    one = await part(db, 1, file="f")
    await complete(db, one)
    (change,) = await db.write(lambda c: claims.claim(c, now=NOW, limit=1))
    await db.write(lambda c: uploads.begun(c, "u", "r"))
    await db.write(lambda c: uploads.part_delivered(c, "u", one, "e1", drop=False))
    await db.write(lambda c: transitions.put_back(c, change, state=State.PARKED, next_at=NOW, code="c", reason="r"))
    assert [orphan.remote for orphan in uploads.orphans(db)] == ["r"]
    assert uploads.is_remotes(db, "b", "r")
    await db.write(lambda c: changes.enqueue(c, New("b", "k", "", Op.PUT, NOW, NOW)))
    assert (garbage_of(db), [(p.file, p.remote_etag) for p in uploads.parts_of(db, "u")]) == ([], [("f", None)])


@pytest.mark.semantics("Q-16", "Q-16c")
async def test_a_spilling_upload_is_spilled_when_the_remote_has_every_part(db: Database) -> None:
    await begin(db)
    one, two = [await part(db, n, file=f"f{n}") for n in (1, 2)]
    await db.write(lambda c: uploads.spill(c, "u"))
    await db.write(lambda c: uploads.begun(c, "u", "r"))
    await db.write(lambda c: uploads.part_delivered(c, "u", one, "e1", drop=True))
    assert not await db.write(lambda c: uploads.spilled(c, "u"))
    newer = await part(db, 2, file="f3")
    await db.write(lambda c: uploads.part_delivered(c, "u", two, "e2", drop=True))
    assert not await db.write(lambda c: uploads.spilled(c, "u"))
    await db.write(lambda c: uploads.part_delivered(c, "u", newer, "e3", drop=True))
    assert await db.write(lambda c: uploads.spilled(c, "u"))
    assert [(p.etag, p.remote_etag, p.file) for p in uploads.parts_of(db, "u")] == [
        (one.etag, "e1", None),
        (newer.etag, "e3", None),
    ]
    assert (uploads.staged(db), sorted(garbage_of(db))) == ((0, 0), ["f1", "f2", "f3"])
    await part(db, 3, file="late")
    assert state(db) == "spilling"


@pytest.mark.semantics("Q-16")
async def test_an_aborted_upload_takes_nothing_any_more(db: Database) -> None:
    await begin(db)
    await part(db, 1, file="f")
    await db.write(lambda c: uploads.abort(c, "u", NOW))
    assert (garbage_of(db), state(db), uploads.staged(db)) == (["f"], "finished", (0, 0))
    with pytest.raises(uploads.NotOpenError):
        await part(db, 2)


@pytest.mark.semantics("Q-16", "Q-16b")
async def test_what_nobody_touches_expires(db: Database) -> None:
    await begin(db)
    await begin(db, "v")
    await db.write(lambda c: uploads.store_part(c, "v", Part(1, 1, "e", {}, NOW, inline=b"x"), NOW + 5))
    assert uploads.expired(db, NOW + 5) == ["u"]
