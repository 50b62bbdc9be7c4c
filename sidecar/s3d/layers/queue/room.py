"""Room in the queue (SEMANTICS Q-7): a write is taken whole or not at all.

What is pending is read from the tables; what is being received is reserved here until it is committed or has failed.
Changes of every state count to size and files, parked and held ones too, and so do the parts of open uploads. Only what
is on its way counts to age.
"""

import asyncio
from dataclasses import dataclass

from s3d.clock import Clock
from s3d.config import WriteQueue
from s3d.errors import S3Error
from s3d.layers.queue.ballast import Ballast
from s3d.layers.queue.rows import uploads, views
from s3d.store.db import Database


class Room:
    """The limits of the queue, and who waits for room."""

    def __init__(self, db: Database, clock: Clock, limits: WriteQueue, ballast: Ballast) -> None:
        """Take the limits, the clock that age is told by, and the ballast: without it nothing is taken."""
        self._ballast = ballast
        self._db = db
        self._clock = clock
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

    def take(self, size: int, *, files: int = 1) -> "Reserved":
        """Reserve room for changes of `size` bytes in all, for an `async with` around what stores them.

        Entering it waits for room as long as the settings say, then raises SlowDown; at once where the disk is full.
        """
        return Reserved(self, size, files)

    async def reserve(self, size: int, files: int) -> None:
        """Reserve room, as `take` says."""
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

    def release(self, size: int, files: int) -> None:
        """End a reservation: what it was for is in the tables now, or has failed."""
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
        return oldest is not None and self._clock.now() - oldest > self._limits.max_age

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


@dataclass(slots=True)
class Reserved:
    """Room that is reserved while its `async with` lasts."""

    room: Room
    size: int
    files: int

    async def __aenter__(self) -> None:
        """Raise S3Error SlowDown where there is no room."""
        await self.room.reserve(self.size, self.files)

    async def __aexit__(self, *_: object) -> None:
        """End the reservation."""
        self.room.release(self.size, self.files)


def disk_full() -> S3Error:
    """The answer to a write while the disk is full."""
    return S3Error(
        "SlowDown",
        "The local dir is full",
        status=503,
        headers={"Retry-After": "5"},
        hint="writes resume by themselves as changes are delivered",
    )
