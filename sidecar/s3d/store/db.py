"""One SQLite file with one writing thread, which commits together whatever has queued up.

A write is answered when its COMMIT is on stable storage. What is synced, and when (WAL, synchronous=FULL): opening
syncs the directory, for the names of file and WAL; a commit syncs the WAL once, whatever the size of its group; a
checkpoint syncs the WAL, copies, then syncs the database, and the first commit after it starts the WAL over and syncs
the new header too. Checkpoints run in the writing thread between groups, after the answers have left.

A failed COMMIT or I/O error fails its whole group with StoreFailed and is never retried on that connection: the kernel
may have dropped the pages that it could not write. The thread goes on with a new connection, once a checkpoint through
it has carried everything that was ever answered into the database file and emptied the WAL. Only a full disk keeps its
connection: there the write was refused, and no sync has failed.
"""

import asyncio
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import apsw

from s3d.errors import ConfigError, S3DError

T = TypeVar("T")
Apply = Callable[[apsw.Connection], T]

GROUP = 512
"""Most writes that share one commit."""
CHECKPOINT_PAGES = 2000
"""Pages in the WAL (of 4 KiB) that make a checkpoint due."""
WAL_LIMIT = 64 << 20
"""Bytes that the WAL file may keep after a burst."""
REOPEN_PAUSE = 1.0
"""Seconds between two attempts to reopen after a failure; writes fail at once meanwhile."""
QUICK_CHECK_LIMIT = 64 << 20
"""Largest file, in bytes, that is checked page by page when it is reopened."""
BUSY_TIMEOUT = 5000
"""Milliseconds; our two connections meet for the length of a statement or of a checkpoint."""

# What SQLite raises when the disk, the file or the memory fails, as opposed to the statement.
FAILURES = (
    apsw.IOError,
    apsw.FullError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.CantOpenError,
    apsw.ReadOnlyError,
    apsw.NoMemError,
)
log = logging.getLogger(__name__)

Observer = Callable[[int, float, bool], None]


class StoreFailed(S3DError):
    """The local dir cannot be written or read. Whether the change was stored is unknown until the next start."""


