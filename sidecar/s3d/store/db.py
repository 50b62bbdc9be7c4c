"""One SQLite file with one writing thread, which commits together whatever has queued up.

The loop collects what its tasks write and sends it out as a group, one at a time. The statements of a group of short
writes run on the loop itself, since handing each of them over costs more than running it, and SQLite lets go of the
interpreter's lock at each step: two busy threads would take turns at every row. COMMIT, sync and everything that may
take a while are the thread's.

A write is answered when its COMMIT is on stable storage. What is synced, and when (WAL, synchronous=FULL): opening
syncs the directory, for the names of file and WAL; a commit syncs the WAL once, whatever the size of its group; a
checkpoint syncs the WAL, copies, then syncs the database, and the first commit after it starts the WAL over and syncs
the new header too. Checkpoints run in the writing thread between groups, after the answers have left.

The thread is `writer.py`, which also says what a failed commit means. How the file is opened stands in `opening.py`.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import apsw

from s3d.store.failures import FAILURES, StoreFailed, store_error
from s3d.store.opening import Schema, open_both
from s3d.store.place import Place
from s3d.store.writer import Apply, Group, Write, Writer

T = TypeVar("T")

MAX_GROUP = 512
"""Most writes that share one commit."""
Observer = Callable[[int, float, bool], None]


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
        self._unreadable = 0
        self._closed = False
        self._waiting: list[Write] = []
        self._called = False
        self._out: Group | None = None
        self._looking = False
        self._writer = Writer(path, writer, self._resolve)

    @classmethod
    def open(cls, path: Path, schema: Schema, observe: Observer | None = None) -> Self:
        """Open or create the file and bring an older one up to `schema`. Blocks; meant for start-up.

        `observe` is called for each commit on the loop's thread: how many writes, seconds of the writing thread, and
        whether it failed.

        Raises ConfigError for a file of a newer version (which is left untouched), for one that is no database, for a
        file system without WAL and for an SQLite that can lose commits; StoreFailed when the disk fails.
        """
        return cls(path, *open_both(path, schema), observe)

    @property
    def failure(self) -> StoreFailed | None:
        """Why writes fail at the moment; None while they do not."""
        return self._writer.failure

    @property
    def doubts(self) -> int:
        """How often there was a reason to look at what the rows hold: another program wrote, a text was not UTF-8."""
        return self._unreadable + self._writer.doubts

    @property
    def place(self) -> Place | None:
        """Looked at after each commit, and before the file is opened anew; None: nobody watches."""
        return self._writer.place

    @place.setter
    def place(self, place: Place | None) -> None:
        self._writer.place = place

    async def write(self, apply: Apply[T], *, short: bool = False, loose: bool = False) -> T:
        """Run `apply` in a transaction and return its result once it is on stable storage.

        A `short` one is a handful of look-ups by index: it may run on the loop's thread, which costs less than handing
        it over. Any other runs in the writing thread, and so does the COMMIT of all. A `loose` one is not waited for on
        stable storage: a power cut may undo it, and with it only what is loose too. If `apply` raises, its own effects
        are undone and the exception comes out here. Raises StoreFailed when the commit failed: then it may still turn
        out to be stored, if the process ends before the file has been reopened. Cancelling the caller does not take the
        write back.
        """
        return await self.submit(apply, short=short, loose=loose)

    def submit(self, apply: Apply[T], *, short: bool = False, loose: bool = False) -> asyncio.Future[T]:
        """Take a write into the line at once, behind all that was asked for before; what `write` would give or raise
        comes with the future. Raises StoreFailed where the database is closed."""
        future: asyncio.Future[T] = self._ask(Write(asyncio.get_running_loop().create_future(), apply, short, loose))
        return future

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
            self._unreadable += isinstance(error, UnicodeDecodeError)
            raise store_error(error, f"{self.path} cannot be read") from error

    async def checkpoint(self) -> None:
        """Carry the WAL into the database file and empty it."""
        await self._ask(Write(asyncio.get_running_loop().create_future()))

    async def close(self) -> None:
        """Finish what is queued, checkpoint, close. Later writes raise StoreFailed."""
        if not self._closed:
            self._closed = True
            last = Write(asyncio.get_running_loop().create_future())
            self._enter(last)
            try:
                with contextlib.suppress(StoreFailed):
                    await last.future
            finally:
                await asyncio.to_thread(self._writer.stop)
                self._reader.close()

    # What follows runs on the loop's thread. While a group is `_out` the connection is the writing thread's alone, and
    # what is asked meanwhile waits for the next one.

    def _ask(self, write: Write) -> asyncio.Future[Any]:
        if self._closed:
            raise StoreFailed(f"{self.path} is closed")
        self._enter(write)
        return write.future

    def _look_away(self) -> None:
        """End the reader's snapshot: while there is one, the WAL cannot start over."""
        if self._looking:
            self._looking = False
            with contextlib.suppress(apsw.Error):
                self._reader.execute("COMMIT")

    def _enter(self, write: Write) -> None:
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
        taken = self._waiting[:MAX_GROUP]
        del self._waiting[:MAX_GROUP]
        group = Group([write for write in taken if write.apply], [write for write in taken if not write.apply])
        self._out = group
        if group.writes and all(write.short for write in group.writes):
            self._writer.begin(group)
        self._writer.submit(group)

    def _resolve(self, group: list[Write], seconds: float, failed: bool, back: bool) -> None:
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
