"""The thread that writes: it commits a group of writes together, checkpoints, and opens the file anew after a failure.

A failed COMMIT or I/O error fails its whole group with StoreFailed and is never retried on that connection: the kernel
may have dropped the pages that it could not write. The thread goes on with a new connection, once a checkpoint through
it has carried everything that was ever answered into the database file and emptied the WAL. Only a full disk keeps its
connection: there the write was refused, and no sync has failed.

From `submit` to its answer the connection is the thread's alone; before and after, `begin` may use it on the loop.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import apsw

from s3d.store import opening
from s3d.store.failures import FAILURES, NotText, StoreFailed, store_error
from s3d.store.opening import BUSY_TIMEOUT, WAL_LIMIT, log_of
from s3d.store.place import Place

T = TypeVar("T")
Apply = Callable[[apsw.Connection], T]
Answer = Callable[[list["Write"], float, bool, bool], None]
"""Told of a group: its writes, seconds that it took, whether it failed, and whether the connection is free again."""

MAX_TURN = 0.005
"""Seconds after which the loop leaves the rest of a group of short writes to the thread."""
CHECKPOINT_PAGES = 2000
"""Pages in the WAL (of 4 KiB) that make a checkpoint due."""
WAL_HEADER, FRAME_HEADER = 32, 24
"""Bytes of the WAL's header, and of that of each page in it (https://sqlite.org/fileformat.html)."""
REOPEN_INTERVAL = 1.0
"""Seconds between two attempts to reopen after a failure; writes fail at once meanwhile."""
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Write:
    """A queued write. Without `apply` it asks for a checkpoint after its group."""

    future: asyncio.Future[Any]
    apply: Apply[Any] | None = None
    short: bool = False
    loose: bool = False
    """Whether a power cut may undo it."""
    result: Any = None
    error: BaseException | None = None


