"""Deletes the body files that nothing refers to any more (SEMANTICS D-2b): here ends each body that had a row.

Which files these are stands in the table `garbage`, written by the transaction that let go of each. So no crash leaves
a file behind or takes one that is needed, and nobody waits for a deletion. A file goes at once, and its row a while
later with others: writes and deliveries have a disk of their own to wait for.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from s3d.layers.queue.rows import garbage
from s3d.store.bodies import Bodies
from s3d.store.db import Database
from s3d.store.failures import StoreFailed

log = logging.getLogger(__name__)

POLL_INTERVAL = 1.0
"""Seconds after which it looks by itself, and notes what it has deleted."""
MAX_BATCH = 64
"""Deleted files after which that is noted at once: their rows are read again at each look."""


class Garbage:
    """What is to be deleted, and when."""

    def __init__(self, db: Database, bodies: Bodies, is_read: Callable[[str], bool]) -> None:
        """Take the tables, the bodies, and what says whether somebody reads the parts of an upload."""
        self._db = db
        self._bodies = bodies
        self._is_read = is_read
        self._work = asyncio.Event()
        self._gone: set[str] = set()
        """Files that are deleted, and whose rows are there."""
        self._noted_at = 0.0

    def wake(self) -> None:
        """Say that there may be files to delete."""
        self._work.set()

    async def watch(self) -> None:
        """Delete what there is, and rest until there may be more."""
        self._work.clear()
        clock = asyncio.get_running_loop()
        try:
            await self._delete()
            if clock.time() - self._noted_at >= POLL_INTERVAL:
                self._noted_at = clock.time()
                await self._note()
        except StoreFailed as error:
            log.error("bodies that nobody needs cannot be deleted: %s", error)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_INTERVAL):
                await self._work.wait()

    async def collect(self) -> None:
        """Delete what there is, but for what somebody reads, and note it. Raises StoreFailed."""
        await self._delete()
        await self._note()

    async def _delete(self) -> None:
        while files := self._found():
            await asyncio.gather(*map(self._bodies.delete, files))
            self._gone.update(files)
            if len(self._gone) >= MAX_BATCH:
                await self._note()

    def _found(self) -> list[str]:
        found = garbage.found(self._db)
        return [file for file, upload in found if file not in self._gone and not self._is_read(upload)]

    async def _note(self) -> None:
        if gone := tuple(self._gone):
            await self._db.write(lambda db: garbage.gone(db, gone))
            self._gone.difference_update(gone)
