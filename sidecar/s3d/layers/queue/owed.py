"""Writes that must be made: whatever must leave a state is repeated until it has left (SEMANTICS Q-7, Q-13).

The end of a turn, the outcome of a push: as long as it is not in the tables its key stands still, and nobody asks
again. A full disk gives up its ballast for it. What a restart finds is the work of `recover`.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import TypeVar

import apsw

from s3d.layers.queue.ballast import Ballast
from s3d.store.db import Database
from s3d.store.failures import StoreFailed, StoreFull

T = TypeVar("T")
Write = Callable[[apsw.Connection], T]
log = logging.getLogger(__name__)

RETRY_INTERVAL = 1.0
"""Seconds between two tries to write to a local dir that fails."""


class Owed:
    """What could not be written yet."""

    def __init__(self, db: Database, ballast: Ballast) -> None:
        """Take the tables, and the room that is kept for this."""
        self._db = db
        self._ballast = ballast
        self._later: deque[tuple[Write[object], Callable[[], None]]] = deque()
        self._news = asyncio.Event()

    async def insist(self, write: Write[T]) -> T:
        """Make a write, however long the local dir fails."""
        while True:
            try:
                return await self._db.write(write)
            except StoreFailed as error:
                log.error("an outcome cannot be recorded, and is tried again: %s", error)
                await self.make_room(error)
                await asyncio.sleep(RETRY_INTERVAL)

    async def make(self, write: Write[object], then: Callable[[], None]) -> None:
        """Make a write at once, or, where the local dir fails, in the background; `then` is called when it is made."""
        try:
            await self._db.write(write)
        except StoreFailed as error:
            log.error("an outcome cannot be recorded, and is tried again: %s", error)
            await self.make_room(error)
            self._later.append((write, then))
            self._news.set()
        else:
            then()

    async def make_room(self, error: StoreFailed) -> None:
        """Drop the ballast where the disk is full."""
        if isinstance(error, StoreFull):
            await self._ballast.drop()

    async def run(self) -> None:
        """Make, until cancelled, what could not be made at once, in its order."""
        while True:
            self._news.clear()
            while self._later:
                write, then = self._later.popleft()
                try:
                    await self.insist(write)
                except Exception:
                    log.exception("a bug: an outcome cannot be recorded")
                then()
            await self._news.wait()