@dataclass(slots=True)
class Group:
    """What is committed together, and the checkpoints that were asked for with it."""

    writes: list[Write]
    checkpoints: list[Write]
    begun: bool = False
    """Whether the loop has begun the transaction."""
    done: int = 0
    """How many of the writes the loop has run."""
    error: Exception | None = None
    """What failed there."""

    @property
    def is_loose(self) -> bool:
        """Whether a power cut may undo all of it: then COMMIT does not sync."""
        return all(write.loose for write in self.writes)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Whose futures these are."""
        return (self.writes or self.checkpoints)[0].future.get_loop()


class Writer:
    """The connection that writes, and its thread."""

    def __init__(self, path: Path, connection: apsw.Connection, answer: Answer) -> None:
        """Take over a connection; `answer` is called on the loop of the group."""
        self.path = path
        self._log = log_of(path)
        self.failure: StoreFailed | None = None
        """Why writes fail at the moment; None while they do not."""
        self.doubts = 0
        """How often there was a reason to look at what the rows hold: another program wrote, a text was not UTF-8."""
        self.place: Place | None = None
        """Looked at after each commit, and before the file is opened anew; None: nobody watches."""
        self._answer = answer
        self._open: apsw.Connection | None = connection
        self._is_loose = False
        """Whether the connection leaves out the sync of a COMMIT."""
        self._reopen_at = 0.0
        self._wal_pages = 0
        self._page_size = int(connection.pragma("page_size"))
        self._version = -1
        self._queue: queue.SimpleQueue[Group | None] = queue.SimpleQueue()
        self._watch_wal(connection)
        self._thread = threading.Thread(target=self._run, name=f"s3d-{path.stem}", daemon=True)
        self._thread.start()

    def begin(self, group: Group) -> None:
        """Begin a group on the loop's thread and run what fits into MAX_TURN. The thread does the rest.

        To be called between the answer of one group and the next `submit`.
        """
        if not self._open:
            return
        end = time.perf_counter() + MAX_TURN
        try:
            # Another program that holds the lock must not hold up the loop.
            self._open.set_busy_timeout(0)
            try:
                self._begin(self._open, group)
            finally:
                self._open.set_busy_timeout(BUSY_TIMEOUT)
            group.begun = True
            for write in group.writes:
                if time.perf_counter() > end:
                    break
                _run_one(self._open, write)
                group.done += 1
        except apsw.BusyError as error:
            group.error = error if group.begun else None
        except Exception as error:  # noqa: BLE001 (the thread judges it)
            group.error = error

    def _begin(self, db: apsw.Connection, group: Group) -> None:
        """Begin the transaction of a group. A checkpoint syncs in any case, and so does whatever commits behind it."""
        if group.is_loose != self._is_loose:
            db.execute(f"PRAGMA synchronous = {'NORMAL' if group.is_loose else 'FULL'}")
            self._is_loose = group.is_loose
        db.execute("BEGIN IMMEDIATE")

    def submit(self, group: Group) -> None:
        """Have a group committed, and answered."""
        self._queue.put(group)

    def stop(self) -> None:
        """End the thread after what was submitted. Blocks."""
        self._queue.put(None)
        self._thread.join()

    # What follows runs in the thread.

    def _run(self) -> None:
        while group := self._queue.get():
            seconds, failed = self._commit(group)
            if not group.checkpoints and self._wal_pages < CHECKPOINT_PAGES:
                _call_into(group.loop, self._answer, group.writes, seconds, failed, True)
                continue
            # The answers leave before a checkpoint.
            _call_into(group.loop, self._answer, group.writes, seconds, failed, False)
            failure = self._checkpoint(
                apsw.SQLITE_CHECKPOINT_TRUNCATE if group.checkpoints else apsw.SQLITE_CHECKPOINT_PASSIVE
            )
            for waiting in group.checkpoints:
                waiting.error = failure
            _call_into(group.loop, self._answer, group.checkpoints, 0.0, False, True)
        if self._open:
            self._open.close()

    def _commit(self, group: Group) -> tuple[float, bool]:
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
                self._begin(db, group)
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

    def _notice_doubts(self, db: apsw.Connection, group: Group) -> None:
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
        place.expect(self._log, min(log_size, WAL_LIMIT))

    def _checkpoint(self, mode: int) -> StoreFailed | None:
        try:
            if self.place is not None:
                # It may be emptied.
                self.place.expect(self._log, 0)
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
        if self._open:
            try:
                if self._open.in_transaction:
                    self._open.execute("ROLLBACK")
                if isinstance(error, apsw.FullError | apsw.BusyError):
                    return failure
                self._open.close()
            except apsw.Error:
                log.warning("%s cannot be rolled back or closed", self.path)
            self._open = None
        self.failure = failure
        return failure

    def _connection(self) -> apsw.Connection:
        """Return the connection, a new one if the last one failed. Raises StoreFailed while there is none."""
        if self._open:
            return self._open
        if self.failure and time.monotonic() < self._reopen_at:
            raise self.failure
        self._reopen_at = time.monotonic() + REOPEN_INTERVAL
        if self.place is not None and (trouble := self.place.look()):
            # What was answered is in the other file.
            raise StoreFailed(trouble, hint="look at the volume of the local dir")
        writer = opening.connect(self.path)
        try:
            opening.check_pages(writer, self.path)
            if self.place is not None:
                self.place.expect(self._log, 0)
            # The reader has kept the WAL's index alive, so this carries over what was answered and nothing else.
            writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except BaseException:
            writer.close()
            raise
        self._watch_wal(writer)
        self._open, self.failure, self._wal_pages, self._version = writer, None, 0, -1
        self._is_loose = False
        log.info("%s is open again", self.path)
        return writer

    def _watch_wal(self, writer: apsw.Connection) -> None:
        """Count the pages in the WAL; SQLite's own checkpoint, which would run inside a COMMIT, is off with that."""

        def note(_db: apsw.Connection, _name: str, pages: int) -> int:
            self._wal_pages = pages
            return apsw.SQLITE_OK

        writer.set_wal_hook(note)


def _run_one(db: apsw.Connection, write: Write) -> None:
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


def _call_into(loop: asyncio.AbstractEventLoop, answer: Callable[..., None], *arguments: object) -> None:
    try:
        loop.call_soon_threadsafe(answer, *arguments)
    except RuntimeError:
        log.debug("the loop ended before its answers")
