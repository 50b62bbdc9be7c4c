"""Room in the queue (SEMANTICS Q-7): a write is taken whole or not at all.

What is pending is read from the tables; what is being received is reserved here until it is committed or has failed.
Changes of every state count to size and files, parked and held ones too, and so do the parts of open uploads. Only what
is on its way counts to age.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from s3d.config import WriteQueue
from s3d.errors import S3Error
from s3d.layers.queue import uploads, views
from s3d.layers.queue.ballast import Ballast
from s3d.store.db import Database


class Room:
    """The limits of the queue, and who waits for room."""

    def __init__(self, db: Database, limits: WriteQueue, ballast: Ballast) -> None:
        """Take the limits, and the ballast: without it nothing is taken."""
        self._ballast = ballast
        self._db = db
        self._limits = limits
        self._files = 0
        self._bytes = 0
        # Never less than what is pending and reserved: a write that fits below it needs no look at the tables.
        self._most_files = limits.max_files
        self._most_bytes = limits.max_size
        self._freed = asyncio.Event()

    def freed(self) -> None:
        """Say that something was settled."""
        self._freed.set()

    @contextlib.asynccontextmanager
    async def take(self, size: int, *, files: int = 1) -> AsyncIterator[None]:
        """Reserve room for changes of `size` bytes in all; wait for it as long as the settings say, then SlowDown.

        Where the disk is full, SlowDown comes at once.
        """
        if self._ballast.dropped and not await self._ballast.lay():
            raise disk_full()
        if not self._fits(size, files):
            self._count()
            if not self._fits(size, files):
                await self._wait(size, files)
        self._files += files
        self._bytes += size
        self._most_files += files
        self._most_bytes += size
        try:
            yield
        finally:
            self._files -= files
            self._bytes -= size
            self._freed.set()

    def _fits(self, size: int, files: int) -> bool:
        return (
            self._most_files + files <= self._limits.max_files
            and self._most_bytes + size <= self._limits.max_size
            and not (self._limits.max_age and self._too_old())
        )

    def _too_old(self) -> bool:
        oldest = views.oldest(self._db)
        return oldest is not None and time.time() - oldest > self._limits.max_age

    def _count(self) -> None:
        """Look at the tables."""
        pending = [*views.tally(self._db).values(), uploads.staged(self._db)]
        self._most_files = self._files + sum(files for files, _ in pending)
        self._most_bytes = self._bytes + sum(size for _, size in pending)

    async def _wait(self, size: int, files: int) -> None:
        try:
            async with asyncio.timeout(self._limits.wait):
                while not self._fits(size, files):
                    self._freed.clear()
                    await self._freed.wait()
                    self._count()
        except TimeoutError:
            raise S3Error(
                "SlowDown",
                f"The write queue is at its limit, and too little was delivered for {self._limits.wait:g} s",
                status=503,
                headers={"Retry-After": "5"},
                hint="see `s3d status`; the limits are S3D_WRITE_QUEUE_MAX_SIZE, _MAX_FILES and _MAX_AGE",
            ) from None


def disk_full() -> S3Error:
    """The answer to a write while the disk is full."""
    return S3Error(
        "SlowDown",
        "The local dir is full",
        status=503,
        headers={"Retry-After": "5"},
        hint="writes resume by themselves as changes are delivered",
    )
