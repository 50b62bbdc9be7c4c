"""Capacity of the queue (SEMANTICS Q-7): a write is taken whole or not at all.

`max_size` bounds the disk, by one account of it (rows/account.py): the bodies of changes of every state, also of
those that are only kept, the parts of uploads, every row with its headers, and what is being received. Room is reserved
for what has come of a body, never for what was announced: a client that sends nothing keeps nobody from anything.
`max_files` bounds changes, parts and open uploads. Only what is on its way counts to age.
"""

import asyncio
from dataclasses import dataclass
from typing import Self

from s3d.clock import Clock
from s3d.errors import S3Error, slow_down
from s3d.layers.queue.ballast import Ballast
from s3d.layers.queue.rows import account, lookups, uploads
from s3d.settings import WriteQueue
from s3d.store.db import Database

RECOUNT_AFTER = 256
"""Reservations after which the tables are looked at again: some of what they count was never reserved."""


class Capacity:
    """The limits of the queue, and who waits for room."""

    def __init__(self, db: Database, clock: Clock, limits: WriteQueue, ballast: Ballast) -> None:
        """Take the limits, the clock that age is told by, and the ballast: without it nothing is taken."""
        self._ballast = ballast
        self._db = db
        self._clock = clock
        self._limits = limits
        self._files = 0
        self._bytes = 0
        # About what is pending and reserved, and mostly more: a write that fits below it needs no look at the tables.
        self._most_files = limits.max_files
        self._most_bytes = limits.max_size
        self._uncounted = 0
        self._freed = asyncio.Event()

    @property
    def used(self) -> int:
        """Bytes of the disk that are taken or reserved."""
        return self._bytes + account.used(self._db)

    def fullness(self) -> float:
        """The larger share of the two limits that is taken or reserved."""
        self._count()
        return max(self._most_files / self._limits.max_files, self._most_bytes / max(1, self._limits.max_size))

    def holds(self, size: int) -> bool:
        """Whether the queue is large enough for so many bytes, were it empty."""
        return size <= self._limits.max_size

    def freed(self) -> None:
        """Say that something was delivered."""
        self._freed.set()

    def take(self, row: int, size: int = 0, *, files: int = 1, share: float = 1.0) -> "Reserved":
        """Reserve `row` bytes for rows, for an `async with` around what stores them, where there is room for `size`
        bytes more as well: those are reserved as they come (`Reserved.grow`). Only `share` of the limits is there for
        it, whoever has taken of that.

        Entering it waits for room as long as the settings say, then raises SlowDown; at once where the disk is full.
        """
        return Reserved(self, row, size, files, share)

    async def reserve(self, size: int, files: int = 0, coming: int = 0, share: float = 1.0) -> None:
        """Reserve room, as `take` says."""
        if not self.reserve_now(size, files, coming, share):
            await self._wait_for_room(size + coming, files, share)
            self._add(size, files)

    def reserve_now(self, size: int, files: int = 0, coming: int = 0, share: float = 1.0) -> bool:
        """Reserve room where there is some as far as memory knows; whether there is."""
        self._uncounted += 1
        if self._ballast.dropped or self._uncounted > RECOUNT_AFTER or not self._fits(size + coming, files, share):
            return False
        self._add(size, files)
        return True

    async def _wait_for_room(self, size: int, files: int, share: float) -> None:
        if self._ballast.dropped and not await self._ballast.lay():
            raise disk_full()
        self._count()
        if not self._fits(size, files, share):
            await self._wait(size, files, share)

    def _add(self, size: int, files: int) -> None:
        self._files += files
        self._bytes += size
        self._most_files += files
        self._most_bytes += size

    def release(self, size: int, files: int) -> None:
        """End a reservation: what it was for is in the tables now, or has failed."""
        self._files -= files
        self._bytes -= size
        self._freed.set()

    def _fits(self, size: int, files: int, share: float) -> bool:
        return (
            self._most_files + files <= self._limits.max_files * share
            and self._most_bytes + size <= self._limits.max_size * share
            # A write that has begun is not held up for what has become old meanwhile.
            and not (files and self._limits.max_age and self._too_old())
        )

    def _too_old(self) -> bool:
        oldest = lookups.oldest(self._db)
        return oldest is not None and self._clock.now() - oldest > self._limits.max_age

    def _count(self) -> None:
        """Look at the tables."""
        staged, _ = uploads.staged(self._db)
        changes = sum(files for files, _ in lookups.tally(self._db).values())
        self._most_files = self._files + changes + staged + uploads.open_ones(self._db)
        self._most_bytes = self.used
        self._uncounted = 0

    async def _wait(self, size: int, files: int, share: float) -> None:
        try:
            async with asyncio.timeout(self._limits.wait):
                while not self._fits(size, files, share):
                    self._freed.clear()
                    await self._freed.wait()
                    self._count()
        except TimeoutError:
            where = "at its limit" if share == 1.0 else "so full that the rest is for other writes"
            raise slow_down(
                f"The write queue is {where}, and too little was delivered for {self._limits.wait:g} s",
                hint="see `s3d status`; the limits are S3D_WRITE_QUEUE_MAX_SIZE, _MAX_FILES and _MAX_AGE",
            ) from None


@dataclass(slots=True)
class Reserved:
    """Room that is reserved while its `async with` lasts."""

    capacity: Capacity
    row: int
    coming: int
    files: int
    share: float

    async def __aenter__(self) -> Self:
        """Raise S3Error SlowDown where there is no room."""
        if not self.capacity.reserve_now(self.row, self.files, self.coming, self.share):
            await self.capacity.reserve(self.row, self.files, self.coming, self.share)
        return self

    async def grow(self, size: int) -> None:
        """Reserve so many bytes more, which have come. Raises S3Error SlowDown."""
        await self.capacity.reserve(size, share=self.share)
        self.row += size

    async def __aexit__(self, *_: object) -> None:
        """End the reservation."""
        self.capacity.release(self.row, self.files)


def disk_full() -> S3Error:
    """The answer to a write while the disk is full."""
    return slow_down("The local dir is full", hint="writes resume by themselves as changes are delivered")
