"""Room on the disk for what is cached: by size and number, and never the room of others (SEMANTICS C-7).

Room is taken before bytes come. What was not read for the longest time goes first, down to a tenth below the limits, so
that not every fill has to make room. Where others need the disk, the cache gives way.
"""

import asyncio
import logging
import math
from functools import partial

from s3d.clock import tick
from s3d.layers.cache.index import Index
from s3d.layers.cache.rows import entries, pins
from s3d.layers.cache.rows.entries import Entry
from s3d.metrics import Metrics
from s3d.settings import ReadCache
from s3d.store.blocks import Blocks
from s3d.store.failures import StoreFailed

log = logging.getLogger(__name__)

SLACK_SHARE = 10
"""One in so many bytes and entries is freed beyond what is needed."""
MAX_DELETED = 256
SEEN_SECONDS = 0.2
"""Seconds for which room that was seen on the disk is taken to be there. Who fills it meanwhile meets a full disk, and
then the cache sheds."""
PINNED_SHARE = 2
"""What is pinned stays while it takes no more than one in so many bytes and files of the limits."""


class Capacity:
    """How much is cached, and who has to go."""

    def __init__(self, index: Index, blocks: Blocks, limits: ReadCache, metrics: Metrics, kept_free: int) -> None:
        """Take the limits, and the bytes of the disk that are to stay free."""
        self._index = index
        self._blocks = blocks
        self._limits = limits
        self._metrics = metrics
        self._kept_free = kept_free
        self._lock = asyncio.Lock()
        self._deleting = asyncio.Lock()
        self._coming = 0
        self._seen = 0.0, 0
        """Until when the latest look at the disk holds, and how much was free, less what was taken since."""
        self.files, self.bytes = 0, 0
        self.pinned = 0, 0
        """How many of the entries are pinned, and their bytes: as of the latest look."""

    @property
    def _share(self) -> tuple[int, int]:
        """Bytes and files that pinned objects may take, and stay."""
        return self._limits.max_size // PINNED_SHARE, self._limits.max_files // PINNED_SHARE

    def count(self) -> None:
        """Count what is in the index."""
        self.files, self.bytes = self._index.read(entries.totals, (0, 0))
        self.count_pinned()

    def count_pinned(self) -> None:
        """Count what is pinned in the index."""
        self.pinned = self._index.read(pins.taken, (0, 0))

    async def may_pin(self, length: int, here: Entry | None) -> bool:
        """Whether there is room for an object that is pinned, of which something may be here. Raises StoreFailed."""
        self.count_pinned()
        files, pinned = self.pinned
        share, most = self._share
        others = self.bytes - pinned
        if here is not None and here.pinned:
            files, pinned = files - 1, pinned - here.bytes
        missing = length - (here.bytes if here else 0)
        free = await self._blocks.free() - self._kept_free - self._coming
        return pinned + length <= share and files < most and missing <= free + others

    async def take(self, size: int, files: int = 0) -> bool:
        """Reserve room for what is about to come; whether there is any."""
        if not self._index.is_open or size > self._limits.max_size - min(self.pinned[1], self._share[0]):
            return False
        async with self._lock:
            try:
                await self._evict(
                    self.bytes + self._coming + size - self._limits.max_size,
                    self.files + files - self._limits.max_files,
                    "limit",
                )
                wanted = self._kept_free + self._coming + size
                if not self._is_free(wanted) and (missing := wanted - await self._free()) > 0:
                    await self._evict(missing, 0, "disk")
                    await self.delete()
                    if await self._free() < wanted:
                        return False
            except StoreFailed as error:
                log.warning("there is no room in the read cache: %s", error)
                return False
            if self.bytes + self._coming + size > self._limits.max_size:
                return False
            self._coming += size
            self._seen = self._seen[0], self._seen[1] - size
            return True

    def _is_free(self, size: int) -> bool:
        """Whether the disk has room, as far as it was looked at just now and by what was taken since."""
        until, free = self._seen
        return tick() < until and size <= free

    async def _free(self) -> int:
        """Bytes that are free on the disk, as it is asked now. Raises StoreFailed."""
        free = await self._blocks.free()
        self._seen = tick() + SEEN_SECONDS, free
        return free

    def give_back(self, size: int) -> None:
        """End a reservation: what it was for is counted now, or never came."""
        self._coming -= size

    def changed(self, files: int, size: int) -> None:
        """Note entries and bytes that came to the index, or went."""
        self.files += files
        self.bytes += size

    async def shed(self, size: int) -> bool:
        """Make room on the disk for others; whether so much is free now. What is read just now goes when it is read."""
        try:
            async with self._lock:
                missing = size - await self._blocks.free()
                if missing > 0 and self.files:
                    await self._evict(missing, 0, "disk")
                    await self.delete()
            return await self._blocks.free() >= size
        except StoreFailed as error:
            log.warning("the read cache cannot make room: %s", error)
            return False

    async def trim(self) -> None:
        """Hold the limits, which may have changed, and leave the disk to others. Raises StoreFailed."""
        async with self._lock:
            await self._evict(self.bytes - self._limits.max_size, self.files - self._limits.max_files, "limit")
            if self._limits.max_age:
                before = self._index.clock.now() - self._limits.max_age
                self.went(await self._index.write(lambda db: entries.drop_unused(db, before)), "age")
            missing = self._kept_free - await self._blocks.free()
            if missing > 0 and self.files:
                await self._evict(missing, 0, "disk")
        await self.delete()

    async def _evict(self, size: int, files: int, why: str) -> None:
        if size <= 0 and files <= 0:
            return
        size = size + self._limits.max_size // SLACK_SHARE if size > 0 else 0
        files = files + math.ceil(self._limits.max_files / SLACK_SHARE) if files > 0 else 0
        await self._index.flush()
        share = None if why == "disk" else self._share
        self.went(await self._index.write(lambda db: entries.evict(db, size, files, share)), why)

    def went(self, went: tuple[int, int], why: str) -> None:
        """Note entries and bytes that were dropped, and why."""
        count, size = went
        self.changed(-count, -size)
        if count:
            self._metrics.cache_evictions.labels(why).inc(count)

    async def delete(self) -> None:
        """Delete the files that no entry names any more. Raises StoreFailed."""
        async with self._deleting:
            while files := self._garbage():
                await self._blocks.delete(files)
                await self._index.write(partial(entries.forget_garbage, files=files))

    def _garbage(self) -> list[str]:
        nothing: list[str] = []
        return self._index.read(lambda db: entries.garbage(db, MAX_DELETED), nothing)
