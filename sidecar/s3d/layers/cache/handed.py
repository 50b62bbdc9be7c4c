"""Takes over what the write queue has delivered, instead of having it deleted: by link, and no byte is copied (C-8).

The row here comes first, and that of the queue goes then. Nobody has been given the object by the remote yet: until the
first read has asked, it is answered to nobody without asking. A file of another disk is not taken. The parts of an
upload become one file: they are copied, one upload after another, while the delivery goes on.
"""

import asyncio
import contextlib
import logging
from array import array
from dataclasses import replace

from multidict import CIMultiDict

from s3d.api import Body, BytesBody, Delivered
from s3d.errors import S3DError
from s3d.layers.cache import requests
from s3d.layers.cache.capacity import Capacity
from s3d.layers.cache.changes import Changes, Era
from s3d.layers.cache.choice import Choice
from s3d.layers.cache.copies import Copies
from s3d.layers.cache.fill import Fill
from s3d.layers.cache.index import Index
from s3d.layers.cache.rows import pins
from s3d.layers.cache.rows.entries import New, Spot, is_pinned
from s3d.metrics import Metrics
from s3d.store.blocks import BLOCK_BYTES, Blocks
from s3d.store.file_body import FileBody

log = logging.getLogger(__name__)

MAX_COPIED = 16
"""Uploads that may wait to be copied, whose parts stay on the disk for so long; one more is not taken."""


class HandedOver:
    """Takes bodies over."""

    def __init__(
        self,
        index: Index,
        blocks: Blocks,
        copies: Copies,
        changes: Changes,
        choice: Choice,
        capacity: Capacity,
        metrics: Metrics,
    ) -> None:
        """Take where they are kept."""
        self._index = index
        self._blocks = blocks
        self._copies = copies
        self._changes = changes
        self._choice = choice
        self._capacity = capacity
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        """End what is being copied."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def take(self, delivered: Delivered, body: Body) -> None:
        """Take a body over, where it may be cached and there is room, and close it in the end. Raises StoreFailed."""
        size = body.length
        spot, etag = Spot(delivered.bucket, delivered.key), delivered.headers.get("ETag", "")
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(body.aclose)
            sound = stack.enter_context(self._changes.era(spot.bucket, spot.key))
            if size is None or not requests.may_be_kept(CIMultiDict(delivered.headers)):
                return
            wanted, tags = await self._choice.wants_delivered(delivered, size)
            if not wanted:
                return
            new = New(etag, size, "", b"", 0, None, self._index.clock.now(), {}, tags, delivered.identity)
            if isinstance(body, FileBody | BytesBody):
                await self._take(spot, new, body, sound)
            elif len(self._tasks) < MAX_COPIED:
                task = asyncio.ensure_future(self._copy(spot, new, body, stack.pop_all(), sound))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _copy(self, spot: Spot, new: New, body: Body, stack: contextlib.AsyncExitStack, sound: Era) -> None:
        """Take over what is in several files, when its turn has come. A change since then has it thrown away."""
        try:
            async with self._turn:
                if sound.sound:
                    await self._take(spot, new, body, sound)
        except S3DError as error:
            log.warning("%s/%s is not handed to the read cache: %s", spot.bucket, spot.key, error)
        except Exception:
            log.exception("a bug: %s/%s is not handed to the read cache", spot.bucket, spot.key)
            self._metrics.background_failures.labels("the hand-over to the read cache").inc()
        finally:
            await stack.aclose()

    async def _take(self, spot: Spot, new: New, body: Body, era: Era) -> None:
        if not await self._capacity.take(new.length, 1):
            return
        try:
            await self._write(spot, new, body, era)
        finally:
            self._capacity.give_back(new.length)

    async def _write(self, spot: Spot, new: New, body: Body, era: Era) -> None:
        if isinstance(body, BytesBody):
            name, crcs, taken = await self._blocks.keep(body.data)
            await self._enter(spot, new, (name, array("Q", [crc + 1 for crc in crcs]), taken), era)
            return
        file = await (self._blocks.take(body) if isinstance(body, FileBody) else self._blocks.create())
        if file is None:
            return
        written = None
        try:
            blocks = array("Q", bytes(8 * -(-new.length // BLOCK_BYTES)))
            if isinstance(body, FileBody):
                for number in range(len(blocks)):
                    blocks[number] = (
                        await file.crc(number * BLOCK_BYTES, min(new.length, (number + 1) * BLOCK_BYTES)) + 1
                    )
            else:
                await file.reserve(0, new.length)
                await Fill(0, len(blocks), new.length).run(body, file, blocks, set())
            written = file.name, blocks, await file.size()
        finally:
            file.close()
            if written is None:
                await self._blocks.delete([file.name])
        await self._enter(spot, new, written, era)

    async def _enter(self, spot: Spot, new: New, written: tuple[str, "array[int]", int], era: Era) -> None:
        """Write the row of a file that is there: its name, blocks and bytes. Where it cannot be, the file goes."""
        file, blocks, taken = written
        kept = None
        try:
            whole = replace(new, file=file, blocks=blocks.tobytes(), bytes=taken)
            now = self._index.clock.now()
            # What was cached of it went for good before it was pushed: what a power cut undoes is fetched again. A pin
            # is not forgotten.
            kept = await self._index.write(
                lambda db: pins.put(db, spot, whole, now) if era.sound else None, loose=not is_pinned(new.tags)
            )
        finally:
            if kept is None:
                await self._blocks.delete([file])
        if kept is not None:
            _, gone, freed = kept
            self._copies.make_void(spot.bucket, spot.key)
            self._capacity.changed(1 - gone, taken - freed)
            self._metrics.cache_fills.labels("handed").inc()
