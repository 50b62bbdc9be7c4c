"""Compares what is cached with its checksums, for a person who has reason to doubt the disk (SEMANTICS C-13).

A damaged block is dropped, and an entry whose file is gone; whoever reads it next has it fetched again. Who looks at
all of it asks page by page, so that none of the answers keeps a connection for long.
"""

from dataclasses import dataclass, field
from typing import Any

from s3d.errors import CorruptBody
from s3d.layers.cache.copies import Copies, Copy
from s3d.layers.cache.fills import Fills
from s3d.layers.cache.index import Index
from s3d.layers.cache.rows import entries
from s3d.layers.cache.rows.entries import Entry, Spot
from s3d.metrics import Metrics
from s3d.store.blocks import Blocks
from s3d.store.failures import StoreFailed

MAX_BLOCKS = 32
"""Blocks that are read for one page."""
MAX_ENTRIES = 1000
"""Entries that are opened for one page."""


@dataclass(slots=True)
class Page:
    """What was looked at."""

    entries: int = 0
    """Those that were looked at to their end."""
    blocks: int = 0
    bytes: int = 0
    damaged: list[dict[str, Any]] = field(default_factory=list)

    def note(self, spot: Spot, blocks: int) -> None:
        """Note that so many blocks of an entry are damaged."""
        named = {"bucket": spot.bucket, "key": spot.key, "version": spot.version}
        self.damaged.append({**named, "blocks": blocks})


class Verification:
    """What looks at blocks."""

    def __init__(self, index: Index, blocks: Blocks, copies: Copies, fills: Fills, metrics: Metrics) -> None:
        """Take where they are kept."""
        self._index = index
        self._blocks = blocks
        self._copies = copies
        self._fills = fills
        self._metrics = metrics

    async def look(self, bucket: str, prefix: str, after: int, block: int) -> dict[str, Any]:
        """Look at a page of the entries behind `after`, of the first of them from `block` on: what was looked at, what
        of it was damaged, and where the next page begins unless all is `done`. Raises StoreFailed."""
        page, done = Page(), False
        while page.blocks < MAX_BLOCKS and page.entries < MAX_ENTRIES:
            if not self._index.is_open:
                raise StoreFailed("the index of the read cache cannot be used just now", hint="the log says why")
            found = self._index.read(lambda db: entries.next_of(db, bucket, prefix, after), None)  # noqa: B023 (at once)
            if found is None:
                done = self._index.is_open
                break
            spot, entry = found
            # The one that was begun may have gone meanwhile.
            reached = await self._entry(spot, entry, max(0, block) if entry.id == after + 1 else 0, page)
            if reached is not None:
                after, block = entry.id - 1, reached
                break
            page.entries += 1
            after, block = entry.id, 0
        looked_at = {"entries": page.entries, "blocks": page.blocks, "bytes": page.bytes, "damaged": page.damaged}
        return {**looked_at, "after": after, "block": block, "done": done}

    async def _entry(self, spot: Spot, entry: Entry, first: int, page: Page) -> int | None:
        """Look at an entry; the block at which the next page goes on with it, None where it is done."""
        try:
            (await self._blocks.open(entry.file)).close()
        except (CorruptBody, StoreFailed) as error:
            if await self._copies.lose(spot, entry.file, error):
                lost = sum(map(bool, entry.blocks))
                self._metrics.cache_corrupt_blocks.inc(lost)
                page.note(spot, lost)
            return None
        copy = await self._copies.find(spot)
        if copy is None:
            return None
        try:
            # What has no row yet is a newer version on its way, every block of which is new.
            return await self._copy(copy, first, page) if copy.row is not None else None
        finally:
            self._copies.leave(copy)

    async def _copy(self, copy: Copy, first: int, page: Page) -> int | None:
        damaged: list[int] = []
        reached = None
        for number in range(first, len(copy.blocks)):
            if not copy.blocks[number]:
                continue
            if page.blocks == MAX_BLOCKS:
                reached = number
                break
            start, end = copy.stretch(number)
            page.blocks, page.bytes = page.blocks + 1, page.bytes + end - start
            if not await self._is_sound(copy, number):
                damaged.append(number)
        if damaged:
            self._metrics.cache_corrupt_blocks.inc(len(damaged))
            page.note(copy.spot, len(damaged))
            await self._fills.lose(copy, damaged)
        return reached

    async def _is_sound(self, copy: Copy, number: int) -> bool:
        """Whether a block is what was written. One that a reader has given up meanwhile is on its way anew."""
        written = copy.blocks[number]
        try:
            there = await copy.file.crc(*copy.stretch(number)) + 1
        except StoreFailed:
            there = 0
        return there == written or copy.blocks[number] != written
