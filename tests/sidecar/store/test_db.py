"""The database: group commit, versions, and what a failing disk does to it."""

import asyncio
import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import apsw
import pytest

from s3d.errors import ConfigError
from s3d.store.db import Database
from s3d.store.failures import StoreFailed, StoreFull
from s3d.store.opening import Schema, check_library, log_of
from s3d.store.writer import CHECKPOINT_PAGES, MAX_TURN

either_thread = pytest.mark.parametrize("short", [False, True], ids=["thread", "loop"])
SCHEMA = Schema(1, "CREATE TABLE item(key TEXT PRIMARY KEY, body BLOB)")


class FailingFile(apsw.VFSFile):
    def __init__(self, disk: "FailingDisk", name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self.disk = disk
        super().__init__("unix", name, flags)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self.disk.broken:
            raise apsw.IOError("the disk is broken")
        super().xSync(flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        if self.disk.full:
            raise apsw.FullError("the disk is full")
        super().xWrite(data, offset)


class FailingDisk(apsw.VFS):
    """The default disk of SQLite, whose syncs fail while it is `broken` and whose writes find no room while `full`."""

    def __init__(self) -> None:
        self.broken = False
        self.full = False
        super().__init__("failing", "unix", makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> FailingFile:  # noqa: N802
        if name is None:
            raise apsw.CantOpenError("a temporary file is wanted and there is nowhere to put it")
        return FailingFile(self, name, flags)


@pytest.fixture
def disk() -> Iterator[FailingDisk]:
    disk = FailingDisk()
    yield disk
    disk.unregister()


def open_db(path: Path, schema: Schema = SCHEMA) -> Awaitable[Database]:
    return asyncio.to_thread(Database.open, path, schema)


def put(key: str, body: bytes = b"") -> Callable[[apsw.Connection], int]:
    """A write that answers the number of its row."""

    def apply(db: apsw.Connection) -> int:
        db.execute("INSERT INTO item VALUES(?, ?)", (key, body))
        return db.last_insert_rowid()

    return apply


def keys(db: Database) -> list[str]:
    return [key for (key,) in db.read("SELECT key FROM item ORDER BY key")]


def wal_size(db: Database) -> int:
    return Path(f"{db.path}-wal").stat().st_size


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    database = await open_db(tmp_path / "test.db")
    yield database
    await database.close()


@either_thread
async def test_a_write_returns_what_its_function_returns(db: Database, short: bool) -> None:
    assert [await db.write(put("a"), short=short), await db.write(put("b"), short=short)] == [1, 2]


async def test_a_read_sees_every_answered_write(db: Database) -> None:
    for number in range(20):
        await db.write(put(f"{number:02}"))
        assert len(keys(db)) == number + 1


async def test_what_was_written_is_there_after_reopening(db: Database) -> None:
    await db.write(put("a", b"body"))
    await db.close()
    again = await open_db(db.path)
    assert again.read("SELECT key, body FROM item") == [("a", b"body")]
    await again.close()


async def test_writes_that_wait_together_share_a_commit(db: Database) -> None:
    entered, go = threading.Event(), threading.Event()
    commits: list[int] = []

    def hold(connection: apsw.Connection) -> None:
        def commit() -> bool:
            commits.append(1)
            return False

        connection.set_commit_hook(commit)
        entered.set()
        go.wait()

    first = asyncio.ensure_future(db.write(hold))
    await asyncio.to_thread(entered.wait)
    others = [asyncio.ensure_future(db.write(put(str(number)))) for number in range(50)]
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(first, *others)
    assert len(keys(db)) == 50
    assert len(commits) <= 2


async def test_short_writes_run_on_the_loop_and_what_takes_long_goes_on_in_the_thread(db: Database) -> None:
    ran: list[str] = []

    def wait(connection: apsw.Connection) -> None:
        ran.append(threading.current_thread().name)
        end = time.perf_counter() + 2 * MAX_TURN
        while time.perf_counter() < end:
            connection.execute("SELECT 1").fetchall()

    def run(connection: apsw.Connection) -> None:
        ran.append(threading.current_thread().name)

    await asyncio.gather(*(db.write(write, short=True) for write in (run, wait, run)))
    await asyncio.gather(db.write(run, short=True), db.write(run))
    here = threading.current_thread().name
    assert ran == [here, here, "s3d-test", "s3d-test", "s3d-test"]


async def test_a_lock_of_another_program_holds_up_a_short_write_and_not_the_loop(db: Database) -> None:
    other = apsw.Connection(str(db.path))
    other.execute("BEGIN IMMEDIATE")
    waiting = asyncio.ensure_future(db.write(put("a"), short=True))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    other.execute("ROLLBACK")
    other.close()
    assert await waiting == 1


OTHER = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); print(*db.execute(sys.argv[2])); db.close()"
"""A program that looks into a database and ends. SQLite's locks are those of a process."""


def ask_elsewhere(path: Path, sql: str) -> str:
    """What another program finds in the database."""
    command = [sys.executable, "-c", OTHER, str(path), sql]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()


@pytest.mark.semantics("D-1", "D-12", "D-12b")
@pytest.mark.parametrize("life", ["first", "second"])
async def test_another_program_that_looks_into_the_database_leaves_its_log(tmp_path: Path, life: str) -> None:
    path = tmp_path / "db"
    if life == "second":
        await (await open_db(path)).close()
    db = await open_db(path)
    try:
        await db.write(lambda db: db.execute("INSERT INTO item VALUES ('a', '')"))
        there = log_of(path).stat()
        assert await asyncio.to_thread(ask_elsewhere, path, "SELECT count(*) FROM item") == "(1,)"
        assert log_of(path).stat().st_ino == there.st_ino
        await db.write(lambda db: db.execute("INSERT INTO item VALUES ('b', '')"))
        assert await asyncio.to_thread(ask_elsewhere, path, "SELECT count(*) FROM item") == "(2,)"
    finally:
        await db.close()


@pytest.mark.semantics("D-4")
async def test_a_log_that_another_program_wrote_into_the_database_can_be_done_without(tmp_path: Path) -> None:
    path = tmp_path / "db"
    db = await open_db(path)
    await db.write(lambda db: db.execute("INSERT INTO item VALUES ('a', '')"))
    await db.close()
    await asyncio.to_thread(ask_elsewhere, path, "SELECT count(*) FROM item")
    with pytest.raises(ConfigError, match="is gone") as refused:
        await open_db(path)
    assert f"touch {log_of(path)}" in refused.value.hint
    log_of(path).touch()
    db = await open_db(path)
    try:
        assert db.read("SELECT key FROM item") == [("a",)]
    finally:
        await db.close()


@either_thread
async def test_a_write_that_raises_undoes_only_itself(db: Database, short: bool) -> None:
    def fail(connection: apsw.Connection) -> None:
        put("half")(connection)
        raise LookupError("no")

    results = await asyncio.gather(
        *(db.write(write, short=short) for write in (put("a"), fail, put("a"), put("b"))), return_exceptions=True
    )
    assert [type(result) for result in results] == [int, LookupError, apsw.ConstraintError, int]
    assert keys(db) == ["a", "b"]


async def test_a_look_up_without_rows_inside_a_write_reaches_its_caller(db: Database) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        await db.write(lambda connection: next(connection.execute("SELECT 1 WHERE 0")))


async def test_a_cancelled_caller_does_not_take_its_write_back(db: Database) -> None:
    go = threading.Event()
    held = asyncio.ensure_future(db.write(lambda _: go.wait()))
    leaving = asyncio.ensure_future(db.write(put("a")))
    await asyncio.sleep(0)
    leaving.cancel()
    go.set()
    await held
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await db.checkpoint()
    assert keys(db) == ["a"]


async def test_reading_cannot_write(db: Database) -> None:
    with pytest.raises(apsw.ReadOnlyError):
        db._reader.execute("DELETE FROM item")


async def test_a_commit_is_synced_in_full(db: Database) -> None:
    assert await db.write(lambda connection: connection.pragma("synchronous")) == 2
    assert await db.write(lambda connection: connection.pragma("journal_mode")) == "wal"


async def test_the_wal_stays_bounded(db: Database) -> None:
    for number in range(40):
        await asyncio.gather(*(db.write(put(f"{number}-{i}", bytes(16_000))) for i in range(50)))
    assert len(keys(db)) == 2000
    assert wal_size(db) < 3 * CHECKPOINT_PAGES * 4096


async def test_look_ups_in_between_do_not_keep_the_wal_from_starting_over(db: Database) -> None:
    for number in range(40):
        writes = [asyncio.ensure_future(db.write(put(f"{number}-{i}", bytes(16_000)), short=True)) for i in range(50)]
        while not all(write.done() for write in writes):
            await asyncio.sleep(0)
            db.read("SELECT count(*) FROM item WHERE key = '0-0'")
        assert len(keys(db)) == 50 * (number + 1)
    assert wal_size(db) < 3 * CHECKPOINT_PAGES * 4096


async def test_a_look_up_that_fails_is_followed_by_one_that_sees_what_was_written(db: Database) -> None:
    await db.write(put("a"))
    with pytest.raises(apsw.SQLError):
        db.read("SELECT nothing FROM item")
    assert keys(db) == ["a"]
    await db.write(put("b"))
    assert keys(db) == ["a", "b"]


async def test_look_ups_with_no_wait_between_them_see_one_state_though_a_group_is_committed_meanwhile(
    db: Database,
) -> None:
    begun, go = threading.Event(), threading.Event()

    def write(writer: apsw.Connection) -> None:
        begun.set()
        assert go.wait(30)
        put("a")(writer)

    writing = asyncio.ensure_future(db.write(write))
    await asyncio.to_thread(begun.wait)
    before = keys(db)
    go.set()
    other = apsw.Connection(str(db.path))
    while not other.execute("SELECT key FROM item").fetchall():
        pass
    other.close()
    assert (before, keys(db)) == ([], [])
    await writing
    assert keys(db) == ["a"]


async def test_a_checkpoint_empties_the_wal(db: Database) -> None:
    await db.write(put("a"))
    await db.checkpoint()
    assert wal_size(db) == 0


async def test_a_statement_is_not_compiled_anew_for_each_value_that_is_bound_to_it(tmp_path: Path) -> None:
    table = "CREATE TABLE item(key TEXT, state TEXT); CREATE INDEX item_waiting ON item(key) WHERE state = 'waiting'"
    db = await open_db(tmp_path / "test.db", Schema(1, table))
    compiled = 0

    def asked(*_: object) -> int:
        """SQLite asks about each table and column while it compiles."""
        nonlocal compiled
        compiled += 1
        return apsw.SQLITE_OK

    def look(state: str) -> Callable[[apsw.Connection], None]:
        return lambda writer: writer.execute("SELECT key FROM item WHERE state = ?", (state,)).close()

    await db.write(lambda writer: writer.set_authorizer(asked))
    await db.write(look("waiting"))
    once = compiled
    await db.write(look("held"))
    await db.close()

    assert compiled == once > 0


async def test_a_closed_database_refuses_writes(db: Database) -> None:
    waiting = asyncio.ensure_future(db.write(put("a")))
    await asyncio.sleep(0)
    await db.close()
    assert await waiting == 1
    with pytest.raises(StoreFailed, match="is closed"):
        await db.write(put("b"))


@pytest.mark.semantics("D-9")
async def test_a_newer_file_is_refused_and_left_untouched(db: Database) -> None:
    await db.write(put("a"))
    await db.write(lambda connection: connection.execute("PRAGMA user_version = 7"))
    await db.close()
    before = contents(db.path.parent)
    with pytest.raises(ConfigError, match=r"newer s3d \(version 7 of its tables; this one knows 1\)"):
        await open_db(db.path)
    assert contents(db.path.parent) == before


@pytest.mark.semantics("D-9")
async def test_an_older_file_is_migrated_step_by_step(db: Database) -> None:
    await db.write(put("a"))
    await db.close()
    steps = {
        1: "ALTER TABLE item ADD COLUMN size INTEGER",
        2: "UPDATE item SET size = 5; CREATE INDEX by_size ON item(size)",
    }
    newer = await open_db(db.path, Schema(3, "never run", steps))
    assert newer.read("SELECT key, size FROM item") == [("a", 5)]
    await newer.close()
    with pytest.raises(ConfigError, match="newer s3d"):
        await open_db(db.path)


async def test_a_migration_that_fails_changes_nothing(db: Database) -> None:
    await db.close()
    with pytest.raises(apsw.SQLError, match="no such table"):
        await open_db(db.path, Schema(2, "", {1: "CREATE TABLE half(x); INSERT INTO nowhere VALUES(1)"}))
    again = await open_db(db.path)
    assert again.read("SELECT name FROM sqlite_master WHERE name = 'half'") == []
    await again.close()


@pytest.mark.parametrize("data", [b"no database" * 1000, b"SQLite format 3\0" + b"x" * 4080])
async def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "test.db"
    path.write_bytes(data)
    with pytest.raises(ConfigError):
        await open_db(path)
    assert path.read_bytes() == data


@pytest.mark.parametrize("version", ["3.40.1", "3.44.5", "3.45.0", "3.50.6", "3.51.2"])
def test_an_sqlite_that_can_lose_commits_is_refused(version: str) -> None:
    with pytest.raises(ConfigError, match="can lose commits"):
        check_library(version)


@pytest.mark.parametrize("version", ["3.44.6", "3.50.7", "3.51.3", "3.54.1", "4.0.0"])
def test_an_sqlite_that_keeps_commits_is_taken(version: str) -> None:
    check_library(version)


@pytest.mark.semantics("D-3")
@either_thread
async def test_a_failed_sync_fails_the_whole_group_and_the_file_is_reopened(
    tmp_path: Path, disk: FailingDisk, short: bool
) -> None:
    db = await open_db(tmp_path / "test.db")
    disk.broken = True
    results = await asyncio.gather(
        *(db.write(put(str(number)), short=short) for number in range(5)), return_exceptions=True
    )
    assert {type(result) for result in results} == {StoreFailed}
    with pytest.raises(StoreFailed):
        await db.write(put("while it is broken"), short=short)
    assert db.failure is not None
    disk.broken = False
    db._writer._reopen_at = 0
    await db.write(put("afterwards"), short=short)
    assert db.failure is None
    assert keys(db) == ["afterwards"]
    await db.close()


@pytest.mark.semantics("C-8")
@either_thread
async def test_only_a_loose_write_does_without_a_sync(tmp_path: Path, disk: FailingDisk, short: bool) -> None:
    db = await open_db(tmp_path / "test.db")
    await db.write(put("first"), short=short)
    disk.broken = True
    await asyncio.gather(*(db.write(put(key), short=short, loose=True) for key in ("a", "b")))
    assert keys(db) == ["a", "b", "first"]
    results = await asyncio.gather(
        *(db.write(put(key), short=short, loose=key == "c") for key in ("c", "d")), return_exceptions=True
    )
    assert {type(result) for result in results} == {StoreFailed}
    disk.broken = False
    db._writer._reopen_at = 0
    await db.write(put("e"), short=short, loose=True)
    assert await db.write(lambda connection: connection.pragma("synchronous"), short=short) == 2
    assert keys(db) == ["a", "b", "e", "first"]
    await db.close()


async def test_no_temporary_file_is_wanted(tmp_path: Path, disk: FailingDisk) -> None:
    """The root file system of a pod is read-only, and so is its /tmp."""
    db = await open_db(tmp_path / "test.db")

    def fill_and_change_all(connection: apsw.Connection) -> None:
        connection.executemany("INSERT INTO item VALUES (?, zeroblob(1000))", [(str(n),) for n in range(1000)])
        connection.execute("SAVEPOINT half")
        connection.execute("UPDATE item SET body = zeroblob(2000), key = '.' || key")
        connection.execute("SELECT count(*) FROM (SELECT body FROM item ORDER BY body, key)").fetchone()
        connection.execute("RELEASE half")

    await db.write(fill_and_change_all)
    assert db.read("SELECT count(*) FROM item WHERE length(body) = 2000") == [(1000,)]
    await db.close()


@either_thread
async def test_a_full_disk_refuses_writes_until_there_is_room(tmp_path: Path, disk: FailingDisk, short: bool) -> None:
    db = await open_db(tmp_path / "test.db")
    disk.full = True
    results = await asyncio.gather(
        *(db.write(put(str(number)), short=short) for number in range(5)), return_exceptions=True
    )
    assert {type(result) for result in results} == {StoreFull}
    disk.full = False
    await db.write(put("afterwards"), short=short)
    assert keys(db) == ["afterwards"]
    await db.close()


def contents(directory: Path) -> dict[str, str]:
    """The digests of all files."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()}


@pytest.mark.semantics("D-9")
async def test_a_first_start_that_was_cut_off_before_its_tables_is_made_good(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    path.touch()
    unfinished = apsw.Connection(str(path))
    unfinished.pragma("journal_mode", "WAL")
    unfinished.close()
    assert not path.with_name("queue.db-wal").exists()
    db = await open_db(path)
    assert db.read("SELECT count(*) FROM item") == [(0,)]
    await db.close()


async def test_a_database_whose_log_is_gone_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    await (await open_db(path)).close()
    path.with_name("queue.db-wal").unlink()
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"queue\.db-wal is gone"):
        await open_db(path)
    assert path.read_bytes() == before
