"""One SQLite file with one writing thread, which commits together whatever has queued up.

The loop collects what its tasks write and sends it out as a group, one at a time. The statements of a group of short
writes run on the loop itself, since handing each of them over costs more than running it, and SQLite lets go of the
interpreter's lock at each step: two busy threads would take turns at every row. COMMIT, sync and everything that may
take a while are the thread's.

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
import contextlib
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
from s3d.store.place import Place

T = TypeVar("T")
Apply = Callable[[apsw.Connection], T]

GROUP = 512
"""Most writes that share one commit."""
SHORT = 0.005
"""Seconds after which the loop leaves the rest of a group of short writes to the thread."""
CHECKPOINT_PAGES = 2000
"""Pages in the WAL (of 4 KiB) that make a checkpoint due."""
WAL_LIMIT = 64 << 20
"""Bytes that the WAL file may keep after a burst."""
WAL_HEADER, FRAME_HEADER = 32, 24
"""Bytes of the WAL's header, and of that of each page in it (https://sqlite.org/fileformat.html)."""
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


class NotText(StoreFailed):
    """A row of the local dir holds what is no text. Nothing was stored."""


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
    short: bool = False
    result: Any = None
    error: BaseException | None = None


@dataclass(slots=True)
class _Group:
    """What is committed together, and the checkpoints that were asked for with it."""

    writes: list[_Write]
    checkpoints: list[_Write]
    begun: bool = False
    """Whether the loop has begun the transaction."""
    done: int = 0
    """How many of the writes the loop has run."""
    error: Exception | None = None
    """What failed there."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Whose futures these are."""
        return (self.writes or self.checkpoints)[0].future.get_loop()


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
        self._page_size = int(writer.pragma("page_size"))
        self._version = -1
        self.doubts = 0
        """How often there was a reason to look at what the rows hold: another program wrote, a text was not UTF-8."""
        self.place: Place | None = None
        """Looked at after each commit, and before the file is opened anew; None: nobody watches."""
        self._closed = False
        self._waiting: list[_Write] = []
        self._called = False
        self._out: _Group | None = None
        self._looking = False
        self._queue: queue.SimpleQueue[_Group | None] = queue.SimpleQueue()
        self._watch_wal(writer)
        self._thread = threading.Thread(target=self._run, name=f"s3d-{path.stem}", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, path: Path, schema: Schema, observe: Observer | None = None) -> Self:
        """Open or create the file and bring an older one up to `schema`. Blocks; meant for start-up.

        `observe` is told of each commit on the loop's thread: how many writes, seconds of the writing thread, and
        whether it failed.

        Raises ConfigError for a file of a newer version (which is left untouched), for one that is no database, for a
        file system without WAL and for an SQLite that can lose commits; StoreFailed when the disk fails.
        """
        check_library(apsw.sqlite_lib_version())
        try:
            in_header = _version_in_header(path)
            _refuse_newer(path, in_header, schema)
            _refuse_half(path)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            writer = _connect(path)
            try:
                # From here on nobody opens the file but SQLite: to close it would let go of SQLite's locks on it.
                _migrate(writer, path, schema, in_header)
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
                hint=f"to start without it, move {path.parent} aside as a whole: the database, its -wal and -shm, and "
                "the bodies beside them; what they still hold is then not pushed",
            ) from error
        except (*FAILURES, apsw.BusyError, OSError) as error:
            raise store_error(error, f"{path} cannot be opened") from error
        return cls(path, writer, reader, observe)

    @property
    def failure(self) -> StoreFailed | None:
        """Why writes fail at the moment; None while they do not."""
        return self._failure

    async def write(self, apply: Apply[T], *, short: bool = False) -> T:
        """Run `apply` in a transaction and return its result once it is on stable storage.

        A `short` one is a handful of look-ups by index: it may run on the loop's thread, which costs less than handing
        it over. Any other runs in the writing thread, and so does the COMMIT of all. If `apply` raises, its own effects
        are undone and the exception comes out here. Raises StoreFailed when the commit failed: then it may still turn
        out to be stored, if the process ends before the file has been reopened. Cancelling the caller does not take the
        write back.
        """
        return cast(T, await self._ask(_Write(asyncio.get_running_loop().create_future(), apply, short)))

    def read(self, sql: str, bindings: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of an indexed look-up. It runs on the loop's thread, so it must be short.

        Look-ups with no await between them see one state of the tables.
        """
        try:
            if not self._looking:
                # Nothing is written before the next group goes out, so until then one snapshot serves all look-ups:
                # beginning and ending one for each takes locks, a third of the time of a short look-up.
                self._reader.execute("BEGIN")
                self._looking = True
                if self._out:
                    # The thread commits between any two of ours, and a checkpoint of its waits for us.
                    self._out.loop.call_soon(self._look_away)
            return self._reader.execute(sql, bindings).fetchall()
        except (*FAILURES, apsw.BusyError, UnicodeDecodeError) as error:
            self._look_away()
            self.doubts += isinstance(error, UnicodeDecodeError)
            raise store_error(error, f"{self.path} cannot be read") from error

    async def checkpoint(self) -> None:
        """Carry the WAL into the database file and empty it."""
        await self._ask(_Write(asyncio.get_running_loop().create_future()))

    async def close(self) -> None:
        """Finish what is queued, checkpoint, close. Later writes raise StoreFailed."""
        if not self._closed:
            self._closed = True
            last = _Write(asyncio.get_running_loop().create_future())
            self._enter(last)
            try:
                with contextlib.suppress(StoreFailed):
                    await last.future
            finally:
                self._queue.put(None)
                await asyncio.to_thread(self._thread.join)
                self._reader.close()

    # What follows runs on the loop's thread. While a group is `_out` the connection is the writing thread's alone, and
    # what is asked meanwhile waits for the next one.

    async def _ask(self, write: _Write) -> Any:
        if self._closed:
            raise StoreFailed(f"{self.path} is closed")
        self._enter(write)
        return await write.future

    def _look_away(self) -> None:
        """End the reader's snapshot: while there is one, the WAL cannot start over."""
        if self._looking:
            self._looking = False
            with contextlib.suppress(apsw.Error):
                self._reader.execute("COMMIT")

    def _enter(self, write: _Write) -> None:
        self._waiting.append(write)
        if not (self._out or self._called):
            self._call(write.future.get_loop())

    def _call(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send a group out after all else that is due now: whoever is about to write shares it."""
        self._called = True
        loop.call_soon(self._send_out)

    def _send_out(self) -> None:
        self._called = False
        self._look_away()
        taken = self._waiting[:GROUP]
        del self._waiting[:GROUP]
        group = _Group([write for write in taken if write.apply], [write for write in taken if not write.apply])
        self._out = group
        if group.writes and self._writer and all(write.short for write in group.writes):
            _run_short(self._writer, group)
        self._queue.put(group)

    def _resolve(self, group: list[_Write], seconds: float, failed: bool, back: bool) -> None:
        """Answer those who wait; with `back` the connection is the loop's again."""
        self._look_away()
        if group and self._observe and seconds:
            self._observe(len(group), seconds, failed)
        for write in group:
            if write.future.done():
                continue
            if write.error:
                write.future.set_exception(write.error)
            else:
                write.future.set_result(write.result)
        if back:
            self._out = None
            if self._waiting:
                self._call(self._waiting[0].future.get_loop())

    # What follows runs in the writing thread.

    def _run(self) -> None:
        while group := self._queue.get():
            seconds, failed = self._commit(group)
            if not group.checkpoints and self._wal_pages < CHECKPOINT_PAGES:
                _call_into(group.loop, self._resolve, group.writes, seconds, failed, True)
                continue
            # The answers leave before a checkpoint.
            _call_into(group.loop, self._resolve, group.writes, seconds, failed, False)
            failure = self._checkpoint(
                apsw.SQLITE_CHECKPOINT_TRUNCATE if group.checkpoints else apsw.SQLITE_CHECKPOINT_PASSIVE
            )
            for waiting in group.checkpoints:
                waiting.error = failure
            _call_into(group.loop, self._resolve, group.checkpoints, 0.0, False, True)
        if self._writer:
            self._writer.close()

    def _commit(self, group: _Group) -> tuple[float, bool]:
        """Run what the loop has not run, and commit. The outcome is in each write; how long it took, and whether it
        failed."""
        if not group.writes:
            return 0.0, False
        started = time.perf_counter()
        failed = False
        try:
            if group.error:
                raise group.error  # noqa: TRY301 (what failed on the loop is judged here)
            db = self._connection()
            if not group.begun:
                db.execute("BEGIN IMMEDIATE")
            for write in group.writes[group.done :]:
                _run_one(db, write)
            if self.place is not None and (torn := self.place.look_at_sizes()):
                # What this commit would be written behind is not there any more.
                raise apsw.IOError(torn)  # noqa: TRY301 (as what SQLite finds)
            db.execute("COMMIT")
            self._notice_doubts(db, group)
            if self.place is not None:
                self._expect(self.place)
                # Before anybody is told: what was written into a file that has no name any more is gone.
                self.place.look()
        except Exception as error:  # noqa: BLE001 (a dead thread would leave every writer waiting)
            failed = True
            failure = self._fail(error)
            for write in group.writes:
                write.error = write.error or type(failure)(failure.message, hint=failure.hint)
        return time.perf_counter() - started, failed

    def _notice_doubts(self, db: apsw.Connection, group: _Group) -> None:
        """Note that another program has written since the last group: our own commits leave the version as it is."""
        self.doubts += any(isinstance(write.error, NotText) for write in group.writes)
        version = int(db.execute("PRAGMA data_version").get or 0)
        if version != self._version and self._version >= 0:
            log.warning("another program has written into %s", self.path)
            self.doubts += 1
        self._version = version

    def _expect(self, place: Place) -> None:
        """Say how long the files are. SQLite itself cuts a log that starts over to WAL_LIMIT."""
        log_size = WAL_HEADER + self._wal_pages * (FRAME_HEADER + self._page_size) if self._wal_pages else 0
        place.expect(log_of(self.path), min(log_size, WAL_LIMIT))

    def _checkpoint(self, mode: int) -> StoreFailed | None:
        try:
            if self.place is not None:
                # It may be emptied.
                self.place.expect(log_of(self.path), 0)
            self._connection().wal_checkpoint(mode=mode)
            if self.place is not None:
                # It never shrinks.
                self.place.expect(self.path, self.path.stat().st_size)
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
        if self.place is not None and (trouble := self.place.look()):
            # What was answered is in the other file.
            raise StoreFailed(trouble, hint="look at the volume of the local dir")
        writer = _connect(self.path)
        try:
            _check_pages(writer, self.path)
            if self.place is not None:
                self.place.expect(log_of(self.path), 0)
            # The reader has kept the WAL's index alive, so this carries over what was answered and nothing else.
            writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except BaseException:
            writer.close()
            raise
        self._watch_wal(writer)
        self._writer, self._failure, self._wal_pages, self._version = writer, None, 0, -1
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
        if isinstance(error, UnicodeDecodeError):
            write.error = NotText(f"a row holds what is no text: {error}")
        db.execute("ROLLBACK TO one")
    db.execute("RELEASE one")


def _run_short(db: apsw.Connection, group: _Group) -> None:
    """Begin a group on the loop's thread and run what fits into SHORT; the rest, and every failure, is the thread's."""
    end = time.perf_counter() + SHORT
    try:
        # Another program that holds the lock must not hold up the loop.
        db.set_busy_timeout(0)
        try:
            db.execute("BEGIN IMMEDIATE")
        finally:
            db.set_busy_timeout(BUSY_TIMEOUT)
        group.begun = True
        for write in group.writes:
            if time.perf_counter() > end:
                break
            _run_one(db, write)
            group.done += 1
    except apsw.BusyError as error:
        group.error = error if group.begun else None
    except Exception as error:  # noqa: BLE001 (the thread judges it)
        group.error = error


def _call_into(loop: asyncio.AbstractEventLoop, answer: Callable[..., None], *arguments: object) -> None:
    try:
        loop.call_soon_threadsafe(answer, *arguments)
    except RuntimeError:
        log.debug("the loop ended before its answers")


def _connect(path: Path) -> apsw.Connection:
    """Open an existing file with full durability. Raises ConfigError where WAL is not to be had."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, statementcachesize=200)
    try:
        db.set_busy_timeout(BUSY_TIMEOUT)
        # A file that turns out to be newer must be left as it is.
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        # Else SQLite compiles a statement anew whenever a value that is bound to it could make another plan better.
        db.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
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


def log_of(path: Path) -> Path:
    """The WAL of a database."""
    return path.with_name(f"{path.name}-wal")


def is_new(path: Path) -> bool:
    """Whether a database is not there, or nobody has made its tables yet."""
    return _version_in_header(path) == 0


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


def _refuse_half(path: Path) -> None:
    """Refuse a database whose log is gone and a log whose database is: SQLite would go on with what the rest holds.

    Once the tables are made both are there, since no connection of ours removes the log: bytes 18 and 19 of the header
    say that there is one, and 60 to 63 are the tables' version. Before that a crash may leave one without the other.
    """
    log_path = log_of(path)
    try:
        with path.open("rb") as file:
            header = file.read(64)
    except FileNotFoundError:
        header = b""
    if not header and log_path.exists():
        missing, left = path, log_path
    elif header[18:20] == b"\2\2" and any(header[60:]) and not log_path.exists():
        missing, left = log_path, path
    else:
        return
    hint = f"put it back; to start without it, move {path.parent} aside as a whole and look into it"
    if missing == log_path:
        # Nothing in the file tells a log that was lost from one that was written into it.
        hint += (
            f"; where another program (sqlite3) has opened {path.name} while s3d did not run, it has written the log "
            f"into it and deleted it: then nothing is missing, and `touch {missing}` lets s3d go on"
        )
    raise ConfigError(
        f"{missing} is gone or empty, and what {left.name} holds is only a part of what was acknowledged", hint=hint
    )


def sync_dir(path: Path) -> None:
    """Put the names in a directory on stable storage."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _migrate(db: apsw.Connection, path: Path, schema: Schema, in_header: int) -> None:
    """Bring the tables to the schema's version in one transaction, and that into the header of the file, where the
    version is `in_header` now."""
    version = db.pragma("user_version")
    _refuse_newer(path, version, schema)
    if version < schema.version:
        steps = [schema.sql] if not version else [schema.migrations[n] for n in range(version, schema.version)]
        db.execute("BEGIN IMMEDIATE")
        for step in steps:
            db.execute(step)
        db.execute(f"PRAGMA user_version = {schema.version}")
        db.execute("COMMIT")
    if in_header != schema.version:
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)


def _check_pages(db: apsw.Connection, path: Path) -> None:
    if path.stat().st_size <= QUICK_CHECK_LIMIT and (found := db.execute("PRAGMA quick_check(1)").get) != "ok":
        raise StoreFailed(f"{path} is damaged: {found}", hint="stop s3d and look at the volume of the local dir")