class StoreFull(StoreFailed):
    """The local dir is full. Nothing was stored."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of a database: `sql` makes them in an empty file, `migrations[n]` leads from version n to n + 1."""

    version: int
    sql: str
    migrations: Mapping[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Write:
    """A queued write. Without `apply` it asks for a checkpoint after its group."""

    future: asyncio.Future[Any]
    apply: Apply[Any] | None = None
    result: Any = None
    error: BaseException | None = None


class Database:
    """One open database, for one event loop.

    Any number of tasks may `write`; `read` belongs to the loop's thread and sees every answered write.
    """

    def __init__(
        self, path: Path, writer: apsw.Connection, reader: apsw.Connection, observe: Observer | None = None
    ) -> None:
        """Take over two connections to the same file; `open` is the way in."""
        self.path = path
        self._observe = observe
        self._reader = reader
        self._writer: apsw.Connection | None = writer
        self._failure: StoreFailed | None = None
        self._reopen_at = 0.0
        self._wal_pages = 0
        self._closed = False
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._watch_wal(writer)
        self._thread = threading.Thread(target=self._run, name=f"s3d-{path.stem}", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, path: Path, schema: Schema, observe: Observer | None = None) -> Self:
        """Open or create the file and bring an older one up to `schema`. Blocks; meant for start-up.

        `observe` is told of each commit in the writing thread: how many writes, seconds, and whether it failed.

        Raises ConfigError for a file of a newer version (which is left untouched), for one that is no database, for a
        file system without WAL and for an SQLite that can lose commits; StoreFailed when the disk fails.
        """
        check_library(apsw.sqlite_lib_version())
        try:
            _refuse_newer(path, _version_in_header(path), schema)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            writer = _connect(path)
            try:
                _migrate(writer, path, schema)
                # The WAL exists by now. SQLite syncs its name with fdatasync, which POSIX lets leave out names.
                sync_dir(path.parent)
                reader = _connect(path)
            except BaseException:
                writer.close()
                raise
            reader.execute("PRAGMA query_only = ON")
        except (apsw.NotADBError, apsw.CorruptError) as error:
            raise ConfigError(
                f"{path} is not a readable database: {error}",
                hint="move it aside to start without it; what it still holds is then not pushed",
            ) from error
        except (*FAILURES, apsw.BusyError, OSError) as error:
            raise store_error(error, f"{path} cannot be opened") from error
        return cls(path, writer, reader, observe)

    @property
    def failure(self) -> StoreFailed | None:
        """Why writes fail at the moment; None while they do not."""
        return self._failure

    async def write(self, apply: Apply[T]) -> T:
        """Run `apply` in the writing thread and return its result once it is on stable storage.

        If `apply` raises, its own effects are undone and the exception comes out here. Raises StoreFailed when the
        commit failed: then it may still turn out to be stored, if the process ends before the file has been reopened.
        Cancelling the caller does not take the write back.
        """
        return cast(T, await self._ask(_Write(asyncio.get_running_loop().create_future(), apply)))

    def read(self, sql: str, bindings: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of an indexed look-up. It runs on the loop's thread, so it must be short."""
        try:
            return self._reader.execute(sql, bindings).fetchall()
        except (*FAILURES, apsw.BusyError) as error:
            raise store_error(error, f"{self.path} cannot be read") from error

    async def checkpoint(self) -> None:
        """Carry the WAL into the database file and empty it."""
        await self._ask(_Write(asyncio.get_running_loop().create_future()))

    async def close(self) -> None:
        """Finish what is queued, checkpoint, close. Later writes raise StoreFailed."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
            self._reader.close()

    async def _ask(self, write: _Write) -> Any:
        if self._closed:
            raise StoreFailed(f"{self.path} is closed")
        self._queue.put(write)
        return await write.future

    # What follows runs in the writing thread.

    def _run(self) -> None:
        more = True
        while more:
            group, more = self._take()
            writes = [write for write in group if write.apply]
            checkpoints = [write for write in group if not write.apply]
            self._commit(writes)
            _answer(writes)
            if checkpoints or not more:
                failure = self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)
                for waiting in checkpoints:
                    waiting.error = failure
                _answer(checkpoints)
            elif self._wal_pages >= CHECKPOINT_PAGES:
                self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)
        if self._writer:
            self._writer.close()

    def _take(self) -> tuple[list[_Write], bool]:
        """Wait for a write and take what stands behind it; False with the last group of all."""
        group: list[_Write] = []
        write = self._queue.get()
        while write:
            group.append(write)
            if len(group) == GROUP or self._queue.empty():
                return group, True
            write = self._queue.get()
        return group, False

    def _commit(self, group: list[_Write]) -> None:
        """Run a group in one transaction; the outcome is in each write."""
        if not group:
            return
        started = time.perf_counter()
        failed = False
        try:
            db = self._connection()
            db.execute("BEGIN IMMEDIATE")
            for write in group:
                _run_one(db, write)
            db.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 (a dead thread would leave every writer waiting)
            failed = True
            failure = self._fail(error)
            for write in group:
                write.error = write.error or type(failure)(failure.message, hint=failure.hint)
        if self._observe:
            self._observe(len(group), time.perf_counter() - started, failed)

    def _checkpoint(self, mode: int) -> StoreFailed | None:
        try:
            self._connection().wal_checkpoint(mode=mode)
        except Exception as error:  # noqa: BLE001 (as above)
            return self._fail(error)
        if mode == apsw.SQLITE_CHECKPOINT_TRUNCATE:
            self._wal_pages = 0
        return None

    def _fail(self, error: Exception) -> StoreFailed:
        """Decide what an error means: the answer for those who wait, and whether the connection can be kept."""
        if isinstance(error, StoreFailed):
            return error
        failure = store_error(error, f"{self.path} cannot be written")
        log.warning("%s", failure)
        if self._writer:
            try:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                if isinstance(error, apsw.FullError | apsw.BusyError):
                    return failure
                self._writer.close()
            except apsw.Error:
                log.warning("%s cannot be rolled back or closed", self.path)
            self._writer = None
        self._failure = failure
        return failure

    def _connection(self) -> apsw.Connection:
        """Return the connection, a new one if the last one failed. Raises StoreFailed while there is none."""
        if self._writer:
            return self._writer
        if self._failure and time.monotonic() < self._reopen_at:
            raise self._failure
        self._reopen_at = time.monotonic() + REOPEN_PAUSE
        writer = _connect(self.path)
        try:
            _check_pages(writer, self.path)
            # The reader has kept the WAL's index alive, so this carries over what was answered and nothing else.
            writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except BaseException:
            writer.close()
            raise
        self._watch_wal(writer)
        self._writer, self._failure, self._wal_pages = writer, None, 0
        log.info("%s is open again", self.path)
        return writer

    def _watch_wal(self, writer: apsw.Connection) -> None:
        """Count the pages in the WAL; SQLite's own checkpoint, which would run inside a COMMIT, is off with that."""

        def note(_db: apsw.Connection, _name: str, pages: int) -> int:
            self._wal_pages = pages
            return apsw.SQLITE_OK

        writer.set_wal_hook(note)


def check_library(version: str) -> None:
    """Refuse an SQLite whose WAL-reset bug can lose commits (https://sqlite.org/wal.html)."""
    number = tuple(int(part) for part in version.split("."))
    mended = number >= (3, 51, 3) or (3, 50, 7) <= number < (3, 51) or (3, 44, 6) <= number < (3, 45)
    if not mended:
        raise ConfigError(f"SQLite {version} can lose commits", hint="install an apsw with SQLite 3.51.3 or newer")


def store_error(error: Exception, what: str) -> StoreFailed:
    """Turn an error of SQLite or of the operating system into ours."""
    full = isinstance(error, apsw.FullError) or (isinstance(error, OSError) and error.errno in {ENOSPC, EDQUOT})
    kind = StoreFull if full else StoreFailed
    hint = "make room on the volume of the local dir" if full else "look at the volume of the local dir"
    return kind(f"{what}: {error}", hint=hint)


def _run_one(db: apsw.Connection, write: _Write) -> None:
    """Run one write of a group so that what it raises undoes only what it did. A failing disk fails the group."""
    assert write.apply
    db.execute("SAVEPOINT one")
    try:
        write.result = write.apply(db)
    except FAILURES:
        raise
    except BaseException as error:  # noqa: BLE001 (it is the caller's, whatever it is)
        # A future takes no StopIteration, which is what next() raises on a look-up without rows.
        write.error = RuntimeError("StopIteration") if isinstance(error, StopIteration) else error
        db.execute("ROLLBACK TO one")
    db.execute("RELEASE one")


def _answer(group: list[_Write]) -> None:
    """Wake the waiters of a group, all of them with one call into the loop."""
    if group:
        try:
            group[0].future.get_loop().call_soon_threadsafe(_resolve, group)
        except RuntimeError:
            log.debug("the loop ended before %d answers", len(group))


def _resolve(group: list[_Write]) -> None:
    for write in group:
        if write.future.done():
            continue
        if write.error:
            write.future.set_exception(write.error)
        else:
            write.future.set_result(write.result)


def _connect(path: Path) -> apsw.Connection:
    """Open an existing file with full durability. Raises ConfigError where WAL is not to be had."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, statementcachesize=200)
    try:
        db.set_busy_timeout(BUSY_TIMEOUT)
        # A file that turns out to be newer must be left as it is.
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        journal = db.pragma("journal_mode", "WAL")
        db.execute("PRAGMA synchronous = FULL")
        synchronous = db.pragma("synchronous")
        db.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
        # A pod's /tmp is read-only; without a temporary file even a savepoint would be an I/O error.
        db.execute("PRAGMA temp_store = MEMORY")
    except BaseException:
        db.close()
        raise
    if (journal, synchronous) != ("wal", 2):
        db.close()
        raise ConfigError(
            f"{path} cannot be written durably (journal {journal}, synchronous {synchronous})",
            hint="the local dir must be on a local file system with shared memory",
        )
    return db


def _version_in_header(path: Path) -> int:
    """Read `user_version` without opening the database, which could change it. 0 for a file that is not there.

    Offset 60 of the header (https://sqlite.org/fileformat.html). It is never behind: a migration ends in a checkpoint.
    """
    try:
        with path.open("rb") as file:
            return int.from_bytes(file.read(64)[60:64], "big")
    except FileNotFoundError:
        return 0


def _refuse_newer(path: Path, version: int, schema: Schema) -> None:
    if version > schema.version:
        raise ConfigError(
            f"{path} was written by a newer s3d (version {version} of its tables; this one knows {schema.version})",
            hint="start the newer s3d on this local dir, or give this one a local dir of its own",
        )


def sync_dir(path: Path) -> None:
    """Put the names in a directory on stable storage."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _migrate(db: apsw.Connection, path: Path, schema: Schema) -> None:
    """Bring the tables to the schema's version in one transaction, and that into the header of the file."""
    version = db.pragma("user_version")
    _refuse_newer(path, version, schema)
    if version < schema.version:
        steps = [schema.sql] if not version else [schema.migrations[n] for n in range(version, schema.version)]
        db.execute("BEGIN IMMEDIATE")
        for step in steps:
            db.execute(step)
        db.execute(f"PRAGMA user_version = {schema.version}")
        db.execute("COMMIT")
    if _version_in_header(path) != schema.version:
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)


def _check_pages(db: apsw.Connection, path: Path) -> None:
    if path.stat().st_size <= QUICK_CHECK_LIMIT and (found := db.execute("PRAGMA quick_check(1)").get) != "ok":
        raise StoreFailed(f"{path} is damaged: {found}", hint="stop s3d and look at the volume of the local dir")
