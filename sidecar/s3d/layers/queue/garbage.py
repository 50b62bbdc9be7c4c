"""Deletes the body files that nothing refers to any more (SEMANTICS D-2): here ends each body that had a row.

Which files these are stands in the table `garbage`, written by the transaction that let go of each. So no crash leaves
a file behind or takes one that is needed, and nobody waits for a deletion. Files whose rows went at about the same time
go together, and one commit notes that they are gone.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from s3d.layers.queue.rows import garbage
from s3d.store.bodies import Bodies
from s3d.store.db import Database, StoreFailed

log = logging.getLogger(__name__)

GLANCE = 1.0
"""Seconds after which it looks by itself."""


class Garbage:
    """What is to be deleted, and when."""

    def __init__(self, db: Database, bodies: Bodies, is_read: Callable[[str], bool]) -> None:
        """Take the tables, the bodies, and what says whether somebody reads the parts of an upload."""
        self._db = db
        self._bodies = bodies
        self._is_read = is_read
        self._work = asyncio.Event()

    def wake(self) -> None:
        """Say that there may be files to delete."""
        self._work.set()

    async def watch(self) -> None:
        """Delete what there is, and rest until there may be more."""
        self._work.clear()
        try:
            await self.collect()
        except StoreFailed as error:
            log.error("bodies that nobody needs cannot be deleted: %s", error)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GLANCE):
                await self._work.wait()

    async def collect(self) -> None:
        """Delete what there is, but for what somebody reads. Raises StoreFailed."""
        while files := [file for file, upload in garbage.found(self._db) if not self._is_read(upload)]:
            await asyncio.gather(*map(self._bodies.delete, files))
            await self._db.write(lambda db, files=files: garbage.gone(db, files))  # type: ignore[misc]
