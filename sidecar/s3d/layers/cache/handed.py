"""Takes over what the write queue has delivered, instead of having it deleted: by link, and no byte is copied (C-8).

The row here comes first, and that of the queue goes then. Nobody has been given the object by the remote yet: until the
first read has asked, it is answered to nobody without asking. A file of another disk, and the parts of an upload, are
not taken.
"""

from array import array

from multidict import CIMultiDict

from s3d.api import Body, BytesBody, Delivered
from s3d.layers.cache import requests
from s3d.layers.cache.changes import Changes
from s3d.layers.cache.choice import Choice
from s3d.layers.cache.copies import Copies
from s3d.layers.cache.index import Index
from s3d.layers.cache.room import Room
from s3d.layers.cache.rows import entries
from s3d.layers.cache.rows.entries import New, Spot, Tags
from s3d.metrics import Metrics
from s3d.store.blocks import BLOCK, BlockFile, Blocks
from s3d.store.file_body import FileBody


class HandedOver:
    """Takes bodies over."""

    def __init__(
        self,
        index: Index,
        blocks: Blocks,
        copies: Copies,
        changes: Changes,
        choice: Choice,
        room: Room,
        metrics: Metrics,
    ) -> None:
        """Take where they are kept."""
        self._index = index
        self._blocks = blocks
        self._copies = copies
        self._changes = changes
        self._choice = choice
        self._room = room
        self._metrics = metrics

    async def take(self, delivered: Delivered, body: Body) -> None:
        """Take a body over, where it may be cached and there is room, and close it. Raises StoreFailed."""
        try:
            size = body.length or 0
            if not size or not requests.may_be_kept(CIMultiDict(delivered.headers)):
                return
            wanted, tags = self._choice.wants_delivered(delivered, size)
            if wanted and await self._room.take(size, 1):
                try:
                    await self._take(delivered, size, body, tags)
                finally:
                    self._room.give_back(size)
        finally:
            await body.aclose()

    async def _take(self, delivered: Delivered, size: int, body: Body, tags: Tags) -> None:
        spot, etag = Spot(delivered.bucket, delivered.key), delivered.headers["ETag"]
        with self._changes.era(spot.bucket, spot.key) as era:
            file = await self._file_of(body)
            if file is None:
                return
            kept = None
            try:
                blocks = array("Q")
                for at in range(0, size, BLOCK):
                    blocks.append(await file.crc(at, min(size, at + BLOCK)) + 1)
                now, taken = self._index.clock.now(), await file.size()
                new = New(etag, size, file.name, blocks.tobytes(), taken, None, now, {}, tags)
                kept = await self._index.write(lambda db: entries.put(db, spot, new, now) if era.sound else None)
            finally:
                file.close()
                if kept is None:
                    await self._blocks.delete([file.name])
            if kept is not None:
                _, gone, freed = kept
                self._copies.make_void(spot.bucket, spot.key)
                self._room.changed(1 - gone, taken - freed)
                self._metrics.cache_fills.labels("handed").inc()

    async def _file_of(self, body: Body) -> BlockFile | None:
        if isinstance(body, FileBody):
            return await self._blocks.take(body)
        if not isinstance(body, BytesBody):
            return None
        file = await self._blocks.create()
        await file.write(0, body.data)
        return file
